"""One defect of a bundle, at its place."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    # The bundle does not do what its text says: a push fails, a run fails, or a second push finds a change.
    ERROR = "error"
    # It works, or may work, and is still not what one wants.
    WARNING = "warning"


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """`line` and `column` count from 1; `file` is relative to the bundle's root."""

    file: str
    line: int
    column: int
    rule: str
    message: str
    severity: Severity = Severity.ERROR

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        mark = "" if self.severity is Severity.ERROR else "warning: "
        return f"{self.file}:{self.line}:{self.column}: {self.rule} {mark}{self.message}"
