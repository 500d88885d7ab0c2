"""Changes to many files that happen whole or not at all, whatever is killed in between.

    stage     every new content goes into .flexcore/change/, the list of steps last and by one rename
    apply     from then on it goes forward only: each step is one rename or one deletion, then the folder goes
    resume    after a kill: a list is carried out to its end, contents without a list are thrown away

A file that somebody edits between the kill and the resume is neither what it was nor what it shall be, so it stays.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from f.flexcore.lib.core.errors import Conflict
from flexcore.bundle.installation import LEFT_BEHIND
from flexcore.bundle.manifest import digest, digest_file

STATE, FOLDER, STEPS = ".flexcore", "change", "steps.json"


@dataclass(frozen=True, slots=True)
class Step:
    """content: name of the staged file, None for a deletion; before and after: hashes, None for no file."""

    path: str
    content: str | None
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class ResumedChange:
    """A change that an earlier command had begun. edited: files that were changed meanwhile, and stay."""

    command: str
    edited: tuple[str, ...]


@contextmanager
def lock_repository(root: Path) -> Iterator[None]:
    """One change at a time. The lock is on the folder itself, and ends with the process. Raises Conflict."""
    handle = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Conflict(
            f"Another flexcore command changes the bundle in {root}", subject=str(root), remedy="Wait for its end."
        ) from None
    else:
        yield
    finally:
        os.close(handle)


def is_half_done(root: Path) -> bool:
    return (root / STATE / FOLDER / STEPS).is_file()


def change_files(root: Path, command: str, contents: Mapping[str, bytes | None]) -> tuple[str, ...]:
    """Writes each path's content and deletes those of None, in this order; returns what was edited meanwhile."""
    staging = root / STATE / FOLDER
    try:
        _stage(root, staging, command, contents)
    except BaseException:
        _clean(root)
        raise
    return _apply(root, staging)


def resume(root: Path) -> ResumedChange | None:
    """Ends what a killed command has begun; None when there is nothing."""
    staging = root / STATE / FOLDER
    if not is_half_done(root):
        _clean(root)
        return None
    command = json.loads((staging / STEPS).read_text(encoding="utf-8"))["command"]
    return ResumedChange(command, _apply(root, staging))


def _stage(root: Path, staging: Path, command: str, contents: Mapping[str, bytes | None]) -> None:
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    steps = []
    for number, (path, content) in enumerate(contents.items()):
        name = None if content is None else str(number)
        if name and content is not None:
            _write_durably(staging / name, content)
        steps.append(Step(path, name, digest_file(root, path), None if content is None else digest(content)))
    listed = json.dumps({"command": command, "steps": [asdict(step) for step in steps]}).encode()
    _write_durably(staging / f"{STEPS}.new", listed)
    (staging / f"{STEPS}.new").replace(staging / STEPS)
    _sync_folder(staging)


def _apply(root: Path, staging: Path) -> tuple[str, ...]:
    steps = [Step(**item) for item in json.loads((staging / STEPS).read_text(encoding="utf-8"))["steps"]]
    edited = []
    for step in steps:
        now = digest_file(root, step.path)
        if now == step.after:
            continue
        if now != step.before:
            edited.append(step.path)
        elif step.content is None:
            (root / step.path).unlink()
            _remove_empty_folders(root, Path(step.path).parent)
        elif (staging / step.content).is_file():
            _move(staging / step.content, root / step.path)
        else:
            # It was in place already, and somebody has put the old text back since.
            edited.append(step.path)
    _clean(root)
    return tuple(edited)


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_file():
        source.chmod(target.stat().st_mode)
    source.replace(target)


def _remove_empty_folders(root: Path, folder: Path) -> None:
    while folder != Path():
        left = {entry.name for entry in (root / folder).iterdir()}
        if left - LEFT_BEHIND:
            return
        for name in left:
            shutil.rmtree(root / folder / name)
        (root / folder).rmdir()
        folder = folder.parent


def _clean(root: Path) -> None:
    """The list goes first: contents without one are worth nothing."""
    (root / STATE / FOLDER / STEPS).unlink(missing_ok=True)
    shutil.rmtree(root / STATE / FOLDER, ignore_errors=True)
    if (root / STATE).is_dir() and not any((root / STATE).iterdir()):
        (root / STATE).rmdir()


def _write_durably(file: Path, content: bytes) -> None:
    with file.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
