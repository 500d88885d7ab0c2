# requirements: flexcore_base
"""The failure of a shipped program as the typed error that a step raises of it. Shipped as source."""

from __future__ import annotations

from typing import Any


class Problem(Exception):
    """A failure that the step reports as core.errors.<kind>."""

    def __init__(self, kind: str, message: str, subject: str = "", remedy: str = "", **details: Any) -> None:
        super().__init__(message)
        self.flexcore: dict[str, Any] = {
            "type": kind,
            "message": message,
            "subject": subject,
            "remedy": remedy,
            "details": details,
        }

    def __reduce__(self) -> tuple[Any, ...]:
        # Ray carries it from a worker to the program by pickle, which would call __init__ with the message alone.
        fields = self.flexcore
        return _problem, (fields["type"], fields["message"], fields["subject"], fields["remedy"], fields["details"])


def _problem(kind: str, message: str, subject: str, remedy: str, details: dict[str, Any]) -> Problem:
    return Problem(kind, message, subject, remedy, **details)
