"""A Python lock as a server's dependency job writes it.

Requirements come from one place: a named set (`# requirements: name`), lines in the head (`# requirements:` and
`#pkg==1` below), or the imports above main (requirements.py). uv compiles them.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Callable

from wmlocal.lint.requirement_heads import read_head
from wmlocal.metadata.requirements import NoRequirements, choose_python, infer_requirements, specifiers

# What a server takes when neither the script nor its own settings say otherwise.
DEFAULT_PYTHON = "3.12"
SET_FILE = re.compile(r"^dependencies/(?:([\w-]+)\.)?requirements\.in$")


class NoLock(Exception):
    """No lock can be made; the message says why and what to do."""


def python_lock(
    code: str, path: str, sets: dict[str, str], read: Callable[[str], str | None], python: str = DEFAULT_PYTHON
) -> str:
    """The lock's text. `sets` are requirement files by their path that the script uses, `read` gives a script of the
    bundle by its path, or a requirement file. Raises NoLock."""
    head = read_head(code)
    header: list[str] = []
    asked: str | None = None
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
    try:
        found = infer_requirements(code, path, read) if asked is None else None
        version = choose_python(found.versions if found else specifiers(code), python)
    except NoRequirements as error:
        raise NoLock(f"{path}: {error}") from None
    asked = "\n".join(found.lines) if found else asked or ""
    return "\n".join([*header, f"# py: {version}", compile_lock(asked, version).strip()])


def _set_name(file: str) -> str:
    match = SET_FILE.match(file)
    return (match[1] if match else None) or "default"


def compile_lock(requirements: str, python: str) -> str:
    """Every package that the requirements need, pinned, one a line. Raises NoLock."""
    if not requirements.strip():
        return ""
    # A server compiles for the newest release of that Python; some packages rule older ones out.
    command = [
        "uv",
        "pip",
        "compile",
        "-q",
        "--no-header",
        "--no-annotate",
        "--strip-extras",
        "--no-config",
        "--python-version",
        f"{python}.99",
        "-",
    ]
    try:
        done = subprocess.run(command, input=requirements, text=True, capture_output=True, check=False)
    except OSError as error:
        raise NoLock(f"uv cannot be started ({error}); install it (pip install uv)") from None
    if done.returncode:
        raise NoLock(f"uv found no versions: {done.stderr.strip()[-600:]}")
    return done.stdout
