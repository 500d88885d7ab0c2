# requirements: flexcore_base
# py: ==3.11.*
"""Follows a job's log into the step's own log: whole lines, redacted, each once. It informs and decides nothing."""

from __future__ import annotations

import re
from collections.abc import Callable

from f.flexcore.core.errors import FlexcoreError
from f.flexcore.core.redaction import Redactor

# The dashboard sends the whole log at each look; a long one is looked at less often, a very long one only at the end.
LOOK_EVERY_S = 1.0
SECONDS_PER_BYTE = 2e-6
FOLLOWED_BYTES = 8 * 1024 * 1024
TAIL_LINES = 100
TAIL_CHARACTERS = 16_000
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class LogFollower:
    def __init__(self, read: Callable[[], str], emit: Callable[[str], None], redactor: Redactor) -> None:
        self._read = read
        self._emit = emit
        self._redactor = redactor
        self._text = ""
        self._shown = 0
        self._next_look = 0.0

    def look(self, now: float) -> None:
        """Emits what is new, when it is time to look again."""
        if now < self._next_look or len(self._text) > FOLLOWED_BYTES:
            return
        self._fetch()
        self._next_look = now + LOOK_EVERY_S + len(self._text) * SECONDS_PER_BYTE
        self._show(self._text.rfind("\n") + 1)
        if len(self._text) > FOLLOWED_BYTES:
            self._emit("… the log is long; its end is in the result")

    def finish(self) -> str:
        """Emits the rest and returns the redacted end of the log; what cannot be read is left out."""
        long = len(self._text) > FOLLOWED_BYTES
        self._fetch()
        if not long:
            self._show(len(self._text))
        return self._redactor.text("\n".join(self._text[-2 * TAIL_CHARACTERS :].splitlines()[-TAIL_LINES:]))[
            -TAIL_CHARACTERS:
        ]

    def _fetch(self) -> None:
        try:
            text = self._read()
        except FlexcoreError:
            return
        text = COLOURS.sub("", text)
        if len(text) < len(self._text):
            # A log that became shorter is another file: the job's node was replaced or its log rotated.
            self._shown = 0
        self._text = text

    def _show(self, end: int) -> None:
        new, self._shown = self._text[self._shown : end], max(end, self._shown)
        for line in self._redactor.text(new).splitlines():
            self._emit(line)
