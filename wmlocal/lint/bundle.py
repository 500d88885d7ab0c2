"""Reads every file of a bundle once and asks each check what it finds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from wmlocal.formats import tables
from wmlocal.lint.apps import check_apps
from wmlocal.lint.code import Code
from wmlocal.lint.context import Context
from wmlocal.lint.files import Files, Yaml
from wmlocal.lint.finding import Finding, Severity
from wmlocal.lint.flows import FlowCheck
from wmlocal.lint.inline_files import check_inline_files, check_layout
from wmlocal.lint.lock_files import check_hashes, check_locks
from wmlocal.lint.normal_form import check_normal_form
from wmlocal.lint.positions import Item, NotYaml, read
from wmlocal.lint.python_code import check_imports
from wmlocal.lint.references import check_references
from wmlocal.lint.resource_types import check_resources
from wmlocal.lint.schedules import check_schedules
from wmlocal.lint.settings import check_settings
from wmlocal.lint.shape import problems

TABLES = {
    "flow": ("Flow", tables.FLOW),
    "script": ("Script", tables.ITEMS),
    "resource": ("Resource", tables.ITEMS),
    "variable": ("Variable", tables.ITEMS),
    "resource-type": ("ResourceType", tables.ITEMS),
    "folder": ("Folder", tables.ITEMS),
    "schedule": ("Schedule", tables.ITEMS),
    "app": ("App", tables.ITEMS),
    "raw_app": ("RawApp", tables.ITEMS),
    "group": ("Group", tables.ITEMS),
    "user": ("User", tables.ITEMS),
    "settings": ("Settings", tables.ITEMS),
}


def check_bundle(root: Path) -> list[Finding]:
    return sorted(set(Checker(Files.below(root)).findings()))


class Checker:
    def __init__(self, files: Files) -> None:
        self.files = files
        self.documents: dict[str, Item] = {}

    def findings(self) -> Iterator[Finding]:
        yield from self._config("wmill.yaml", "Config")
        yield from self._config("wmill-lock.yaml", "Lockfile")
        for entry in self.files.yamls:
            yield from self._read(entry)
        context = Context(self.files, self.documents)
        code = Code(context)
        for entry, document in context.entries("flow"):
            FlowCheck(context, code, entry.file, document).run()
        code.check()
        if code.not_asked:
            message = f"schemas and signatures were not compared: {code.not_asked}"
            context.report("wmill.yaml", (1, 1), "not-compared", message, warn=True)
        check_schedules(context, code)
        check_inline_files(context)
        check_layout(context)
        check_normal_form(context)
        for script in self.files.scripts.values():
            if script.language == "python3" and (text := self.files.text(script.file)) is not None:
                check_imports(context, script, text)
        for inline in code.inline:
            if inline.language == "python3" and inline.file:
                check_imports(context, inline.as_script, inline.content)
        check_locks(context, code)
        check_hashes(context)
        check_resources(context, code)
        check_references(context)
        check_apps(context)
        check_settings(context)
        yield from context.findings

    def _config(self, file: str, kind: str) -> Iterator[Finding]:
        if file in self.files.set:
            yield from self._document(file, kind, tables.CONFIG)

    def _read(self, entry: Yaml) -> Iterator[Finding]:
        kind, table = TABLES.get(entry.kind) or (entry.kind.removesuffix("_trigger"), tables.TRIGGERS)
        yield from self._document(entry.file, kind, table)

    def _document(self, file: str, kind: str, table: str) -> Iterator[Finding]:
        text = self.files.text(file)
        if text is None:
            yield Finding(file, 1, 1, "not-utf8", self.files.why_unreadable(file))
            return
        try:
            document = read(text)
        except NotYaml as error:
            yield Finding(file, error.line, error.column, "yaml-syntax", f"{error}; Windmill cannot read this file")
            return
        for item in document.walk():
            for name, line, column in item.repeated:
                yield Finding(file, line, column, "duplicate-key", f"{name} is there twice; keep one")
        if document.value is None and kind in ("Config", "Lockfile"):
            return
        for problem in problems(document, kind, table):
            yield Finding(file, problem.line, problem.column, problem.rule, problem.message, Severity.ERROR)
        if isinstance(document.value, dict):
            self.documents[file] = document
