# requirements: flexcore_base
"""The parts in which a table is read side by side: ranges of its blocks, or of a column's values. Shipped as source.

    table, materialized view          ranges of blocks (ctid), which need no index, no statistics and no sort
    partitioned table, parent         the same of each table that holds rows
    view, foreign table, a wish       ranges between quantiles of a column, measured at the snapshot; nulls are a part
    view without such a column        one part

Every row is in exactly one part: the ranges touch, the last one has no end, and rows that are null are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from f.flexcore.lib.ray.remote import postgres, shared_storage, table_catalog

BLOCK_BYTES = 8192
# Of a table's blocks: as a Parquet file this is some 20 to 60 MB, and a few seconds' work to repeat.
PART_BYTES = 64 << 20
LEAST_PART_BYTES = 4 << 20
MAX_PARTS = 512
# A value that fills more than this much of a part more than its share is worth a word.
SKEW_FACTOR = 3


@dataclass(frozen=True)
class Part:
    """A condition on `source` (a table's quoted name, or ONLY one). weight: its share of the work, for progress."""

    number: int
    source: str
    condition: str
    weight: float
    label: str = ""


@dataclass(frozen=True)
class Parts:
    items: tuple[Part, ...]
    notes: tuple[str, ...]
    by: str


def plan_parts(
    table: table_catalog.Table, ask: table_catalog.Ask, column: str, wanted: int, workers: int, restriction: str = ""
) -> Parts:
    """The parts of a table. column: to part by, "" for the blocks; wanted: their number, 0 for one that fits the size;
    restriction: a condition on all of them. Raises Problem for a column that cannot part it."""
    if column:
        return by_values(table, ask, column, wanted or max(workers * 2, count_parts(table.bytes, workers)), restriction)
    unreadable = [leaf for leaf in table.leaves if not leaf.is_readable]
    foreign = [leaf for leaf in table.leaves if leaf.kind == table_catalog.FOREIGN]
    if not table.leaves or unreadable or foreign:
        return whole_table(table, unreadable, foreign, restriction)
    return by_blocks(table, wanted, workers, restriction)


def whole_table(
    table: table_catalog.Table,
    unreadable: Sequence[table_catalog.Leaf],
    foreign: Sequence[table_catalog.Leaf],
    restriction: str,
) -> Parts:
    kind = table_catalog.KIND_NAMES[table.kind]
    reason = f"a {kind} has no blocks of its own"
    if unreadable:
        reason = f"the user may not read {unreadable[0].schema}.{unreadable[0].name} itself"
    elif foreign:
        reason = f"{foreign[0].schema}.{foreign[0].name} is a foreign table"
    note = f"{table.label} is read in one part, since {reason}: name a partition_column to read it side by side"
    return Parts((Part(0, table.quoted, restriction, 1.0, table.label),), (note,), "whole")


def count_parts(size: int, workers: int) -> int:
    """As many that each is of PART_BYTES at most, and one for each worker as soon as that is worth it."""
    by_size = -(-size // PART_BYTES)
    by_workers = min(workers, size // LEAST_PART_BYTES)
    return max(1, min(MAX_PARTS, max(by_size, by_workers)))


def by_blocks(table: table_catalog.Table, wanted: int, workers: int, restriction: str) -> Parts:
    total = max(1, sum(leaf.bytes for leaf in table.leaves))
    count = min(wanted or count_parts(total, workers), MAX_PARTS)
    items: list[Part] = []
    for leaf in table.leaves:
        blocks = leaf.blocks_bytes // BLOCK_BYTES
        share = max(1, min(round(count * leaf.bytes / total), blocks or 1))
        source = f"ONLY {postgres.quote_name(leaf.schema, leaf.name)}"
        bounds = [blocks * number // share for number in range(share)]
        for start, end in zip(bounds, [*bounds[1:], None], strict=True):
            # The last range is open: what was added since the size was asked for belongs to it, if to anything.
            conditions = [f"ctid >= '({start},0)'::tid"] if start else []
            conditions += [f"ctid < '({end},0)'::tid"] if end is not None else []
            condition = " AND ".join([*conditions, *([f"({restriction})"] if restriction else [])])
            items.append(Part(len(items), source, condition, leaf.bytes / total / share, f"{leaf.schema}.{leaf.name}"))
    return Parts(tuple(items), (), "blocks")


def by_values(table: table_catalog.Table, ask: table_catalog.Ask, name: str, wanted: int, restriction: str) -> Parts:
    column = next((item for item in table.columns if item.name == name), None)
    if column is None:
        known = [item.name for item in table.columns]
        raise shared_storage.Problem(
            "InvalidInput",
            f"partition_column: {table.label} has no column {name}{table_catalog.suggest(name, known)}",
            "partition_column",
            f"Choose among {', '.join(known[:20])}.",
        )
    key, where = postgres.quote_name(name), f" WHERE {restriction}" if restriction else ""
    count = max(1, min(wanted, MAX_PARTS))
    fractions = ",".join(str(number / count) for number in range(1, count)) or "0.5"
    try:
        ((bounds, rows, nulls),) = ask(
            f"SELECT array_to_json(percentile_disc(ARRAY[{fractions}]::float8[]) WITHIN GROUP (ORDER BY {key})::text[])"
            f"::text, count(*), count(*) FILTER (WHERE {key} IS NULL) FROM {table.quoted}{where}"
        )
    except shared_storage.Problem as problem:
        raise partition_problem(problem, table, column) from None
    values = list(dict.fromkeys(item for item in read_array(bounds) if item is not None)) if count > 1 else []
    notes = []
    if nulls:
        notes.append(f"{name} is null in {nulls} of {rows} rows of {table.label}; they are a part of their own")
    if values and len(values) < (count - 1) / SKEW_FACTOR:
        notes.append(
            f"{name} is skewed: its values make {len(values) + 1} parts instead of {count}, since some of them fill "
            "several; choose a column with more values, or leave partition_column empty"
        )
    literals = [f"{postgres.quote_text(value)}::{column.declared_base}" for value in values]
    edges = list(zip([None, *literals], [*literals, None], strict=True))
    share = (rows - nulls) / max(1, rows) / len(edges)
    items = []
    for start, end in edges:
        conditions = [f"{key} >= {start}"] if start else []
        conditions += [f"{key} < {end}"] if end else []
        items.append((" AND ".join(conditions or [f"{key} IS NOT NULL"]), share))
    if nulls or not column.is_required:
        items.append((f"{key} IS NULL", nulls / max(1, rows)))
    parts = [
        Part(
            number, table.quoted, f"{condition} AND ({restriction})" if restriction else condition, weight, table.label
        )
        for number, (condition, weight) in enumerate(items)
    ]
    return Parts(tuple(parts), tuple(notes), name)


def read_array(text: Any) -> list[Any]:
    import json

    return list(json.loads(text)) if text else []


def partition_problem(
    problem: shared_storage.Problem, table: table_catalog.Table, column: table_catalog.Column
) -> shared_storage.Problem:
    """A type without an order cannot part a table; what else went wrong stays what it is."""
    if problem.flexcore["details"].get("sqlstate") != "42883":
        return problem
    return shared_storage.Problem(
        "InvalidInput",
        f"partition_column: {column.name} of {table.label} is of type {column.pg_type}, which has no order",
        "partition_column",
        "Choose a number, a date or a text.",
    )
