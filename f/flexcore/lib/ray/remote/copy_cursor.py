# requirements: flexcore_base
"""Which rows an incremental copy reads, and how far it has come then. Shipped as source.

    read = rows from (last cursor - overlap) on, the last value itself among them; and every row without a comparable
           cursor: null, NaN, infinite
    next = the largest finite cursor at the snapshot; it never moves back

Rows with the last value are read again, so that a row that came later with the same value is not lost; so are those
of the overlap, for rows that were committed late. Whoever keeps the rows merges them by key.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from f.flexcore.lib.ray.remote import postgres, shared_storage, table_catalog

Json = dict[str, Any]
NUMBERS = ("int2", "int4", "int8", "numeric", "float4", "float8", "oid")
TIMES = ("timestamp", "timestamptz", "date")
TEXTS = ("text", "varchar", "bpchar")
DAY_S = 86_400


@dataclass(frozen=True)
class Cursor:
    """restriction: the condition on the rows, "" for all. state: {column, type, value, rows, generation}, what to
    remember once the copy is published; {} without a cursor."""

    restriction: str
    state: Json
    notes: tuple[str, ...] = ()


def plan_cursor(ask: table_catalog.Ask, table: table_catalog.Table, parameters: Json) -> Cursor:
    """parameters: cursor_column, overlap, since (the value of the last copy, None at the first), generation (of the
    state that it is from). Raises Problem."""
    name = parameters["cursor_column"]
    if not name:
        return Cursor("", {})
    column = find_cursor(table, name)
    key, since = postgres.quote_name(name), parameters["since"]
    comparable = comparable_condition(column, key)
    ((last, rows, loose),) = ask(
        f"SELECT (max({key}) FILTER (WHERE {comparable}))::text, count(*), count(*) FILTER (WHERE NOT ({comparable})) "
        f"FROM {table.quoted}"
    )
    notes = []
    if loose:
        notes.append(
            f"{name} is null or infinite in {loose} of {rows} rows of {table.label}: no cursor can order them, so they "
            "are copied every time"
        )
    restriction = ""
    if since is not None:
        bound = lower_bound(column, since, float(parameters["overlap"]))
        restriction = f"{key} >= {bound} OR NOT ({comparable})"
        newer = ask(f"SELECT {postgres.quote_text(since)}::{column.declared_base} > {literal(last, column)}")[0][0]
        if last is None or newer:
            notes.append(f"{name} has gone back: the last copy came to {since}, the table now ends at {last}")
            last = since
        notes.append(
            f"Rows that were deleted from {table.label} since the last copy are not seen by a cursor; it has {rows} "
            "rows now"
        )
    state = {
        "column": name,
        "type": column.pg_type,
        "value": last,
        "rows": rows,
        "generation": parameters["generation"],
    }
    return Cursor(restriction, state, tuple(notes))


def find_cursor(table: table_catalog.Table, name: str) -> table_catalog.Column:
    known = [item.name for item in table.columns]
    column = next((item for item in table.columns if item.name == name), None)
    if column is None:
        raise shared_storage.Problem(
            "InvalidInput",
            f"cursor_column: {table.label} has no column {name}{table_catalog.suggest(name, known)}",
            "cursor_column",
            f"Choose among {', '.join(known[:20])}.",
        )
    if column.base not in (*NUMBERS, *TIMES, *TEXTS):
        raise shared_storage.Problem(
            "InvalidInput",
            f"cursor_column: {name} of {table.label} is of type {column.pg_type}, whose values do not grow",
            "cursor_column",
            "Choose a number, a date or a point in time that grows with every change of a row.",
        )
    return column


def comparable_condition(column: table_catalog.Column, key: str) -> str:
    if column.base in ("float4", "float8", "numeric"):
        return f"{key} IS NOT NULL AND {key} NOT IN ('NaN', 'Infinity', '-Infinity')"
    if column.base in TIMES:
        return f"{key} IS NOT NULL AND isfinite({key})"
    return f"{key} IS NOT NULL"


def literal(value: str | None, column: table_catalog.Column) -> str:
    return f"{'NULL' if value is None else postgres.quote_text(value)}::{column.declared_base}"


def lower_bound(column: table_catalog.Column, since: str, overlap: float) -> str:
    """overlap: seconds of a point in time, days in seconds of a date, else in the number's own unit."""
    value = literal(since, column)
    if not overlap:
        return value
    if column.base in TEXTS:
        raise shared_storage.Problem(
            "InvalidInput",
            f"overlap: {column.name} is of type {column.pg_type}, from which nothing can be taken away",
            "overlap",
            "Leave overlap at 0, or choose a cursor that is a number or a point in time.",
        )
    if column.base == "date":
        return f"({value} - {math.ceil(overlap / DAY_S)})"
    if column.base in TIMES:
        return f"({value} - make_interval(secs => {overlap!r}))"
    return f"({value} - {overlap!r}::numeric)" if column.base == "numeric" else f"({value}::float8 - {overlap!r})"
