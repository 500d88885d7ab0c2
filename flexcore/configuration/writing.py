"""Writes what a plan changes in the bundle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from f.flexcore.lib.core.errors import NotFound
from flexcore.bundle.deployment import run, wmill
from flexcore.configuration.plan import FileChange


def write(root: Path, changes: Sequence[FileChange], say: Callable[[str], None]) -> None:
    """A file is replaced in one go; the CLI's hashes of the scripts follow."""
    for change in changes:
        file = root / change.path
        if change.after is None:
            file.unlink()
            say(f"removed {change.path}")
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f".{file.name}.part")
        part.write_text(change.after, encoding="utf-8")
        part.replace(file)
        say(f"wrote {change.path}")
    if any(change.path.endswith(".script.yaml") for change in changes):
        _rehash(root, say)


def _rehash(root: Path, say: Callable[[str], None]) -> None:
    try:
        done = run(wmill(root), ["generate-metadata", "rehash"], root)
    except NotFound as error:
        say(f"{error} Then run `wmill generate-metadata rehash`, which notes the changed scripts in wmill-lock.yaml.")
        return
    if done.returncode:
        say(f"`wmill generate-metadata rehash` failed; run it by hand: {(done.stdout + done.stderr).strip()[-500:]}")
