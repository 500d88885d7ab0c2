# requirements: flexcore_kubernetes
# py: ==3.11.*
"""The clusters that the settings name, each by the path of its resource."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from f.flexcore.core.errors import FlexcoreError, NotFound
from f.flexcore.core.resources import Settings
from f.flexcore.operations.registry import ROOMS, RemoteObjects, open_remote_objects


def clusters_of(
    settings: Settings, resource: Callable[[str], Any], failed: Callable[[str, str, FlexcoreError], None]
) -> list[tuple[str, RemoteObjects]]:
    """(path, cluster) for each; `failed(path, runtime, error)` is told of those that cannot be used."""
    found = []
    for runtime, room in ROOMS.items():
        for path in getattr(settings, room.clusters) if room.clusters and room.objects else ():
            try:
                found.append((path, open_remote_objects(runtime, path, read(path, resource), settings.namespace)))
            except FlexcoreError as error:
                failed(path, runtime, error)
    return found


def read(path: str, resource: Callable[[str], Any]) -> Any:
    """The resource at `path`, its references resolved. Raises NotFound."""
    name = path.removeprefix("$res:")
    try:
        return resource(name)
    except Exception:
        # The client raises a bare Exception whose text may hold the server's whole answer.
        raise NotFound(
            f"The resource {name} cannot be read",
            subject=name,
            remedy="Correct its path in the settings, or let this user read it.",
        ) from None
