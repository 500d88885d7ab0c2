"""What a check may ask about the rest of the bundle, and how it reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from wmlocal.lint.files import FOLDERS, Files, Yaml
from wmlocal.lint.finding import Finding, Severity
from wmlocal.lint.positions import Item
from wmlocal.suggest import suggest


@dataclass
class Context:
    files: Files
    # Every readable YAML file of the bundle.
    documents: dict[str, Item] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def report(self, file: str, place: tuple[int, int] | Item, rule: str, message: str, warn: bool = False) -> None:
        line, column = (place.line, place.column) if isinstance(place, Item) else place
        severity = Severity.WARNING if warn else Severity.ERROR
        self.findings.append(Finding(file, line, column, rule, message, severity))

    def lines(self, file: str) -> Sequence[str]:
        if file not in self._lines:
            self._lines[file] = (self.files.text(file) or "").split("\n")
        return self._lines[file]

    @cached_property
    def _lines(self) -> dict[str, Sequence[str]]:
        return {}

    def entries(self, *kinds: str) -> list[tuple[Yaml, Item]]:
        """The readable files of these kinds."""
        return [
            (entry, self.documents[entry.file])
            for entry in self.files.yamls
            if entry.kind in kinds and entry.file in self.documents
        ]

    def schema(self, path: str, is_flow: bool) -> Item | None:
        """The schema of a script or flow of the bundle, None when it has none that says anything."""
        file = self.files.flows.get(path) if is_flow else f"{path}.script.yaml"
        document = self.documents.get(file or "")
        schema = document.get("schema") if document else None
        return schema if schema is not None and schema.map("properties") else None

    def runnable(self, file: str, place: Item, path: str, is_flow: bool, what: str) -> bool:
        """Reports a path that leads to nothing; says whether it is a script or flow of the bundle."""
        kind, found, other = (
            ("flow", self.files.flows, self.files.scripts)
            if is_flow
            else ("script", self.files.scripts, self.files.flows)
        )
        if path in found:
            return True
        if path.startswith("hub/") or not path:
            if not path:
                self.report(file, place, "unknown-path", f"{what} has an empty path; give the path of a {kind}")
            return False
        if path.split("/")[0] not in ("f", "u", "g") or path.count("/") < 2:
            self.report(
                file,
                place,
                "bad-path",
                f"{what} leads to {path!r}, which is not a path of a workspace; it begins with f/, u/ or hub/",
            )
        elif path in other:
            self.report(
                file, place, "wrong-kind", f"{path} is a {'script' if is_flow else 'flow'}, and {what} wants a {kind}"
            )
        elif not self._would_take(path):
            self.report(
                file,
                place,
                "outside-path",
                f"{path} is not among the files that are pushed; it must exist in the workspace",
                warn=True,
            )
        elif self.files.exists_untaken(path):
            self.report(
                file,
                place,
                "outside-path",
                f"{path} is excluded by wmill.yaml; it must exist in the workspace",
                warn=True,
            )
        else:
            self.report(
                file,
                place,
                "unknown-path",
                f"{what} leads to {path}, and the bundle has no {kind} of that path"
                + (suggest(path, list(found)) or f"; correct the path, or add the {kind}"),
            )
        return False

    def _would_take(self, path: str) -> bool:
        """Whether a script or flow of that path would be part of the bundle if it were there."""
        ends = (".py", ".ts", ".sh", *(f"{end}/flow.yaml" for end in FOLDERS["flow"]))
        return any(self.files.taken(path + end) for end in ends)
