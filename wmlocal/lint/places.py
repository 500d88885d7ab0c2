"""From an offset in a scalar's value to its line and column in the file."""

from __future__ import annotations

from collections.abc import Sequence

from wmlocal.lint.positions import Item


def place_in(item: Item, offset: int, lines: Sequence[str]) -> tuple[int, int]:
    """Line and column, from 1, of the character at `offset` of a text value; `lines` are the file's.

    Exact for one-line scalars and `|` blocks. A folded or quoted text of many lines is searched for the word there,
    since its line ends are not those of the file; where it cannot be found, the value's first line is the answer.
    """
    text = item.value
    before = text[:offset]
    if item.style == "|":
        row = before.count("\n")
        line = item.line + 1 + row
        content = before.rpartition("\n")[2]
        indent = _indent(lines, item, text)
        return line, indent + len(content) + 1
    if item.style != ">" and item.end_line == item.line:
        extra = 1 if item.style in ("'", '"') else 0
        return item.line, item.column + extra + offset
    return _search(item, text, offset, lines)


def _indent(lines: Sequence[str], item: Item, text: str) -> int:
    for number, line in enumerate(text.split("\n")):
        index = item.line + number
        if line.strip() and index < len(lines):
            return max(len(lines[index]) - len(line), 0)
    return 0


def _search(item: Item, text: str, offset: int, lines: Sequence[str]) -> tuple[int, int]:
    word = text[offset:].split("\n")[0].split(" ")[0]
    nth = text[:offset].count(word) if word else 0
    for number in range(item.line - 1, min(item.end_line, len(lines))):
        line = lines[number]
        start = item.column - 1 if number == item.line - 1 else 0
        while word and (found := line.find(word, start)) >= 0:
            if nth == 0:
                return number + 1, found + 1
            nth, start = nth - 1, found + len(word)
    return item.line, item.column
