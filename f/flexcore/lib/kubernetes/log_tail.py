# requirements: flexcore_kubernetes
"""The lines of a log that are shown with a result: its last ones, and the last traceback when it stands before them.
Pure.

Python writes a traceback at once and what was printed before it only at its exit, when its output is no terminal; and
two pipes are read in no order. Of a program that prints much, the traceback stands thousands of lines before the end.
"""

from __future__ import annotations

from collections.abc import Sequence

TAIL_LINES = 60
TAIL_BYTES = 8192
MAX_TRACEBACK_LINES = 25
# Of a deeper one the innermost frames are kept.
MAX_FRAME_LINES = 400
BEGIN = "Traceback (most recent call last):"
GAP_MARK = "(…)"


class TracebackKeeper:
    """The last traceback of a log that comes in pieces, up to the line that names the exception."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._margin, self._is_open = 0, False

    @property
    def lines(self) -> list[str]:
        """Shortened at its beginning, where the frames of the libraries that called stand."""
        if len(self._lines) <= MAX_TRACEBACK_LINES:
            return list(self._lines)
        return [self._lines[0], *self._lines[-(MAX_TRACEBACK_LINES - 1) :]]

    def feed(self, lines: Sequence[str]) -> None:
        at = next((index for index in range(len(lines) - 1, -1, -1) if BEGIN in lines[index]), None)
        if at is not None:
            self._lines, self._margin, self._is_open = [lines[at]], lines[at].index(BEGIN), True
            lines = lines[at + 1 :]
        for line in lines:
            if not self._is_open:
                return
            self._lines.append(line)
            self._is_open = line[self._margin :].startswith((" ", "\t")) and len(self._lines) < MAX_FRAME_LINES


def choose_tail(lines: Sequence[str], traceback: Sequence[str] = ()) -> list[str]:
    """No more than TAIL_LINES and TAIL_BYTES, with the traceback where it stands before them."""
    tail = take_last_lines(lines[-TAIL_LINES:], TAIL_BYTES)
    if not tail and lines:
        # Of a single longer line its end.
        tail = [lines[-1].encode()[-TAIL_BYTES:].decode(errors="ignore")]
    if not traceback or any(BEGIN in line for line in tail):
        return tail
    block = [*take_last_lines(traceback, TAIL_BYTES // 2), GAP_MARK]
    bytes_left = TAIL_BYTES - _count_bytes(block)
    return [*block, *take_last_lines(tail[-(TAIL_LINES - len(block)) :], bytes_left)]


def take_last_lines(lines: Sequence[str], max_bytes: int) -> list[str]:
    """The last lines that fit."""
    kept: list[str] = []
    bytes_left = max_bytes
    for line in reversed(lines):
        bytes_left -= len(line.encode()) + 1
        if bytes_left < 0:
            break
        kept.append(line)
    return kept[::-1]


def _count_bytes(lines: Sequence[str]) -> int:
    return sum(len(line.encode()) + 1 for line in lines)
