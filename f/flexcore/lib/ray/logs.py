# requirements: flexcore_base
"""Follows a job's log into the step's own log: lines as a terminal would show them, redacted, each once. It informs and
decides nothing.

Only its first megabytes are followed, and of a longer one the end is reported: no log costs more, in memory or in time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from f.flexcore.lib.core import errors, log_text, redaction

# The dashboard sends a log from its beginning at each look; a long one is looked at less often, a very long one only at
# the end.
LOOK_INTERVAL_S = 1.0
SECONDS_PER_BYTE = 2e-6
MAX_FOLLOWED_BYTES = 8 * 1024 * 1024
MAX_TAIL_LINES = 100
MAX_TAIL_CHARACTERS = 16_000
MAX_LINE_CHARACTERS = 4000
# So much is masked that a secret at the tail's very beginning is still whole.
MAX_MASKED_BYTES = 4 * 2 * MAX_TAIL_CHARACTERS
MAX_MASKED_LINES = MAX_TAIL_LINES + redaction.MAX_BLOCK_LINES
# A progress bar has no line of its own before it is done; meanwhile its state is reported this often.
BAR_INTERVAL_S = 30.0


class Log(Protocol):
    """Where the log is; raises FlexcoreError when it cannot be read."""

    def start(self, max_bytes: int) -> bytes:
        """Its first bytes."""

    def end(self, lines: int, max_bytes: int) -> bytes:
        """Its last lines, or their last bytes."""


class LogFollower:
    def __init__(self, log: Log, report: Callable[[str], None], redactor: redaction.Redactor) -> None:
        self._log = log
        self._report = report
        self._redactor = redactor
        self._next_look = 0.0
        self._bar_at: float | None = None
        self._content, self._cleaner, self._line_redactor = b"", log_text.LogCleaner(), redactor.lines()
        # The ends of the files that this one has replaced.
        self._earlier: deque[str] = deque(maxlen=MAX_TAIL_LINES)

    @property
    def _is_long(self) -> bool:
        return len(self._content) > MAX_FOLLOWED_BYTES

    def look(self, now: float) -> None:
        """Reports what is new, when it is time to look again."""
        if now < self._next_look or self._is_long:
            return
        self._fetch()
        self._next_look = now + LOOK_INTERVAL_S + len(self._content) * SECONDS_PER_BYTE
        self._show_bar(now)

    def finish(self) -> str:
        """Reports the rest and returns the redacted end of the log; what cannot be read is left out."""
        if not self._is_long:
            self._fetch()
        if self._is_long:
            self._report("… the log is long; its end is in the result")
        else:
            self._show(self._cleaner.finish())
        tail = [*self._earlier, *self._clean_tail(self._read_end() or self._content)][-MAX_TAIL_LINES:]
        return "\n".join(tail)[-MAX_TAIL_CHARACTERS:]

    def _read_end(self) -> bytes:
        """The end of a log that was not followed to its end."""
        if not self._is_long:
            return b""
        try:
            return self._log.end(MAX_TAIL_LINES, MAX_MASKED_BYTES)
        except errors.FlexcoreError:
            return b""

    def _clean_tail(self, content: bytes) -> list[str]:
        """The last lines in their last state. They are cleaned anew: what was reported while a bar was drawn is no line
        of the log."""
        lines = log_text.clean_log(content).split("\n")[-MAX_MASKED_LINES:]
        masked = self._redactor.text("\n".join(lines)[-MAX_MASKED_BYTES:]).split("\n")
        return [log_text.shorten(line, MAX_LINE_CHARACTERS) for line in masked[-MAX_TAIL_LINES:]] if content else []

    def _fetch(self) -> None:
        try:
            content = self._log.start(MAX_FOLLOWED_BYTES + 1)
        except errors.FlexcoreError:
            return
        if len(content) < len(self._content):
            # A log that became shorter is another file: the job's node was replaced or its log rotated.
            whole_lines = self._content[: self._content.rfind(b"\n") + 1]
            self._earlier.extend(self._clean_tail(whole_lines))
            self._content, self._cleaner, self._line_redactor = b"", log_text.LogCleaner(), self._redactor.lines()
        self._show(self._cleaner.feed(content[len(self._content) :]))
        self._content = content

    def _show(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._report(log_text.shorten(self._line_redactor.line(line), MAX_LINE_CHARACTERS))

    def _show_bar(self, now: float) -> None:
        state = self._cleaner.open_line
        if not state.strip() or self._bar_at is None:
            self._bar_at = now
        elif now - self._bar_at > BAR_INTERVAL_S:
            self._bar_at = now
            self._report(log_text.shorten(self._redactor.text(state), MAX_LINE_CHARACTERS))
