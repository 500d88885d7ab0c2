"""Checks a file against a table of known keys (tables.py): unknown keys, wrong types, missing keys, at their lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from wmlocal.formats.misplaced import find_record, where_it_belongs
from wmlocal.formats.records import Choice, Record, Shapes, shapes
from wmlocal.lint.positions import Item
from wmlocal.suggest import suggest

Report = Callable[[Item, str, str, bool], None]

SCALARS = {"str": "text", "int": "a whole number", "num": "a number", "bool": "true or false"}


@dataclass(frozen=True, slots=True)
class Problem:
    line: int
    column: int
    rule: str
    message: str


def problems(item: Item, kind: str, table: str) -> Iterator[Problem]:
    """What is wrong in `item`, a document of `kind`."""
    yield from _check_type(item, kind, shapes(table), kind.lower())


def _check_type(item: Item, kind: str, known: Shapes, where: str) -> Iterator[Problem]:
    if kind.endswith("?"):
        if item.value is None:
            return
        kind = kind[:-1]
    if kind == "any":
        return
    if kind.startswith("'"):
        yield from _word(item, kind.strip("'").split("|"), where)
    elif kind.startswith("["):
        yield from _each(item, kind[1:-1], known, where, list, "a list")
    elif kind.startswith("{"):
        yield from _each(item, kind[1:-1], known, where, dict, "a mapping")
    elif kind in SCALARS:
        if not _is(item.value, kind):
            yield _wrong(item, where, SCALARS[kind])
    elif kind in SPECIAL:
        if not SPECIAL[kind](item):
            yield _wrong(item, where, "text or a list of texts")
    elif not isinstance(item.value, dict):
        # A bare number is what older files have for a sleep or a time-out; the server takes it.
        if not (kind == "NumberTransform" and _is(item.value, "num")):
            yield _wrong(item, where, "a mapping")
    else:
        shape = known[kind]
        yield from (
            _check_choice(item, shape, known, where)
            if isinstance(shape, Choice)
            else _record(item, kind, shape, known, where)
        )


def _word(item: Item, words: list[str], where: str) -> Iterator[Problem]:
    if not isinstance(item.value, str) or item.value not in words:
        yield Problem(
            item.line,
            item.column,
            "wrong-value",
            f"{where} is {show_value(item.value)}, and must be one of {', '.join(words)}"
            + suggest(str(item.value), words),
        )


def _each(item: Item, kind: str, known: Shapes, where: str, container: type, name: str) -> Iterator[Problem]:
    if not isinstance(item.value, container):
        yield _wrong(item, where, name)
        return
    if isinstance(item.value, dict):
        for key, child in item.value.items():
            yield from _check_type(child, kind, known, f"{where}.{key}")
    elif isinstance(item.value, list):
        for number, child in enumerate(item.value):
            yield from _check_type(child, kind, known, f"{where}[{number}]")


def _check_choice(item: Item, choice: Choice, known: Shapes, where: str) -> Iterator[Problem]:
    tag = item.get(choice.tag)
    if tag is None:
        yield Problem(
            item.line,
            item.column,
            "missing-key",
            f"{where} has no {choice.tag}; write one of {', '.join(choice.records)}",
        )
        return
    name = choice.records.get(tag.value, "") if isinstance(tag.value, str) else ""
    record = known.get(name)
    if isinstance(record, Choice):
        yield from _check_choice(item, record, known, where)
    elif record is not None:
        yield from _record(item, name, record, known, where)
    else:
        yield from _word(tag, list(choice.records), f"{where}.{choice.tag}")


def _record(item: Item, name: str, record: Record, known: Shapes, where: str) -> Iterator[Problem]:
    own, of = "", ""
    if name == "FlowModule":
        own = find_record("ModuleValue", item.text("value", "type") or "")
        where = f"step {item.text('id')}" if item.text("id") else where
        of = f" of {where}"
    for key, child in item.value.items():
        field = record.fields.get(key)
        if field is not None:
            yield from _check_type(child, field.type, known, f"{key}{of}")
        elif record.rest is not None:
            yield from _check_type(child, record.rest, known, key)
        else:
            names = [word for word, field in record.fields.items() if not field.legacy]
            yield Problem(
                child.key_line,
                child.key_column,
                "unknown-key",
                f"{where} has no key {show_value(key)}; Windmill ignores it" + where_it_belongs(name, key, names, own),
            )
    for key, field in record.fields.items():
        if field.required and key not in item.value:
            yield Problem(item.line, item.column, "missing-key", f"{where} lacks {key}; {_how_to_add(item, name, key)}")


def _how_to_add(item: Item, record: str, key: str) -> str:
    stray = [word for word in ("modules", "failure_module", "preprocessor_module") if word in item.value]
    if (record, key) == ("Flow", "value") and stray:
        return f"a flow without a `value` mapping has no steps: put {' and '.join(stray)} below `value:`"
    return "add it"


def _is(value: object, kind: str) -> bool:
    match kind:
        case "str":
            return isinstance(value, str)
        case "bool":
            return isinstance(value, bool)
        case "int":
            return (isinstance(value, int) and not isinstance(value, bool)) or (
                isinstance(value, float) and value.is_integer()
            )
        case _:
            return isinstance(value, int | float) and not isinstance(value, bool)


def _texts(item: Item) -> bool:
    return isinstance(item.value, str) or (
        isinstance(item.value, list) and all(isinstance(child.value, str) for child in item.value)
    )


# `includes: f/**` is as good as a list, and old locks are lists of lines.
SPECIAL = {"Globs": _texts, "Lock": _texts}


def _wrong(item: Item, where: str, wanted: str) -> Problem:
    return Problem(item.line, item.column, "wrong-type", f"{where} is {kind_of(item.value)}, and must be {wanted}")


def kind_of(value: object) -> str:
    match value:
        case None:
            return "empty"
        case bool():
            return f"{str(value).lower()} (a boolean)"
        case int() | float():
            return f"{value} (a number)"
        case str():
            return f"{show_value(value)} (text)"
        case list():
            return "a list"
    return "a mapping"


def show_value(value: object) -> str:
    text = value if isinstance(value, str) else str(value)
    return repr(text if len(text) <= 40 else text[:37] + "…")
