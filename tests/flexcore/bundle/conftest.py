"""A small bundle in the place of the installed one, and a team's repository."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flexcore.bundle.installation import InstalledBundle
from flexcore.bundle.repository import RepositoryChange, carry_out

FILES = {
    "f/flexcore/folder.meta.yaml": "summary: ''\n",
    "f/flexcore/ray/train.py": "def main():\n    return 1\n",
    "f/flexcore/ray/train.script.yaml": "summary: Train\n",
    "f/flexcore/data_pipeline__flow/flow.yaml": "summary: Data\n",
    "c_ray_cluster.resource-type.yaml": "description: Ray\n",
    "dependencies/flexcore_base.requirements.in": "wmill\n",
    "locks/flexcore_base.requirements.in.lock": "wmill==1\n",
}
ENTRIES = {
    "dependencies/flexcore_base.requirements.in": "1" * 63 + "a",
    "f/flexcore/data_pipeline__flow+__flow_hash": "2" * 63 + "a",
    "f/flexcore/ray/train": "3" * 63 + "a",
}
Bundles = Callable[..., InstalledBundle]


@pytest.fixture
def bundle(tmp_path: Path) -> Bundles:
    """Makes a bundle: the files above, with changes by path (None: it has no such file)."""

    def make(version: str = "1.0.0", **changes: dict[str, str | None]) -> InstalledBundle:
        files = FILES | changes.get("files", {})
        content = {path: text.encode() for path, text in files.items() if text is not None}
        return InstalledBundle(version, content, dict(ENTRIES), tmp_path / "installed")

    return make


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "team"
    root.mkdir()
    return root


def apply(root: Path, change: RepositoryChange) -> RepositoryChange:
    assert carry_out(root, change) == ()
    return change


def snapshot(root: Path) -> dict[str, bytes]:
    """Every file's content by path."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
