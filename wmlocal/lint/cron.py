"""Cron expressions and time zones as Windmill reads them: six or seven fields, seconds first."""

from __future__ import annotations

import re
from functools import cache
from zoneinfo import available_timezones

MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
MONTHS = {name: number for number, name in enumerate(MONTH_NAMES, 1)}
DAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
# Name, smallest, largest, words. Sunday is 1 in version 1 of Windmill's parser and 0 or 7 in version 2.
FIELDS = [
    ("second", 0, 59, {}),
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day", 1, 31, {}),
    ("month", 1, 12, MONTHS),
    ("weekday", 0, 7, DAYS),
    ("year", 1970, 2199, {}),
]
# What version 2 takes besides: the last day, the nearest weekday, the second Friday.
MORE = re.compile(r"^(?:L(?:-\d+)?|LW|\d+W|[0-7a-z]+(?:#[1-5]|L)|\?)$", re.IGNORECASE)


def cron_problem(text: str) -> str | None:
    """What is wrong with the expression, None when nothing is."""
    words = text.split()
    if text.strip().startswith("@"):
        return (
            None
            if text.strip() in ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@hourly")
            else (f"{text!r} is not a word that Windmill knows")
        )
    if len(words) == 5:
        return f"{text!r} has five fields, and Windmill wants the seconds first: write '0 {text.strip()}'"
    if len(words) not in (6, 7):
        return f"{text!r} has {len(words)} fields, and must have six: second minute hour day month weekday"
    for word, (name, low, high, names) in zip(words, FIELDS, strict=False):
        for part in word.split(","):
            problem = _part_problem(part, low, high, names)
            if problem:
                return f"the {name} {part!r} {problem}"
    return None


def _part_problem(part: str, low: int, high: int, names: dict[str, int]) -> str | None:
    span, slash, step = part.partition("/")
    if slash and (not step.isdigit() or int(step) == 0):
        return "has a step that is not a number above 0"
    if span == "*" or MORE.match(span):
        return None
    first, dash, last = span.partition("-")
    values = [_number(word, names) for word in ([first, last] if dash else [first])]
    if None in values:
        return "is not a number" + (f", nor one of {', '.join(names)}" if names else "")
    numbers = [value for value in values if value is not None]
    if any(not low <= number <= high for number in numbers):
        return f"is not within {low} and {high}"
    return "ends before it begins" if dash and numbers[0] > numbers[1] and not names else None


def _number(word: str, names: dict[str, int]) -> int | None:
    return int(word) if word.isdigit() else names.get(word.lower()[:3] if len(word) > 3 else word.lower())


@cache
def timezones() -> frozenset[str]:
    return frozenset(available_timezones())
