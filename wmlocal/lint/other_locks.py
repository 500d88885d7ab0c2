"""Locks of TypeScript, Go and PHP scripts: what is imported is locked, and named sets of packages exist.

A bun lock is a package.json, a line `//bun.lock` and bun's own lock; a Go lock a go.mod and its sums.
"""

from __future__ import annotations

import json
import re

from wmlocal.lint.context import Context
from wmlocal.lint.files import Script
from wmlocal.suggest import suggest

# Node's own modules may be imported without `node:` before them.
_NODE = """assert async_hooks buffer child_process cluster console constants crypto dgram diagnostics_channel dns
domain events fs http http2 https inspector module net os path perf_hooks process punycode querystring readline repl
stream string_decoder sys timers tls trace_events tty url util v8 vm wasi worker_threads zlib bun"""
NODE = frozenset(_NODE.split())
PACKAGE = re.compile(r"^(?:npm:)?((?:@[^/@]+/)?[^/@]+)(?:@([^/]+))?(?:/.*)?$")
SETS = {
    "bun": (re.compile(r"^//\s*package_json:\s*(\S+)\s*$", re.MULTILINE), "package.json"),
    "php": (re.compile(r"^//\s*composer_json:\s*(\S+)\s*$", re.MULTILINE), "composer.json"),
}
GO_IMPORT = re.compile(r'^\s*(?:import\s+)?(?:[\w.]+\s+)?"([\w.-]+\.[\w-]+/[^"]+)"', re.MULTILINE)
COMMENT = re.compile(r"""("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|//[^\n]*|/\*.*?\*/""", re.DOTALL)
DO = "run wmill generate-metadata"


def check_other_lock(context: Context, script: Script, source: str, lock: str, packages: tuple[str, ...]) -> None:
    _set(context, script, source)
    if script.language == "bun":
        _bun(context, script, source, lock, packages)
    elif script.language == "go":
        for match in GO_IMPORT.finditer(source):
            module = match[1]
            parts = module.split("/")
            heads = ["/".join(parts[:number]) for number in range(2, len(parts) + 1)]
            if not any(re.search(rf"(?m)^\s*(?:require\s+)?{re.escape(head)}\s+v", lock) for head in heads):
                _report_unlocked(context, script, source, module, match.start(1))


def _bun(context: Context, script: Script, source: str, lock: str, packages: tuple[str, ...]) -> None:
    start = lock.find("{")
    try:
        held = json.JSONDecoder().raw_decode(lock[start:])[0] if start >= 0 else {}
    except ValueError:
        return
    dependencies = held.get("dependencies") if isinstance(held, dict) else None
    known = dependencies if isinstance(dependencies, dict) else {}
    for package in packages:
        match = PACKAGE.match(package)
        if package.startswith((".", "/", "node:", "bun:", "http:", "https:", "jsr:")) or not match:
            continue
        name, version = match[1], match[2]
        at = max(source.find(f"{quote}{package}{quote}") + 1 for quote in "\"'`")
        if name in NODE or _is_elided(source, package):
            continue
        if name not in known:
            _report_unlocked(context, script, source, name, at)
        elif version and known[name] != version:
            message = f"{name} is {known[name]} in the lock and {version} here; {DO}"
            context.report(script.file, _place(source, at), "stale-lock", message)


def _is_elided(source: str, package: str) -> bool:
    """TypeScript drops an import whose names are used as types alone or not at all, and the server locks no package for
    it. Only what is plainly a value counts as used: a call, `new`, or what stands after `=`."""
    statement = re.search(rf"""import\s+([^;"'`]*?)\s*from\s*["']{re.escape(package)}["']""", source)
    if statement is None:
        return False
    if re.match(r"type\b", statement[1]):
        return True
    code = COMMENT.sub(lambda match: match[1] or "", source[: statement.start()] + source[statement.end() :])
    names = re.findall(r"([\w$]+)\s*(?:,|}|$)", re.sub(r"\btype\s+[\w$]+(?:\s+as\s+[\w$]+)?", "", statement[1]))
    return not any(
        re.search(rf"(?<![\w$.]){re.escape(name)}(?:\s*\??\.\s*[\w$]+)*\s*[(\[`]", code)
        or re.search(rf"(?:\bnew\s+|(?<!\w)(?<!type \w)=\s*){re.escape(name)}\b", code)
        for name in names
    )


def _report_unlocked(context: Context, script: Script, source: str, name: str, at: int) -> None:
    message = f"{name} is imported, and the lock does not hold it; {DO}"
    context.report(script.file, _place(source, at), "not-locked", message)


def _place(source: str, at: int) -> tuple[int, int]:
    before = source[: max(at, 0)]
    return before.count("\n") + 1, len(before.rpartition("\n")[2]) + 1


def _set(context: Context, script: Script, source: str) -> None:
    pattern, ending = SETS.get(script.language, (None, ""))
    match = pattern.search(source) if pattern else None
    file = f"dependencies/{match[1]}.{ending}" if match and match[1] != "default" else f"dependencies/{ending}"
    if match and file not in context.files.set:
        known = [name for name in context.files.names if name.endswith(f".{ending}") and "/" in name]
        message = f"there is no {file}" + suggest(file, known)
        context.report(script.file, _place(source, match.start()), "unknown-requirements", message)
