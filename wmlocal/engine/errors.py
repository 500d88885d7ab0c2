"""Every way in which the engine says no, ordered by what the caller can do about it.

    EngineError
    ├── CannotStart            nothing ran; the message names the thing and the next action (exit code 2)
    │   ├── BadBundle          the root is not a bundle, or a file of it cannot be read
    │   ├── UnknownPath        no script, flow, job, resource or variable of that name
    │   ├── BadArguments       the arguments are no JSON object
    │   └── Unsupported        constructs that the engine refuses, or references that lead nowhere (a list of findings)
    ├── EnvironmentFailed      a lock could not be installed; carries the last lines of uv
    └── Rejected               a request that Windmill would refuse as well; carries the HTTP status

A step that fails is not an exception: its error is the run's result.
"""

from __future__ import annotations

from dataclasses import dataclass


class EngineError(Exception):
    """Anything the engine raises on purpose."""


class CannotStart(EngineError):
    """Nothing was run."""


class BadBundle(CannotStart):
    pass


class UnknownPath(CannotStart):
    pass


class BadArguments(CannotStart):
    pass


@dataclass(frozen=True, slots=True)
class Finding:
    """One construct that stands in the way of a run."""

    where: str
    what: str
    do: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.do}"


class Unsupported(CannotStart):
    def __init__(self, findings: list[Finding]) -> None:
        super().__init__("cannot run this:\n" + "\n".join(f"  - {finding}" for finding in findings))
        self.findings = findings


class EnvironmentFailed(EngineError):
    pass


class Rejected(EngineError):
    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class WindmillError(EngineError):
    """An error that becomes a result: `name` and the text are those of Windmill's own error of that kind."""

    def __init__(self, message: str, name: str = "ExecutionErr") -> None:
        super().__init__(message)
        self.name = name

    def as_result(self) -> dict[str, str]:
        return {"message": str(self), "name": self.name}
