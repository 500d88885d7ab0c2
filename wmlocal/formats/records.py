"""The records that a table's text (tables.py) stands for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

FIELD = re.compile(r"(\S+?)([!~]?):(\S+)$")


@dataclass(frozen=True, slots=True)
class Field:
    type: str
    required: bool = False
    legacy: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    fields: dict[str, Field]
    # The type of keys that no table can name.
    rest: str | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    tag: str
    records: dict[str, str]


Shapes = dict[str, Record | Choice]


@cache
def shapes(table: str) -> Shapes:
    """The records of a table's text."""
    found: Shapes = {}
    for line in re.sub(r"\n +", " ", table).strip().splitlines():
        name, *words = line.split()
        if words[0] == "=":
            found[name] = Choice(words[1].removesuffix(":"), dict(word.split(">") for word in words[2:]))
            continue
        fields = {
            match[1]: Field(match[3], match[2] == "!", match[2] == "~") for match in map(FIELD.match, words) if match
        }
        rest = fields.pop("*", None)
        found[name] = Record(fields, rest.type if rest else None)
    return found
