"""A Python lock as a server's dependency job writes it.

Requirements come from one place: a named set (`# requirements: name`), lines in the head (`# requirements:` and
`#pkg==1` below), or the imports above main, those of imported scripts included. uv compiles them.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Callable

from flexcore.check.lock_files import Head, head_of
from flexcore.check.python_code import PROVIDERS, imports, normal

# What a server takes when neither the script nor its own settings say otherwise.
DEFAULT_PYTHON = "3.12"
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
PIN = re.compile(r"#\s*(?:re)?pin:\s*(\S+)")
SPECIFIER = re.compile(r"^#\s*py:\s*(\S.*?)\s*$")
SHORT = re.compile(r"^#\s*py(3)(\d+)\s*$")
SET_FILE = re.compile(r"^dependencies/(?:([\w-]+)\.)?requirements\.in$")


class NoLock(Exception):
    """No lock can be made; the message says why and what to do."""


def python_lock(
    code: str, path: str, sets: dict[str, str], read: Callable[[str], str | None], python: str = DEFAULT_PYTHON
) -> str:
    """The lock's text. `sets` are requirement files by their path that the script uses, `read` gives a script of the
    bundle by its path. Raises NoLock."""
    version = python_of(code) or python
    head = head_of(code)
    header: list[str] = []
    names = head.names if head else ("default",)
    used = [(name, text) for file, text in sets.items() if (name := _set_name(file)) in names]
    if used:
        if head and head.extra:
            raise NoLock(
                f"{path}: a server takes no requirement set in extra_requirements; write `# requirements: NAME`"
            )
        name, asked = used[0]
        digest = hashlib.sha256(asked.encode()).hexdigest()
        header = ["# workspace-dependencies-mode: manual", f"# workspace-dependencies: {name}:{digest}"]
    elif head and not head.extra:
        header = ["# workspace-dependencies-mode: manual"]
        asked = "\n".join(line for _, line in head.lines)
    else:
        header = ["# workspace-dependencies-mode: extra"] if head else []
        asked = "\n".join(sorted(_inferred(code, path, read, set()) | _extra(head)))
    return "\n".join([*header, f"# py: {version}", compiled(asked, version).strip()])


def _set_name(file: str) -> str:
    match = SET_FILE.match(file)
    return (match[1] if match else None) or "default"


def python_of(code: str) -> str | None:
    """The version that the script's head asks for, as `3.11`."""
    for row in code.split("\n"):
        if not row.startswith("#"):
            break
        if match := SHORT.match(row):
            return f"{match[1]}.{match[2]}"
        if match := SPECIFIER.match(row):
            return _newest(match[1])
    return None


def _newest(specifier: str) -> str | None:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        wanted = SpecifierSet(specifier)
    except InvalidSpecifier:
        return None
    fits = [version for version in PYTHONS if wanted.contains(f"{version}.0") or wanted.contains(version)]
    return fits[-1] if fits else None


def _extra(head: Head | None) -> set[str]:
    return {line for _, line in head.lines} if head and head.extra else set()


def _inferred(code: str, path: str, read: Callable[[str], str | None], seen: set[str]) -> set[str]:
    """Packages of the imports that a server sees, through the scripts that are imported."""
    if path in seen:
        return set()
    seen.add(path)
    rows, wanted = code.split("\n"), set()
    for found in imports(code, path):
        root = found.module.split(".")[0]
        if not found.tracked:
            continue
        if root in ("f", "u"):
            other = found.module.replace(".", "/")
            text = read(other)
            if text is not None:
                wanted |= _inferred(text, other, read, seen)
        elif root and root not in sys.stdlib_module_names:
            pin = PIN.search(rows[found.line - 1])
            wanted.add(pin[1] if pin else _package(root))
    return wanted


def _package(module: str) -> str:
    return (PROVIDERS.get(module.lower(), "").split() or [normal(module)])[0]


def compiled(requirements: str, python: str) -> str:
    """Every package that the requirements need, pinned, one a line. Raises NoLock."""
    if not requirements.strip():
        return ""
    command = ["uv", "pip", "compile", "-q", "--no-header", "--no-annotate", "--strip-extras", "--no-config",
               "--python-version", python, "-"]  # fmt: skip
    try:
        done = subprocess.run(command, input=requirements, text=True, capture_output=True, check=False)
    except OSError as error:
        raise NoLock(f"uv cannot be started ({error}); install it (pip install uv)") from None
    if done.returncode:
        raise NoLock(f"uv found no versions: {done.stderr.strip()[-600:]}")
    return done.stdout
