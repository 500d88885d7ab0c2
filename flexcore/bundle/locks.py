"""Exact versions, in files that hold no download addresses: `python -m flexcore.bundle.locks` (or `make locks`).

pyproject.toml    every package of the laptop side, as uv's constraint-dependencies
dependencies/     every package of a named requirement set: what is asked for, and below a line all that it needs
locks/            one lock for each requirement set, in the server's form; every script that names the set shares it
wmill-lock.yaml   is then brought up to date by the CLI (`wmill generate-metadata rehash`), which works offline
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from wmlocal.metadata.locks import compile_lock, python_lock

PYTHON = "3.11"
PINS = re.compile(
    r"(?<=\n# pins: written by `make locks`\nconstraint-dependencies = \[\n).*?(?=^\])", re.DOTALL | re.MULTILINE
)

BELOW = "# All that these need, written by `make locks`.\n"


def main(root: Path = Path()) -> None:
    """Writes every pin below `root`; raises NoLock when uv finds no solution."""
    for requirements in sorted((root / "dependencies").glob("*.requirements.in")):
        requirements.write_text(pin_requirements(requirements.read_text()))
        (root / f"locks/{requirements.name}.lock").write_text(shared_lock(requirements))
    project = root / "pyproject.toml"
    project.write_text(PINS.sub(lambda _: laptop_pins(root), project.read_text()))


def pin_requirements(requirements: str) -> str:
    """A requirement set with all that its packages need. A server resolves it anew whenever a module changes, and must
    find the same, whatever has been released since: otherwise the next push finds locks to change."""
    asked = requirements.partition(BELOW)[0]
    known = {line.strip() for line in asked.splitlines()}
    needed = [line for line in compile_lock(asked, PYTHON).splitlines() if line not in known]
    return asked + BELOW + "".join(f"{line}\n" for line in needed)


def shared_lock(requirements: Path) -> str:
    """The lock of every script that names this requirement set, as a Windmill server writes it."""
    name = requirements.name.removesuffix(".requirements.in")
    sets = {f"dependencies/{requirements.name}": requirements.read_text()}
    return python_lock(f"# requirements: {name}\n", "", sets, lambda _: None, PYTHON)


def laptop_pins(root: Path) -> str:
    """Lines of a TOML array: each package that `uv sync` installs here, with its exact version."""
    exported = _uv(
        "export",
        "--quiet",
        "--all-groups",
        "--no-hashes",
        "--no-emit-project",
        "--no-annotate",
        "--no-header",
        "--project",
        str(root),
    )
    pins = {line.split(";")[0].strip() for line in exported.splitlines() if "==" in line}
    return "".join(f'  "{pin}",\n' for pin in sorted(pins))


def _uv(*arguments: str) -> str:
    return subprocess.run(["uv", *arguments], check=True, text=True, stdout=subprocess.PIPE).stdout


if __name__ == "__main__":
    main()
