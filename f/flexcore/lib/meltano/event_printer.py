# requirements: flexcore_base
"""Prints a run's log live: redacted, and no faster than a person or the worker's log store can take it."""

from __future__ import annotations

import time
from collections.abc import Callable

from f.flexcore.lib.core import log_text, redaction

# A chatty plugin prints thousands of lines per second; Windmill keeps every one of them in its database.
LINES_PER_S = 40
BURST = 200
# A line of a log is for reading; a plugin may print a whole record in one.
LONGEST_LINE = 2000


class Printer:
    def __init__(
        self,
        redactor: redaction.Redactor,
        clock: Callable[[], float] = time.monotonic,
        write: Callable[[str], None] = lambda text: print(text, flush=True),
    ) -> None:
        self._redacted, self._clock, self._write = redactor.lines(), clock, write
        self._allowance, self._last, self._left_out = float(BURST), clock(), 0

    def show(self, text: str) -> None:
        # What is left out is looked at too: a private key may begin there.
        text = self._redacted.line(text)
        now = self._clock()
        self._allowance = min(BURST, self._allowance + (now - self._last) * LINES_PER_S)
        self._last = now
        if self._allowance < 1:
            self._left_out += 1
            return
        self._allowance -= 1
        self.flush()
        self._write(log_text.shorten(text, LONGEST_LINE))

    def flush(self) -> None:
        if self._left_out:
            self._write(f"… {self._left_out:,} lines left out")
            self._left_out = 0
