"""Whether a schedule's cron expression names a second, as Windmill reads it: seconds first, day and weekday both.

What Windmill's second parser knows besides (the last day, the nearest weekday, the second Friday) is refused here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from f.flexcore.lib.core.errors import InvalidInput
from wmlocal.lint.cron import FIELDS, cron_problem

WORDS = {
    "@yearly": "0 0 0 1 1 *",
    "@annually": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
}
WEEKDAY = 5


@dataclass(frozen=True, slots=True)
class CronTimes:
    """The values of each field: second, minute, hour, day, month, weekday (Sunday is 0), year."""

    fields: tuple[frozenset[int], ...]

    def names(self, at: datetime) -> bool:
        values = (at.second, at.minute, at.hour, at.day, at.month, at.isoweekday() % 7, at.year)
        return all(value in allowed for value, allowed in zip(values, self.fields, strict=True))


def parse_cron(text: str, version: str = "v2") -> CronTimes:
    """version: v1 counts weekdays from Sunday as 1. Raises InvalidInput."""
    if problem := cron_problem(text):
        raise InvalidInput(f"schedule: {problem}", subject="schedule")
    words = WORDS.get(text.strip(), text).split()
    words += ["*"] * (len(FIELDS) - len(words))
    fields = []
    for number, (word, (name, low, high, names)) in enumerate(zip(words, FIELDS, strict=True)):
        values = {value for part in word.split(",") for value in _values(part, name, low, high, dict(names))}
        if number == WEEKDAY:
            values = _weekdays(word, values, version)
        fields.append(frozenset(values))
    return CronTimes(tuple(fields))


def _weekdays(word: str, values: set[int], version: str) -> set[int]:
    is_named = any(letter.isalpha() for letter in word) or word.startswith("*")
    offset = 1 if version == "v1" and not is_named else 0
    return {(value - offset) % 7 for value in values}


def _values(part: str, name: str, low: int, high: int, names: dict[str, int]) -> Iterator[int]:
    span, slash, step = part.partition("/")
    first, dash, last = span.partition("-")
    if span in ("*", "?"):
        begin, end = low, high
    else:
        begin = _number(first, name, names)
        end = _number(last, name, names) if dash else high if slash else begin
    if end < begin:
        # Friday to Monday.
        yield from range(begin, high + 1)
        begin = low
    yield from range(begin, end + 1, int(step) if slash else 1)


def _number(word: str, name: str, names: dict[str, int]) -> int:
    if word.isdigit():
        return int(word)
    if word.lower()[:3] in names and word.isalpha() and len(word) >= 3:
        return names[word.lower()[:3]]
    raise InvalidInput(
        f"schedule: the {name} {word!r} works on Windmill, but not with `flexcore up`",
        subject="schedule",
        remedy="Deploy it to a Windmill, or write it with numbers.",
    )
