"""Every place of a document, and the document with another value at one: for tests with values that belong nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield way
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(item, (*way, key))


def put(document: Any, way: tuple[Any, ...], value: Any) -> Any:
    if not way:
        return value
    below = put(document[way[0]], way[1:], value)
    if isinstance(document, dict):
        return document | {way[0]: below}
    return [below if number == way[0] else item for number, item in enumerate(document)]
