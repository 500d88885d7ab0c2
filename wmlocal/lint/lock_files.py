"""Locks against what they were made from: named requirement sets, lines in the script's head, the Python version."""

from __future__ import annotations

import hashlib
import re

from wmlocal.formats.layout import INLINE
from wmlocal.lint.code import Code
from wmlocal.lint.context import Context
from wmlocal.lint.files import Script
from wmlocal.lint.other_locks import check_other_lock
from wmlocal.lint.positions import Item
from wmlocal.lint.python_code import check_locked, normal, parse_package
from wmlocal.lint.requirement_heads import Head, read_head
from wmlocal.suggest import suggest

# A server makes a lock of every script in these; Deno's is empty for a script that imports nothing.
LOCKED = ("python3", "bun", "deno", "go", "php", "rust")
MAY_BE_EMPTY = ("deno",)
SET = re.compile(r"^# workspace-dependencies: ([\w-]+):([0-9a-f]{64})$")
PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*==\s*([^\s;,#]+)")
PYTHON = re.compile(r"^#\s*(?:py:\s*==\s*(3\.\d+)(?:\.\*)?|py(3\d+))\s*$")


def check_locks(context: Context, code: Code) -> None:
    for script in context.files.scripts.values():
        document = context.documents.get(f"{script.path}.script.yaml")
        if document is not None and script.language in LOCKED and document.get("codebase") is None:
            _script(context, code, script, document)
    for inline in code.inline:
        _inline_step(context, inline.flow, inline.step.item, inline.language, inline.step.id)
        name = _read_file_name(inline.step.item.get("value", "lock"))
        lock = f"{inline.flow.rpartition('/')[0]}/{name}"
        text = context.files.text(lock) if name and lock in context.files.set else None
        if inline.language == "python3" and inline.file and text:
            _python(context, inline.as_script, inline.content, lock, text)


def check_hashes(context: Context) -> None:
    """A script's hash in wmill-lock.yaml is of its code and metadata; another one says that they have changed since."""
    document = context.documents.get("wmill-lock.yaml")
    if document is None or document.text("version") != "v2":
        return
    locks = document.map("locks")
    for path in context.files.scripts if locks else ():
        if path not in locks and f"{path}.script.yaml" in context.documents:
            place = document.get("locks") or document
            message = f"{path} has no hash here, so its metadata counts as stale; {DO}"
            context.report("wmill-lock.yaml", (place.key_line, place.key_column), "stale-hash", message, warn=True)
    for path, item in locks.items():
        script = context.files.scripts.get(path)
        code, meta = (
            (context.files.text(file) for file in (script.file, f"{path}.script.yaml")) if script else (None, None)
        )
        if code is not None and meta is not None and item.value != _hash(code, meta):
            context.report(
                "wmill-lock.yaml",
                (item.key_line, item.key_column),
                "stale-hash",
                f"{path} has changed since its metadata was made; {DO}",
                warn=True,
            )


def _hash(code: str, meta: str) -> str:
    # The empty mapping stands where older CLIs put the requirement sets.
    return hashlib.sha256(("{}" + code + meta).encode()).hexdigest()


def _script(context: Context, code: Code, script: Script, document: Item) -> None:
    meta, item = f"{script.path}.script.yaml", document.get("lock")
    name = _read_file_name(item)
    text = context.files.text(name) if name in context.files.set else None
    if name and text is None:
        return
    if text is None and item is not None and isinstance(item.value, list):
        text = "\n".join(str(line.value) for line in item.value)
    if not (text or "").strip() and script.language in MAY_BE_EMPTY:
        return
    if not (text or "").strip():
        place = item or document
        if name:
            context.report(name, (1, 1), "missing-lock", f"the lock of {script.path} is empty; {DO}")
        elif item is None or not item.value:
            context.report(meta, place, "missing-lock", f"{script.path} has no lock; {DO}")
        return
    source = context.files.text(script.file)
    if script.language == "python3" and name and text and source is not None:
        _python(context, script, source, name, text)
    elif source is not None and text:
        signature = code.signatures.get(script.file)
        check_other_lock(context, script, source, text, signature.packages if signature else ())


DO = "run flexcore metadata, or wmill generate-metadata"


def _read_file_name(item: Item | None) -> str:
    value = item.value if item is not None else None
    return value.removeprefix(INLINE).strip() if isinstance(value, str) and value.startswith(INLINE) else ""


def _python(context: Context, script: Script, source: str, name: str, text: str) -> None:
    head, rows = read_head(source), text.split("\n")
    held = {package: (number, row) for number, row in enumerate(rows, 1) if (package := parse_package(row))}
    _sets(context, script, head, name, rows)
    wanted = _version(source.split("\n"))
    has = next((match[1] for row in rows if (match := re.match(r"^# py: (3\.\d+)", row))), None)
    if wanted and has and wanted != has:
        context.report(
            name,
            (_line(rows, "# py:"), 1),
            "stale-lock",
            f"the lock is for Python {has}, and the script asks for {wanted}; {DO}",
        )
    for package, version, where in _requirements(context, head):
        if package not in held:
            context.report(name, (1, 1), "stale-lock", f"{package} of {where} is not in the lock; {DO}")
        elif version and (pin := PIN.match(held[package][1])) and pin[2] != version:
            context.report(
                name, (held[package][0], 1), "stale-lock", f"{package} is {pin[2]} here and {version} in {where}; {DO}"
            )
    check_locked(context, script, source, set(held))


def _sets(context: Context, script: Script, head: Head | None, name: str, rows: list[str]) -> None:
    files = context.files
    asked = head.names if head else ()
    if head and len(asked) > 1:
        context.report(script.file, (head.line, 1), "bad-requirements", "Python takes one requirement set; name one")
    for wanted in asked:
        if _set_file(wanted) not in files.set:
            known = [
                file.removeprefix("dependencies/").removesuffix(".requirements.in")
                for file in files.names
                if file.endswith(".requirements.in")
            ]
            context.report(
                script.file,
                (head.line if head else 1, 1),
                "unknown-requirements",
                f"there is no {_set_file(wanted)}" + suggest(wanted, known),
            )
    found = [(number, match[1], match[2]) for number, row in enumerate(rows, 1) if (match := SET.match(row))]
    for number, used, digest in found:
        source = files.root / _set_file(used)
        if asked and used not in asked:
            context.report(
                name,
                (number, 1),
                "stale-lock",
                f"the lock is of the set {used}, and the script names {', '.join(asked)}; {DO}",
            )
        elif _set_file(used) in files.set and hashlib.sha256(source.read_bytes()).hexdigest() != digest:
            context.report(name, (number, 1), "stale-lock", f"{_set_file(used)} has changed since; {DO}")
    for wanted in asked:
        if _set_file(wanted) in files.set and not found:
            context.report(name, (1, 1), "stale-lock", f"the lock does not say that it is of the set {wanted}; {DO}")


def _set_file(name: str) -> str:
    return "dependencies/requirements.in" if name == "default" else f"dependencies/{name}.requirements.in"


def _requirements(context: Context, head: Head | None) -> list[tuple[str, str, str]]:
    """Package, pinned version or nothing, and where it is asked for."""
    rows: list[tuple[str, str]] = []
    for name in head.names if head else ():
        file = _set_file(name)
        text = context.files.text(file) if file in context.files.set else None
        rows += [(row, file) for row in (text or "").split("\n")]
    rows += [(row, "the script's head") for _, row in (head.lines if head else ())]
    found = []
    for row, where in rows:
        package, pin = parse_package(row), PIN.match(row.strip())
        # A marker may rule the package out on the worker.
        if package and ";" not in row and "://" not in row:
            found.append((normal(package), pin[2] if pin else "", where))
    return found


def _version(rows: list[str]) -> str | None:
    for row in rows[:40]:
        match = PYTHON.match(row)
        if match:
            return match[1] or f"{match[2][0]}.{match[2][1:]}"
    return None


def _line(rows: list[str], start: str) -> int:
    return next((number for number, row in enumerate(rows, 1) if row.startswith(start)), 1)


def _inline_step(context: Context, file: str, step: Item, language: str, name: str) -> None:
    if language not in LOCKED or language in MAY_BE_EMPTY:
        return
    lock = step.get("value", "lock")
    if lock is None:
        content = step.get("value", "content")
        place = (content.key_line, content.key_column) if content else (step.line, step.column)
        context.report(file, place, "missing-lock", f"step {name} has no lock; {DO}")
    elif lock.value == "":
        context.report(file, lock, "missing-lock", f"the lock of step {name} is empty; {DO}")
