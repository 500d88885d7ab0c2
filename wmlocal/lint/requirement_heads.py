"""What a Python script asks for in its head: named requirement sets, or lines of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass

HEAD = re.compile(r"^#\s*(extra_|extra-)?requirements:(.*)$")


@dataclass(frozen=True, slots=True)
class Head:
    """What a Python script asks for in its head: `names` of sets, or `lines` of its own, from line `line`."""

    line: int
    names: tuple[str, ...]
    lines: tuple[tuple[int, str], ...]
    extra: bool


def read_head(code: str) -> Head | None:
    rows = code.split("\n")
    for number, row in enumerate(rows, 1):
        match = HEAD.match(row)
        if not match:
            continue
        names = tuple(word.strip() for word in match[2].split(",") if word.strip())
        lines = []
        for below, text in enumerate(rows[number:], number + 1):
            found = re.match(r"^#\s?(\S+)\s*$", text)
            if not found:
                break
            if not found[1].startswith("py"):
                lines.append((below, found[1]))
        return Head(number, names, tuple(lines), bool(match[1]))
    return None


def is_lock_inferred(code: str) -> bool:
    """Whether a server makes the script's lock from its imports, and so must see each of them."""
    head = read_head(code)
    return head is None or head.extra
