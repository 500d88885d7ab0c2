"""What a workspace still holds below the bundle's folder although the bundle has it no longer.

A push deletes nothing (`wmill sync push --keep-deleted`): it would delete other people's resource types too. So what a
former version left, such as the modules of an older layout, is found here and removed on demand. Resources and
variables are never counted: they are the workspace's own. Scripts are archived, which can be undone, the rest is
deleted; what starts others goes first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from f.flexcore.lib.core.errors import FlexcoreError, NotFound
from flexcore.client.windmill import Windmill
from wmlocal.lint.files import Files
from wmlocal.lint.globs import TRIGGERS

# The one folder that is the bundle's own, and the beginning of the names of its own resource types.
FOLDER = "f/flexcore/"
RESOURCE_TYPES = "c_flexcore_"
APPS = ("app", "raw_app")


@dataclass(frozen=True, slots=True)
class Stale:
    """kind: schedule, http_trigger, …, flow, app, script or resource-type."""

    kind: str
    path: str


def find_stale(client: Windmill, root: Path) -> list[Stale]:
    """All of them, in the order in which they are to be removed. Raises FlexcoreError.

    None where the folder is not among the files at `root`, or is not pushed from there: then it is somebody else's."""
    files = Files.below(root)
    held = _held_by_bundle(files)
    if not any(path.startswith(FOLDER) for path in (*held["script"], *held["flow"])):
        return []
    return [item for item in _held_by_server(client) if item.path not in held[item.kind] and not files.skips(item.kind)]


def remove(client: Windmill, stale: list[Stale], say: Callable[[str], None]) -> dict[Stale, str]:
    """Removes each, and returns why some could not be removed."""
    failed: dict[Stale, str] = {}
    for done, item in enumerate(stale, start=1):
        try:
            _remove(client, item)
        except NotFound:
            pass
        except FlexcoreError as error:
            failed[item] = str(error)
        if done % 50 == 0:
            say(f"{done} of {len(stale)} removed …")
    return failed


def _remove(client: Windmill, item: Stale) -> None:
    path = quote(item.path)
    match item.kind:
        case "script":
            client.post(f"scripts/archive/p/{path}")
        case "flow":
            # As the CLI does: a push of a flow that is archived leaves it so. The server's trash keeps what is deleted.
            client.delete(f"flows/delete/{path}")
        case "app":
            client.delete(f"apps/delete/{path}")
        case "resource-type":
            client.delete(f"resources/type/delete/{path}")
        case "schedule":
            client.delete(f"schedules/delete/{path}")
        case _:
            client.delete(f"{item.kind}s/delete/{path}")


def _held_by_bundle(files: Files) -> dict[str, set[str]]:
    held: dict[str, set[str]] = {"script": set(files.scripts), "flow": set(files.flows), "app": set()}
    for entry in files.yamls:
        held.setdefault("app" if entry.kind in APPS else entry.kind, set()).add(entry.path)
    return {kind: held.get(kind, set()) for kind in _kinds()}


def _held_by_server(client: Windmill) -> Iterator[Stale]:
    for kind, list_path in _kinds().items():
        for path in _list_paths(client, kind, list_path):
            if path.startswith(RESOURCE_TYPES if kind == "resource-type" else FOLDER):
                yield Stale(kind, path)


def _kinds() -> dict[str, str]:
    """Where each kind is listed: what starts others before what is started."""
    triggers = {f"{name}_trigger": f"{name}_triggers/list" for name in TRIGGERS}
    return {
        "schedule": "schedules/list",
        **triggers,
        "flow": "flows/list",
        "app": "apps/list",
        "script": "scripts/list",
        "resource-type": "resources/type/listnames",
    }


def _list_paths(client: Windmill, kind: str, path: str) -> list[str]:
    try:
        if kind == "resource-type":
            return sorted(str(name) for name in client.get(path))
        # A module without `main` is left out of a plain list.
        query = {"include_without_main": "true"} if kind == "script" else {}
        return sorted({str(item["path"]) for item in client.list_all(path, **query)})
    except NotFound:
        # Not every server is built with every kind of trigger.
        return []
