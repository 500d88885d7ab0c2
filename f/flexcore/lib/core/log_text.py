# requirements: flexcore_base
r"""What a program printed, as lines that a log can keep: the text that a terminal would show in the end. Pure.

    escape sequences   colors, titles, links, cursor shapes … are left out; a link keeps its words
    \r, \b, cursor     what is redrawn (a progress bar, several below one another) is shown as its last state
    bytes              what is no UTF-8 becomes U+FFFD; other control characters are left out

A log is fed in chunks, cut anywhere: within a character, a sequence or a line. Time and memory are linear in what is
fed. Source of the sequences: ECMA-48 and xterm's ctlseqs.
"""

from __future__ import annotations

import codecs
import re
from collections import deque
from collections.abc import Iterator

# Rows that can be redrawn by cursor moves; a terminal's height, more or less.
MAX_ROWS = 50
# Of a line without an end so much is kept; whoever shows it shows less, after secrets were masked.
MAX_LINE_CHARACTERS = 1024 * 1024
# No progress bar is longer; a longer row is only added to, so that redrawing costs no more than its length.
MAX_REDRAWN_CHARACTERS = 4096
# An escape sequence that is still open after so much is read to its end without being kept.
MAX_SEQUENCE_CHARACTERS = 4096

_STRINGS = r"(?:\x1b[\]PX^_k]|[\x90\x98\x9d-\x9f])"
_STRING_END = r"(?:\x07|\x1b\\|\x9c)"
_CSI = r"(?:\x1b\[|\x9b)"
_TOKEN = re.compile(
    rf"""(?P<text>[^\x00-\x08\x0a-\x1f\x7f-\x9f\ud800-\udfff]+)
    |(?P<newline>[\n\x0b\x0c\x85])
    |(?P<return>\r)
    |(?P<backspaces>\x08+)
    |(?P<open>(?:{_CSI}[0-?]*[ -/]*|{_STRINGS}[^\x07\x1b\x9c\n]*\x1b?|\x1b[ -/]*)\Z)
    |{_CSI}(?P<numbers>[0-?]*)[ -/]*(?P<final>[@-~])
    |{_STRINGS}[^\x07\x1b\x9c\n]*{_STRING_END}
    |{_STRINGS}
    |\x1b[ -/]*(?P<escape>[0-~])
    |(?P<surrogate>[\ud800-\udfff])
    |[\x00-\x1f\x7f-\x9f]""",
    re.VERBOSE,
)
_SKIPPED = re.compile(rf"{_STRING_END}|(?=\n)")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def clean_log(content: str | bytes) -> str:
    """The lines of a whole log, or of its tail."""
    cleaner = LogCleaner(rows=MAX_ROWS)
    return "\n".join([*cleaner.feed(content), *cleaner.finish()])


def shorten(line: str, most: int) -> str:
    """The beginning of a line that is longer than `most`, saying what was left out. Mask secrets before."""
    return line if len(line) <= most else f"{line[:most]}… ({len(line) - most:,} characters left out)"


class LogCleaner:
    """Turns chunks of a log into lines. rows: how many lines are held back from the start since they may be redrawn;
    with 1 each line is handed on at its end, and again (once, in its last state) if it is redrawn afterwards."""

    def __init__(self, rows: int = 1) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._unread, self._skips = "", False
        self._screen = _Screen(rows)

    @property
    def open_line(self) -> str:
        """The line that has no end yet, as it is now: the state of a progress bar that goes on."""
        return self._screen.open_line

    def feed(self, chunk: str | bytes) -> list[str]:
        """The lines that are whole by now, without their ends."""
        return self._read(self._decoder.decode(chunk) if isinstance(chunk, bytes) else chunk)

    def finish(self) -> list[str]:
        """What was held back, the line without an end too."""
        lines = self._read(self._decoder.decode(b"", final=True))
        self._unread, self._skips = "", False
        return lines + self._screen.finish()

    def _read(self, text: str) -> list[str]:
        text, self._unread = self._unread + text, ""
        if self._skips:
            text = self._skip(text)
        if not _CONTROL.search(text):
            return self._screen.type(text)
        lines: list[str] = []
        for token in _TOKEN.finditer(text):
            if token["open"]:
                self._keep(token["open"])
            else:
                lines += self._screen.apply(token)
        return lines

    def _keep(self, begun: str) -> None:
        """Keeps a sequence that the next chunk goes on with; of one that is too long nothing but its end matters."""
        if len(begun) <= MAX_SEQUENCE_CHARACTERS:
            self._unread = begun
        elif not re.match(_CSI, begun):
            self._skips = True
            self._skip(begun[2:])

    def _skip(self, text: str) -> str:
        """What comes behind the end of a string that is left out: a title, a picture."""
        found = _SKIPPED.search(text)
        if found is None:
            self._unread = "\x1b" if text.endswith("\x1b") else ""
            return ""
        self._skips = False
        return text[found.end() :]


class _Row:
    """One row as pieces; `handed` is the text that was handed on already."""

    __slots__ = ("handed", "length", "lost", "pieces", "redrawn")

    def __init__(self, handed: str | None = None) -> None:
        self.pieces = [handed] if handed else []
        self.length, self.handed, self.lost, self.redrawn = len(handed or ""), handed, 0, False

    def text(self) -> str:
        if len(self.pieces) > 1:
            self.pieces = ["".join(self.pieces)]
        text = self.pieces[0] if self.pieces else ""
        if self.lost:
            return f"{text}… ({self.lost:,} characters left out)"
        return text.rstrip(" ") if self.redrawn else text

    def set(self, text: str) -> None:
        self.pieces, self.length, self.lost, self.redrawn = [], 0, 0, True
        self._append(text)

    def write(self, column: int, text: str) -> None:
        if column == self.length or self.length > MAX_REDRAWN_CHARACTERS:
            self._append(text)
        else:
            now = "".join(self.pieces)
            self.set(now[:column].ljust(column) + text + now[column + len(text) :])

    def erase(self, column: int, part: int) -> None:
        """part: 0 to the row's end, 1 from its beginning, 2 all."""
        if self.length <= MAX_REDRAWN_CHARACTERS:
            now = "".join(self.pieces)
            self.set({0: now[:column], 1: now[column:].rjust(len(now))}.get(part, ""))

    def _append(self, text: str) -> None:
        kept = text[: max(MAX_LINE_CHARACTERS - self.length, 0)]
        if kept:
            self.pieces.append(kept)
        self.length += len(kept)
        self.lost += len(text) - len(kept)


class _Screen:
    """The rows that may still be redrawn, and the cursor. A row that leaves the screen at its top is handed on."""

    def __init__(self, rows: int) -> None:
        self._least = self._height = rows
        self._rows, self._at, self._column = [_Row()], 0, 0
        # The number of the first row that is held, of all rows there were; places are kept by such numbers.
        self._top = 0
        # At a row's beginning what is written replaces it: a shorter state leaves nothing of a longer one behind.
        self._fresh = True
        self._past: deque[str] = deque(maxlen=MAX_ROWS)
        # Rows added since the cursor went up last: after some of them it does not come back.
        self._added = 0
        self._saved, self._home = (0, 0), -MAX_ROWS

    @property
    def open_line(self) -> str:
        return self._rows[self._at].text()

    def type(self, text: str) -> list[str]:
        r"""Writes a text without control characters but \n."""
        first, *more = text.split("\n")
        self._write(first)
        lines = self._new_line() if more else []
        if len(more) > 1 and len(self._rows) == self._height == 1:
            # The common case: nothing is held, nothing is redrawn.
            whole, more = more[:-1], more[-1:]
            lines += whole
            self._past.extend(whole[-MAX_ROWS:])
            self._top += len(whole)
        for number, line in enumerate(more):
            self._write(line)
            lines += self._new_line() if number < len(more) - 1 else []
        return lines

    def apply(self, token: re.Match[str]) -> list[str]:
        kind = token.lastgroup
        if kind == "text":
            self._write(token[0])
        elif kind == "newline":
            return self._new_line()
        elif kind == "return":
            self._move_to(0)
            self._fresh = True
        elif kind == "backspaces":
            self._move_to(self._column - len(token[0]))
        elif kind == "final":
            self._control(token["final"], token["numbers"])
        elif kind == "escape":
            return self._escape(token["escape"])
        elif kind == "surrogate":
            self._write("\ufffd")
        return []

    def finish(self) -> list[str]:
        rows = self._rows
        if not rows[-1].length and rows[-1].handed is None:
            rows = rows[:-1]
        self._rows, self._at = [_Row()], 0
        return [line for row in rows for line in self._hand_on(row)]

    def _write(self, text: str) -> None:
        if not text:
            return
        row = self._rows[self._at]
        if self._fresh and row.length:
            row.set("")
        row.write(self._column, text)
        self._column += len(text)
        self._fresh = False

    def _new_line(self) -> list[str]:
        self._at += 1
        self._column, self._fresh = 0, True
        if self._at < len(self._rows):
            return []
        self._rows.append(_Row())
        self._added += 1
        if self._added >= self._height:
            self._height = self._least
        leaving = self._rows[: -self._height]
        self._rows = self._rows[-self._height :]
        self._top += len(leaving)
        self._at = len(self._rows) - 1
        return [line for row in leaving for line in self._hand_on(row)]

    def _hand_on(self, row: _Row) -> Iterator[str]:
        text = row.text()
        self._past.append(text)
        if row.handed is None or (text and text != row.handed):
            yield text

    def _up(self, count: int) -> None:
        while count > self._at and self._past and len(self._rows) < MAX_ROWS:
            self._rows.insert(0, _Row(self._past.pop()))
            self._at += 1
            self._top -= 1
        self._at = max(self._at - count, 0)
        self._height = max(self._height, len(self._rows) - self._at)
        self._added, self._fresh = 0, False

    def _down(self, count: int) -> None:
        self._at = min(self._at + count, len(self._rows) - 1)
        self._fresh = False

    def _go_to(self, row: int, column: int) -> None:
        distance = row - self._top - self._at
        if distance < 0:
            self._up(-distance)
        else:
            self._down(distance)
        self._move_to(column)

    def _move_to(self, column: int) -> None:
        self._column, self._fresh = min(max(column, 0), MAX_REDRAWN_CHARACTERS), False

    def _place(self, row: int, column: int) -> None:
        self._find_home()
        row = min(row, MAX_ROWS - 1)
        while self._top + len(self._rows) <= self._home + row and len(self._rows) < MAX_ROWS:
            self._rows.append(_Row())
        self._height = max(self._height, len(self._rows))
        self._go_to(self._home + row, column)

    def _find_home(self) -> None:
        """Where a screen's top is, a log does not know: it is where it was cleared or addressed first."""
        here = self._top + self._at
        if here - self._home >= MAX_ROWS:
            self._home = here

    def _control(self, final: str, numbers: str) -> None:
        if numbers[:1] in ("?", ">", "<", "="):
            return
        given = [int(part[:6] or 0) for part in numbers.replace(":", ";").split(";")]
        count, here = given[0] or 1, self._top + self._at
        if final == "A":
            self._up(count)
        elif final == "B":
            self._down(count)
        elif final in "CD":
            self._move_to(self._column + (count if final == "C" else -count))
        elif final in "EF":
            self._go_to(here + (count if final == "E" else -count), 0)
        elif final == "G":
            self._move_to(count - 1)
        elif final in "Hf":
            self._place(count - 1, given[1] - 1 if len(given) > 1 else 0)
        elif final == "J":
            self._erase_rows(given[0])
        elif final == "K":
            self._rows[self._at].erase(self._column, given[0])
        elif final == "s":
            self._saved = here, self._column
        elif final == "u":
            self._go_to(*self._saved)

    def _escape(self, final: str) -> list[str]:
        if final in "DE":
            return self._new_line()
        if final == "M":
            self._up(1)
        elif final == "7":
            self._saved = self._top + self._at, self._column
        elif final == "8":
            self._go_to(*self._saved)
        return []

    def _erase_rows(self, part: int) -> None:
        """part: 0 what is behind the cursor, 1 what is before it, 2 all; never what was printed before a screen."""
        if part:
            self._find_home()
        screen = max(self._home - self._top, 0)
        self._rows[self._at].erase(self._column, part)
        for row in {0: self._rows[self._at + 1 :], 1: self._rows[screen : self._at]}.get(part, self._rows[screen:]):
            row.set("")
