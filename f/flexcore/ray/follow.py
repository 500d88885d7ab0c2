# requirements: flexcore_base
# py: ==3.11.*
"""Follows a job's log into the step's own log: whole lines, redacted, each once. It informs and decides nothing.

Only its first megabytes are followed, and of a longer one the end is told: no log costs more, in memory or in time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

from f.flexcore.core.errors import FlexcoreError
from f.flexcore.core.redaction import Redactor

# The dashboard sends a log from its beginning at each look; a long one is looked at less often, a very long one only at
# the end.
LOOK_EVERY_S = 1.0
SECONDS_PER_BYTE = 2e-6
FOLLOWED_BYTES = 8 * 1024 * 1024
TAIL_LINES = 100
TAIL_CHARACTERS = 16_000
# So much is read that a secret at the tail's very beginning is still whole when it is masked.
TAIL_BYTES = 4 * 2 * TAIL_CHARACTERS
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Log(Protocol):
    """Where the log is; raises FlexcoreError when it cannot be read."""

    def start(self, most: int) -> bytes:
        """Its first bytes."""

    def end(self, lines: int, most: int) -> bytes:
        """Its last lines, or their last bytes."""


class LogFollower:
    def __init__(self, log: Log, emit: Callable[[str], None], redactor: Redactor) -> None:
        self._log = log
        self._emit = emit
        self._redactor = redactor
        self._text = ""
        self._shown = 0
        self._is_long = False
        self._next_look = 0.0

    def look(self, now: float) -> None:
        """Emits what is new, when it is time to look again."""
        if now < self._next_look or self._is_long:
            return
        self._fetch()
        self._next_look = now + LOOK_EVERY_S + len(self._text) * SECONDS_PER_BYTE
        self._show(self._text.rfind("\n") + 1)

    def finish(self) -> str:
        """Emits the rest and returns the redacted end of the log; what cannot be read is left out."""
        if not self._is_long:
            self._fetch()
            self._show(self._text.rfind("\n") + 1 if self._is_long else len(self._text))
        if self._is_long:
            self._emit("… the log is long; its end is in the result")
        lines = self._end().splitlines()[-TAIL_LINES:]
        return self._redactor.text("\n".join(lines))[-TAIL_CHARACTERS:]

    def _end(self) -> str:
        if self._is_long:
            try:
                return _text(self._log.end(TAIL_LINES, TAIL_BYTES))
            except FlexcoreError:
                pass
        return self._text[-2 * TAIL_CHARACTERS :]

    def _fetch(self) -> None:
        try:
            content = self._log.start(FOLLOWED_BYTES + 1)
        except FlexcoreError:
            return
        self._is_long = len(content) > FOLLOWED_BYTES
        text = _text(content)
        if len(text) < len(self._text):
            # A log that became shorter is another file: the job's node was replaced or its log rotated.
            self._shown = 0
        self._text = text

    def _show(self, end: int) -> None:
        new, self._shown = self._text[self._shown : end], max(end, self._shown)
        for line in self._redactor.text(new).splitlines():
            self._emit(line)


def _text(content: bytes) -> str:
    return COLOURS.sub("", content.decode("utf-8", "replace"))
