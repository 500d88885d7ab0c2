# requirements: flexcore_base
"""Follows a job's log into the step's own log: lines as a terminal would show them, redacted, each once. It informs and
decides nothing.

Only its first megabytes are followed, and of a longer one the end is told: no log costs more, in memory or in time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from f.flexcore.lib.core import errors, log_text, redaction

# The dashboard sends a log from its beginning at each look; a long one is looked at less often, a very long one only at
# the end.
LOOK_EVERY_S = 1.0
SECONDS_PER_BYTE = 2e-6
FOLLOWED_BYTES = 8 * 1024 * 1024
TAIL_LINES = 100
TAIL_CHARACTERS = 16_000
LONGEST_LINE = 4000
# So much is read that a secret at the tail's very beginning is still whole when it is masked.
TAIL_BYTES = 4 * 2 * TAIL_CHARACTERS
# A progress bar has no line of its own before it is done; meanwhile its state is told this often.
BAR_EVERY_S = 30.0


class Log(Protocol):
    """Where the log is; raises FlexcoreError when it cannot be read."""

    def start(self, most: int) -> bytes:
        """Its first bytes."""

    def end(self, lines: int, most: int) -> bytes:
        """Its last lines, or their last bytes."""


class LogFollower:
    def __init__(self, log: Log, emit: Callable[[str], None], redactor: redaction.Redactor) -> None:
        self._log = log
        self._emit = emit
        self._redactor = redactor
        self._is_long = False
        self._next_look = 0.0
        self._bar_at = 0.0
        self._read, self._cleaner, self._redacted = 0, log_text.LogCleaner(), redactor.lines()
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)

    def look(self, now: float) -> None:
        """Emits what is new, when it is time to look again."""
        if now < self._next_look or self._is_long:
            return
        self._fetch()
        self._next_look = now + LOOK_EVERY_S + self._read * SECONDS_PER_BYTE
        self._show_bar(now)

    def finish(self) -> str:
        """Emits the rest and returns the redacted end of the log; what cannot be read is left out."""
        if not self._is_long:
            self._fetch()
        if self._is_long:
            self._emit("… the log is long; its end is in the result")
        else:
            self._show(self._cleaner.finish())
        return "\n".join(self._end() or self._tail)[-TAIL_CHARACTERS:]

    def _end(self) -> list[str]:
        """The last lines of a log that was not followed to its end."""
        if not self._is_long:
            return []
        try:
            lines = log_text.clean_log(self._log.end(TAIL_LINES, TAIL_BYTES)).split("\n")
        except errors.FlexcoreError:
            return []
        masked = self._redactor.text("\n".join(lines)).split("\n")
        return [log_text.shorten(line, LONGEST_LINE) for line in masked[-TAIL_LINES:]]

    def _fetch(self) -> None:
        try:
            content = self._log.start(FOLLOWED_BYTES + 1)
        except errors.FlexcoreError:
            return
        self._is_long = len(content) > FOLLOWED_BYTES
        if len(content) < self._read:
            # A log that became shorter is another file: the job's node was replaced or its log rotated.
            self._read, self._cleaner, self._redacted = 0, log_text.LogCleaner(), self._redactor.lines()
        self._show(self._cleaner.feed(content[self._read :]))
        self._read = len(content)

    def _show(self, lines: Iterable[str]) -> None:
        for line in lines:
            text = log_text.shorten(self._redacted.line(line), LONGEST_LINE)
            self._tail.append(text)
            self._emit(text)

    def _show_bar(self, now: float) -> None:
        state = self._cleaner.open_line
        if not state.strip():
            self._bar_at = now
        elif now - self._bar_at > BAR_EVERY_S:
            self._bar_at = now
            self._emit(log_text.shorten(self._redactor.text(state), LONGEST_LINE))
