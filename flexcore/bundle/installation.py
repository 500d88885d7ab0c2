"""The bundle that this command line brings along: that of the checkout it runs from, or the one inside the wheel.

checkout   the repository itself: f/, c_*.resource-type.yaml, dependencies/, locks/, resources/
wheel      the same files below flexcore/_bundle (hatch_build.py puts them there)
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import yaml

from flexcore import INSTALLED_ROOT

FOLDER = "f/flexcore"
LOCKS = "wmill-lock.yaml"
# What a team's repository gets; the rest of the bundle (samples, examples below u/) is looked at where it is installed.
PATTERNS = (
    "c_*.resource-type.yaml",
    "dependencies/flexcore_*.requirements.in",
    "locks/flexcore_*.requirements.in.lock",
)
# Folders that Python leaves behind, and the wmill CLI, which builds a raw app before it pushes it; no part of a bundle.
LEFT_BEHIND = frozenset({"__pycache__", "node_modules"})
IGNORED = LEFT_BEHIND | {".DS_Store"}


@dataclass(frozen=True, slots=True)
class InstalledBundle:
    """files: content by path from the root. lock_entries: the hashes that wmill-lock.yaml has of these files."""

    version: str
    files: dict[str, bytes]
    lock_entries: dict[str, str]
    root: Path = INSTALLED_ROOT


def read_installed_bundle(root: Path = INSTALLED_ROOT) -> InstalledBundle:
    """Every file that belongs in a team's repository, of the installed version."""
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in _bundle_files(root)}
    locks = yaml.safe_load((root / LOCKS).read_text(encoding="utf-8"))["locks"]
    entries = {key: str(value) for key, value in locks.items() if is_bundle_lock(key)}
    return InstalledBundle(version("flexcore"), files, entries, root)


def is_bundle_lock(key: str) -> bool:
    """Whether an entry of wmill-lock.yaml is of a file of the bundle."""
    return key.startswith((f"{FOLDER}/", "dependencies/flexcore_"))


def _bundle_files(root: Path) -> Iterator[Path]:
    for folder, below, names in os.walk(root / FOLDER):
        below[:] = sorted(name for name in below if name not in IGNORED)
        yield from (Path(folder, name) for name in sorted(names) if name not in IGNORED and not name.endswith(".pyc"))
    for pattern in PATTERNS:
        yield from sorted(root.glob(pattern))
