"""flexcore-lock.yaml: what `flexcore init` and `upgrade` put into a repository, so that later commands know what is
theirs and what a team has changed.

It lies at the root: `wmill sync push` takes nothing from there but resource types. It belongs in the commit.

    version   of the bundle that is here
    files     hash of each file, as that version has it
    settings  what was changed in wmill.yaml; created: its hash when the file is ours
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from f.flexcore.lib.core.errors import InvalidInput, NotFound

MANIFEST = "flexcore-lock.yaml"
FORMAT = 1
HEAD = "# Written by `flexcore init` and `flexcore upgrade`: the files that are theirs. Commit it, do not edit it.\n"
# What a path is that cannot be replaced like a file; equals no hash.
NOT_A_FILE = "not a regular file"


@dataclass(frozen=True, slots=True)
class SettingChange:
    """One change in wmill.yaml; before: None when the key was absent, or when `after` was added to a list."""

    key: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Manifest:
    version: str
    files: dict[str, str]
    settings: tuple[SettingChange, ...] = ()
    # Hash of the wmill.yaml that init wrote as a whole; "" when the repository had one.
    settings_created: str = ""

    def dump(self) -> bytes:
        document = {
            "version": self.version,
            "format": FORMAT,
            "files": dict(sorted(self.files.items())),
            "settings": {"created": self.settings_created, "changes": [asdict(item) for item in self.settings]},
        }
        return (HEAD + yaml.safe_dump(document, sort_keys=False, width=10**9)).encode()


def read_manifest(root: Path) -> Manifest | None:
    """None when the repository has none. Raises InvalidInput when it cannot be read."""
    file = root / MANIFEST
    if not file.is_file():
        return None
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
        if document["format"] > FORMAT:
            raise InvalidInput(
                f"{MANIFEST} is of a newer flexcore ({document['version']})",
                subject=MANIFEST,
                remedy="Upgrade the command line first, such as `uv tool upgrade flexcore`.",
            )
        settings = document["settings"]
        changes = tuple(SettingChange(**item) for item in settings["changes"])
        files = {str(path): str(value) for path, value in document["files"].items()}
        _refuse_paths_outside(files)
        return Manifest(str(document["version"]), files, changes, str(settings["created"]))
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidInput(
            f"{MANIFEST} cannot be read: {first}",
            subject=MANIFEST,
            remedy=f"Take the last good one from git: `git checkout HEAD -- {MANIFEST}`.",
        ) from None


def require_manifest(root: Path) -> Manifest:
    """Raises NotFound where no init has been."""
    manifest = read_manifest(root)
    if manifest is None:
        raise NotFound(
            f"{root} has no {MANIFEST}, so it holds no bundle that `flexcore init` wrote",
            subject="--root",
            remedy="Run `flexcore init` there, or name the repository's folder with --root.",
        )
    return manifest


def _refuse_paths_outside(files: dict[str, str]) -> None:
    for path in files:
        if path.startswith("/") or ".." in path.split("/"):
            raise InvalidInput(
                f"{MANIFEST} names {path!r}, which is not a path of a repository",
                subject=MANIFEST,
                remedy=f"Restore the file: `git checkout {MANIFEST}`.",
            )


def digest(content: bytes) -> str:
    """A file's hash; git may check text out with other line ends, which changes nothing."""
    return hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()


def digest_file(root: Path, path: str) -> str | None:
    """None when nothing is there. Raises InvalidInput when a file is on the way, or a link that may lead outside."""
    file = root / path
    for parent in Path(path).parents:
        if parent != Path() and ((root / parent).is_symlink() or (root / parent).is_file()):
            kind = "symbolic link" if (root / parent).is_symlink() else "file"
            raise InvalidInput(
                f"{parent} is a {kind}, and the bundle needs a folder there",
                subject=str(parent),
                remedy="Make it a folder of the repository.",
            )
    if file.is_symlink() or (file.exists() and not file.is_file()):
        return NOT_A_FILE
    try:
        return digest(file.read_bytes())
    except FileNotFoundError:
        return None


def is_newer(version: str, than: str) -> bool:
    """By the numbers of a version: 0.10 is newer than 0.9."""
    return _parse_release(version) > _parse_release(than)


def _parse_release(version: str) -> tuple[int, ...]:
    release = re.match(r"[0-9.]*", version)
    found = tuple(int(part) for part in (release[0] if release else "").split(".") if part)
    return found + (0,) * (4 - len(found))
