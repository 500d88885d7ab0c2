# requirements: flexcore_base
"""Environments of plugins, made once and shared by all runs of a worker, whatever project uses them.

A folder below home()/meltano/plugins is named by the hash of all that decides its content: what is installed (for a
local path its files too), Python, Meltano's version. It has the layout that Meltano expects, `<kind>/<folder>/venv`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from f.flexcore.lib.core import redaction
from f.flexcore.lib.meltano import (
    installation,
    resolved_project,
)

# A local plugin's files that say nothing about what it does.
IGNORED_FOLDERS = {
    ".git",
    "__pycache__",
    ".venv",
    ".meltano",
    ".tox",
    ".mypy_cache",
    ".pytest_cache",
    "node_modules",
    "build",
    "dist",
}


def link_environments(
    root: Path, plugins: Iterable[resolved_project.Plugin], system_folder: Path, redactor: redaction.Redactor
) -> int:
    """Puts every plugin's environment below `system_folder` (Meltano's .meltano), installing what is new.

    Returns the number of environments that had to be made. Raises ExecutionFailed that names the plugin.
    """
    made = 0
    for plugin in plugins:
        if not plugin.requirements:
            continue
        home, new = ensure_environment(root, plugin, redactor)
        made += new
        link = system_folder / plugin.kind / plugin.folder
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(home / plugin.kind / plugin.folder)
    return made


def ensure_environment(root: Path, plugin: resolved_project.Plugin, redactor: redaction.Redactor) -> tuple[Path, bool]:
    """The folder that holds the plugin's environment below its kind, and whether it had to be made. `root` is the
    project's, which local requirements are relative to."""
    requirements, python = list(plugin.requirements), plugin.python or installation.PYTHON
    parts = [
        plugin.kind,
        plugin.folder,
        requirements,
        python,
        installation.MELTANO_VERSION,
        digest_local_files(root, requirements),
    ]
    place = installation.folder("plugins", hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16])
    venv = place / plugin.kind / plugin.folder / "venv"
    if is_usable(place, venv):
        return place, False
    with installation.hold_lock(place / "lock", installation.INSTALL_TIMEOUT_S):
        if is_usable(place, venv):
            return place, False
        install_plugin(root, plugin, venv, requirements, python, redactor)
        (place / installation.COMPLETE).touch()
    return place, True


def is_usable(place: Path, venv: Path) -> bool:
    # The interpreter is a link: on a persistent volume it may lead to one that the worker's image has no more.
    return (place / installation.COMPLETE).exists() and (venv / "bin" / "python").exists()


def install_plugin(
    root: Path,
    plugin: resolved_project.Plugin,
    venv: Path,
    requirements: list[str],
    python: str,
    redactor: redaction.Redactor,
) -> None:
    print(f"Installing {plugin.name}, once on this worker", flush=True)
    shutil.rmtree(venv, ignore_errors=True)
    env = installation.installer_environment()
    tool = installation.find_uv()
    installation.run_installer([tool, "venv", "--quiet", "--python", python, str(venv)], env, plugin.name, redactor)
    command = [
        tool,
        "pip",
        "install",
        "--quiet",
        "--directory",
        str(root),
        "--python",
        str(venv / "bin" / "python"),
    ]
    installation.run_installer([*command, *requirements], env, plugin.name, redactor)


def digest_local_files(root: Path, requirements: Iterable[str]) -> str:
    """A digest over the files of every requirement that is a local path; empty when none is."""
    digest, found = hashlib.sha256(), False
    for item in requirements:
        path = (root / item.removeprefix("file://").split("[")[0]).resolve()
        if not item.startswith((".", "/", "file://")) and not (root / item).exists():
            continue
        if not path.exists():
            continue
        found = True
        for file in sorted(list_files(path)):
            digest.update(f"{file}\n".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest() if found else ""


def list_files(path: Path) -> Iterable[Path]:
    if path.is_file():
        return [path]
    return [item for item in path.rglob("*") if item.is_file() and not is_ignored(item.relative_to(path).parts)]


def is_ignored(parts: tuple[str, ...]) -> bool:
    return bool(IGNORED_FOLDERS.intersection(parts)) or any(part.endswith(".egg-info") for part in parts)
