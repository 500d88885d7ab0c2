# requirements: flexcore_kubernetes
"""The clusters that the settings name, each by the path of its resource."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from f.flexcore.lib import runtimes
from f.flexcore.lib.core import errors, resources


def clusters_of(
    settings: resources.Settings,
    resource: Callable[[str], Any],
    failed: Callable[[str, str, errors.FlexcoreError], None],
    worker: str = "this worker",
) -> list[tuple[str, runtimes.RemoteObjects]]:
    """(path, objects) of each cluster, and of the worker for a runtime that has none; `failed(path, runtime, error)` is
    called for those that cannot be used."""
    found = []
    for runtime in runtimes.RUNTIMES.values():
        if runtime.objects and runtime.clusters_field is None:
            found.append((worker, runtimes.open_objects(runtime, worker, None, settings.namespace)))
        for path in runtimes.list_clusters(runtime, settings) if runtime.objects else ():
            try:
                found.append((path, runtimes.open_objects(runtime, path, read(path, resource), settings.namespace)))
            except errors.FlexcoreError as error:
                failed(path, runtime.name, error)
    return found


def read(path: str, resource: Callable[[str], Any]) -> Any:
    """The resource at `path`, its references resolved. Raises NotFound."""
    name = path.removeprefix("$res:")
    try:
        return resource(name)
    except Exception:
        # The client raises a bare Exception whose text may hold the server's whole answer.
        raise errors.NotFound(
            f"The resource {name} cannot be read",
            subject=name,
            remedy="Correct its path in the settings, or let this user read it.",
        ) from None
