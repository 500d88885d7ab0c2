"""The layout of f/flexcore: steps outside lib/, modules below it, one lock for each requirement set.

A bundle of the former layout had modules beside the steps, a `# py:` line in every head, and a lock for every script.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from wmlocal.formats.layout import INLINE
from wmlocal.lint.files import Files, Script
from wmlocal.lint.finding import Finding
from wmlocal.lint.positions import Item, NotYaml, read

FOLDER, LIBRARY = "f/flexcore/", "f/flexcore/lib/"
SET = re.compile(r"^# requirements: ([\w-]+)$")
PYTHON = re.compile(r"^# ?py(?:: ?[=<>~]|3)")
RULE = "old-layout"


def check_layout(root: Path) -> Iterator[Finding]:
    files = Files.below(root)
    for script in files.scripts.values():
        text = files.text(script.file)
        if not script.path.startswith(FOLDER) or script.language != "python3" or text is None:
            continue
        yield from _check_place(script, text)
        if match := SET.match(text.partition("\n")[0]):
            yield from _check_head(script, text)
            yield from _check_lock(files, script, match[1])


def _check_place(script: Script, text: str) -> Iterator[Finding]:
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError):
        return
    main = next(
        (node for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == "main"),
        None,
    )
    if main is None and not script.path.startswith(LIBRARY):
        message = f"a module without main lies among the steps; modules are in {LIBRARY}"
        yield Finding(script.file, 1, 1, RULE, f"{message}: delete it, or move it there")
    elif main is not None and script.path.startswith(LIBRARY):
        message = f"a script with main lies in {LIBRARY}, which holds modules alone; move it beside the steps"
        yield Finding(script.file, main.lineno, main.col_offset + 1, "step-in-library", message)


def _check_head(script: Script, text: str) -> Iterator[Finding]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.startswith("#"):
            return
        if PYTHON.match(line):
            message = (
                f"`{line.strip()}` keeps the script from sharing the lock of its requirement set; delete the line:"
                " the lock says which Python"
            )
            yield Finding(script.file, number, 1, RULE, message)


def _check_lock(files: Files, script: Script, requirements: str) -> Iterator[Finding]:
    file, shared = f"{script.path}.script.yaml", f"locks/{requirements}.requirements.in.lock"
    lock = _read_lock(files, file)
    if lock is None or not isinstance(lock.value, str) or lock.value == INLINE + shared:
        return
    message = f"the lock is {lock.value.removeprefix(INLINE)!r} and not the shared one; write lock: '{INLINE}{shared}'"
    yield Finding(file, lock.line, lock.column, RULE, message)


def _read_lock(files: Files, file: str) -> Item | None:
    try:
        return read(files.text(file) or "").get("lock") if file in files.set else None
    except NotYaml:
        return None
