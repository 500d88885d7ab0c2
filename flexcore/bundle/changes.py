"""What init, upgrade and remove would do to the files of a repository. Pure: hashes in, a plan out.

in the bundle    on disk                    recorded       what happens
yes              same as the bundle         any            nothing
yes              nothing                    no             write
yes              nothing                    yes            spare: the team deleted it
yes              as recorded                yes            write
yes              anything else              any            spare: the team changed it
no               as recorded                yes            delete
no               anything else              yes            spare: it is the team's from now on
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flexcore.bundle.manifest import digest


@dataclass(frozen=True, slots=True)
class SparedFile:
    """has_new_version: the bundle has it in a version that the team's does not come from."""

    path: str
    reason: str
    has_new_version: bool = False


@dataclass(frozen=True, slots=True)
class FilePlan:
    """files: hash of each file of the bundle, for the manifest to come."""

    write: tuple[str, ...]
    delete: tuple[str, ...]
    spared: tuple[SparedFile, ...]
    files: dict[str, str] = field(default_factory=dict)


CHANGED, DELETED, TAKEN = "changed here", "deleted here", "stood here before the bundle had it"
LEFT = "changed here, and no longer part of the bundle: it is yours now"


def plan_files(bundle: Mapping[str, bytes], recorded: Mapping[str, str], disk: Mapping[str, str | None]) -> FilePlan:
    """recorded: hash by path of what was written before. disk: hash by path as it is now, None for nothing there."""
    offered = {path: digest(content) for path, content in bundle.items()}
    write, spared = [], []
    for path, new in offered.items():
        now, old = disk.get(path), recorded.get(path)
        if now == new:
            continue
        if now == old:
            write.append(path)
        else:
            reason = DELETED if now is None else CHANGED if old else TAKEN
            spared.append(SparedFile(path, reason, has_new_version=new != old))
    gone = [path for path in recorded if path not in offered and disk.get(path) is not None]
    delete = [path for path in gone if disk[path] == recorded[path]]
    spared += [SparedFile(path, LEFT) for path in gone if path not in delete]
    return FilePlan(tuple(write), tuple(delete), tuple(spared), offered)


def plan_removal(recorded: Mapping[str, str], disk: Mapping[str, str | None]) -> FilePlan:
    """What takes out all that was written and not changed since."""
    there = [path for path in recorded if disk.get(path) is not None]
    delete = tuple(path for path in there if disk[path] == recorded[path])
    return FilePlan((), delete, tuple(SparedFile(path, CHANGED) for path in there if path not in delete))
