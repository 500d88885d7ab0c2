# requirements: flexcore_benchmark
"""The tables of the race: what columns they have, and the SQL that fills them, the same on every machine.

narrow     5 columns: a key, a reference, an amount, a time, a text
wide       24 columns of every common type, nulls, empty and quoted texts among them
lineitem   TPC-H's, from the generator of PyPI's tpchgen-cli: four decimals, three dates, a comment
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

WorkName = Literal["extract", "load", "train", "predict"]
# Of these the table is lineitem: the others hold nothing to learn.
LEARNING = ("train", "predict")
TableName = Literal["narrow", "wide", "lineitem"]
TABLES: tuple[TableName, ...] = get_args(TableName)
Kind = Literal["int", "float", "decimal", "bool", "date", "timestamp", "timestamptz", "text"]
# TPC-H, section 4.2.5: rows of lineitem at scale factor 1.
LINEITEM_ROWS_AT_ONE = 6_001_215


@dataclass(frozen=True, slots=True)
class Column:
    """kind: what a value is, whatever wrote it; scale: digits behind the point of a decimal; sql: its type, or how the
    generated tables compute it from the row's number n."""

    name: str
    kind: Kind
    type: str
    value: str = ""
    scale: int = 0


def _decimal(name: str, precision: int, scale: int, value: str = "") -> Column:
    return Column(name, "decimal", f"numeric({precision},{scale})", value, scale)


NARROW = (
    Column("id", "int", "bigint", "n"),
    Column("customer", "int", "integer", "(n * 7919 % 100003)::integer"),
    _decimal("amount", 12, 2, "(n * 104729 % 1000000000 - 500000000) / 100.0"),
    Column("created", "timestamptz", "timestamptz", "'2020-01-01 00:00:00+00'::timestamptz + n * interval '1.5 s'"),
    Column("note", "text", "text", "CASE WHEN n % 10 = 0 THEN NULL ELSE 'order ' || n || ' of the day' END"),
)

# A text per remainder: what a CSV writer quotes, what a JSON writer escapes, what is longer in bytes than in letters.
TEXTS = (
    "''",
    "'a, \"quoted\" text'",
    "'two' || chr(10) || 'lines'",
    "'naïve €uro 漢字'",
    "'back\\slash'",
    "md5(n::text)",
    "NULL",
)
WIDE = (
    Column("id", "int", "bigint", "n"),
    *(Column(f"count_{i}", "int", "integer", f"(n * {7919 + 2 * i} % 1000003)::integer") for i in range(4)),
    Column("small", "int", "smallint", "(n % 65000 - 32500)::smallint"),
    *(Column(f"ratio_{i}", "float", "double precision", f"sin(n * {i + 1}) * 1e{3 * i}") for i in range(4)),
    _decimal("price", 12, 2, "(n * 104729 % 1000000000) / 100.0"),
    _decimal("rate", 18, 6, "CASE WHEN n % 11 = 0 THEN NULL ELSE (n * 15485863 % 1000000007) / 1000000.0 END"),
    _decimal("balance", 18, 4, "(n * 32452843 % 10000000019 - 5000000000) / 10000.0"),
    Column("active", "bool", "boolean", "CASE WHEN n % 7 = 0 THEN NULL ELSE n % 3 = 0 END"),
    Column("day", "date", "date", "'1999-12-31'::date + (n % 12000)::integer"),
    Column(
        "shipped", "date", "date", "CASE WHEN n % 5 = 0 THEN NULL ELSE '2001-01-01'::date + (n % 9000)::integer END"
    ),
    Column("local_time", "timestamp", "timestamp", "'2011-03-04 05:06:07.000001'::timestamp + n * interval '37.25 s'"),
    Column("changed", "timestamptz", "timestamptz", "'2015-06-07 08:09:10.5+00'::timestamptz + n * interval '11 s'"),
    Column("code", "text", "text", "'C' || lpad((n % 5000)::text, 6, '0')"),
    Column("city", "text", "text", "(ARRAY['Köln', 'Paris', 'Kraków', 'São Paulo', 'Oslo'])[1 + n % 5]"),
    Column("hash", "text", "text", "md5((n * 31)::text)"),
    Column("remark", "text", "text", f"(ARRAY[{', '.join(TEXTS)}]::text[])[1 + n % {len(TEXTS)}]"),
    Column("path", "text", "text", "'/data/' || n % 100 || '/' || n || '.bin'"),
    Column("empty", "text", "text", "NULL::text"),
)

LINEITEM = (
    Column("l_orderkey", "int", "bigint"),
    Column("l_partkey", "int", "bigint"),
    Column("l_suppkey", "int", "bigint"),
    Column("l_linenumber", "int", "integer"),
    _decimal("l_quantity", 15, 2),
    _decimal("l_extendedprice", 15, 2),
    _decimal("l_discount", 15, 2),
    _decimal("l_tax", 15, 2),
    Column("l_returnflag", "text", "char(1)"),
    Column("l_linestatus", "text", "char(1)"),
    Column("l_shipdate", "date", "date"),
    Column("l_commitdate", "date", "date"),
    Column("l_receiptdate", "date", "date"),
    Column("l_shipinstruct", "text", "text"),
    Column("l_shipmode", "text", "text"),
    Column("l_comment", "text", "text"),
)

COLUMNS: Mapping[TableName, tuple[Column, ...]] = {"narrow": NARROW, "wide": WIDE, "lineitem": LINEITEM}
KEYS: Mapping[TableName, tuple[str, ...]] = {
    "narrow": ("id",),
    "wide": ("id",),
    "lineitem": ("l_orderkey", "l_linenumber"),
}


def list_definitions(name: TableName) -> list[tuple[str, str]]:
    """(column, SQL type) of a table, in its order."""
    return [(column.name, column.type) for column in COLUMNS[name]]


def build_rows_query(name: TableName, rows: int) -> str:
    """The SELECT that computes a generated table; `lineitem` is read from its generator instead."""
    values = ", ".join(f"{column.value} AS {column.name}" for column in COLUMNS[name])
    return f"SELECT {values} FROM generate_series(1, {int(rows)}::bigint) AS n"  # noqa: S608


def compute_scale_factor(rows: int) -> float:
    """The scale factor at which the generator writes about so many rows of lineitem."""
    return rows / LINEITEM_ROWS_AT_ONE
