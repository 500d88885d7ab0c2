"""Apps: what their buttons and background runs start, in low-code apps and in the `backend` folder of raw apps."""

from __future__ import annotations

from wmlocal.formats import tables
from wmlocal.lint.context import Context
from wmlocal.lint.files import EXTENSIONS
from wmlocal.lint.lock_files import LOCKED
from wmlocal.lint.positions import Item, NotYaml, read
from wmlocal.lint.shape import problems, show_value
from wmlocal.suggest import suggest

# What an app's own value and inline scripts hold; components are too many and too free to be told here.
_VALUE = """grid darkMode fullscreen norefreshbar unusedInlineScripts hiddenInlineScripts css subgrids theme
lazyInitRequire eagerRendering hideLegacyTopBar mobileViewOnSmallerScreens version parent_version draft_path summary
title hiddenRunnables"""
VALUE = frozenset(_VALUE.split())
_SCRIPT = "content language path schema lock cache_ttl tag refreshOn suggestedRefreshOn id assets"
INLINE_SCRIPT = frozenset(_SCRIPT.split())
BY_PATH = ("runnableByPath", "path")


def check_apps(context: Context) -> None:
    for entry, document in context.entries("app"):
        value = document.get("value")
        _keys(context, entry.file, value, VALUE, "the app's value")
        for item in value.walk() if value is not None else ():
            _keys(context, entry.file, item.get("inlineScript"), INLINE_SCRIPT, "the inline script")
            _language(context, entry.file, item.get("inlineScript", "language"))
            _lock(context, entry.file, item.get("inlineScript"))
            if item.text("type") in BY_PATH and item.get("runType") is not None:
                _by_path(context, entry.file, item)
    for entry, document in context.entries("raw_app"):
        for item in document.map("runnables").values():
            if item.text("type") in BY_PATH:
                _by_path(context, entry.file, item)
        _backend(context, entry.file.rpartition("/")[0] + "/backend/")


def _keys(context: Context, file: str, item: Item | None, known: frozenset[str], what: str) -> None:
    for key, child in item.map().items() if item is not None else ():
        if key not in known:
            message = f"{what} has no key {show_value(key)}; Windmill ignores it" + suggest(key, known)
            context.report(file, (child.key_line, child.key_column), "unknown-key", message)


def _language(context: Context, file: str, item: Item | None) -> None:
    words = [*tables.LANGUAGES.split("|"), "frontend"]
    if item is not None and item.value not in words:
        message = f"language is {show_value(item.value)}, and must be one of {', '.join(words)}"
        context.report(file, item, "wrong-value", message + suggest(str(item.value), words))


def _lock(context: Context, file: str, script: Item | None) -> None:
    if script is None or script.text("language") not in LOCKED or script.get("content") is None:
        return
    lock = script.get("lock")
    if lock is None or not lock.value:
        message = "the app's code has no lock; run wmill generate-metadata"
        context.report(file, lock or (script.key_line, script.key_column), "missing-lock", message)


def _by_path(context: Context, file: str, item: Item) -> None:
    path, kind = item.get("path"), item.get("runType")
    word = kind.value if kind is not None else "script"
    if kind is not None and word not in ("script", "flow", "hubscript"):
        message = f"runType is {show_value(word)}, and must be one of script, flow, hubscript"
        context.report(file, kind, "wrong-value", message)
    elif path is not None and isinstance(path.value, str) and word != "hubscript":
        context.runnable(file, path, path.value, word == "flow", "a runnable of the app")


def _backend(context: Context, folder: str) -> None:
    """`backend/ID.yaml` says what ID runs: its own code beside it, or a script or flow by path."""
    for file in context.files.names:
        base = file.removeprefix(folder)
        if not file.startswith(folder) or not file.endswith(".yaml") or "/" in base:
            continue
        try:
            document = read(context.files.text(file) or "")
        except NotYaml as error:
            message = f"{error}; Windmill cannot read this file"
            context.report(file, (error.line, error.column), "yaml-syntax", message)
            continue
        for problem in problems(document, "Backend", tables.ITEMS):
            context.report(file, (problem.line, problem.column), problem.rule, problem.message)
        kind, path, stem = document.text("type"), document.get("path"), file.removesuffix(".yaml")
        if kind == "inline" and not any(stem + extension in context.files.set for extension in EXTENSIONS):
            message = f"there is no code beside it, such as {base.removesuffix('.yaml')}.py; write it"
            context.report(file, document, "missing-file", message)
        elif kind in BY_PATH:
            _by_path(context, file, document)
        elif kind in ("script", "flow"):
            if path is None:
                context.report(file, document, "missing-key", f"a runnable of type {kind} needs a path; add it")
            elif isinstance(path.value, str):
                context.runnable(file, path, path.value, kind == "flow", "the runnable")
