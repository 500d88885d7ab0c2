# requirements: flexcore_base
"""What a database says of a table: what kind it is, how large, its columns and what it consists of. Shipped as source.

Only catalogs are read, and nothing of a table's content. `ask` answers a query with its rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from f.flexcore.lib.ray.remote import postgres, shared_storage

Ask = Callable[[str], list[tuple[Any, ...]]]
TABLE, PARTITIONED, VIEW, MATERIALIZED_VIEW, FOREIGN = "r", "p", "v", "m", "f"
KIND_NAMES = {
    TABLE: "table",
    PARTITIONED: "partitioned table",
    VIEW: "view",
    MATERIALIZED_VIEW: "materialized view",
    FOREIGN: "foreign table",
}
# hash_record_extended came with PostgreSQL 14, and with it scans of a range of a table's blocks.
LEAST_VERSION = 140000
MAX_SUGGESTED = 3
RELATIONS = """
SELECT n.nspname::text, c.relname::text, c.relkind::text, c.oid::int8
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
"""
# Domains are followed to what they are made of; typmod is the innermost that says something.
COLUMNS = """
WITH RECURSIVE domains AS (
  SELECT a.attnum, a.atttypid AS type, a.atttypmod AS typmod FROM pg_attribute a
  WHERE a.attrelid = {oid} AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
  SELECT d.attnum, t.typbasetype, CASE WHEN t.typtypmod = -1 THEN d.typmod ELSE t.typtypmod END
  FROM domains d JOIN pg_type t ON t.oid = d.type WHERE t.typtype = 'd'
)
SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), t.typname::text, t.typtype::text,
       COALESCE(e.typname::text, ''), d.typmod::int8, a.attnotnull, format_type(t.oid, d.typmod),
       a.attgenerated::text || a.attidentity::text
FROM pg_attribute a
JOIN domains d ON d.attnum = a.attnum
JOIN pg_type t ON t.oid = d.type AND t.typtype <> 'd'
LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
WHERE a.attrelid = {oid} ORDER BY a.attnum
"""
# The tables that a partitioned table or a parent holds its rows in.
LEAVES = """
WITH RECURSIVE tree AS (
  SELECT c.oid, c.relkind FROM pg_class c WHERE c.oid = {oid}
  UNION ALL
  SELECT c.oid, c.relkind FROM tree JOIN pg_inherits i ON i.inhparent = tree.oid JOIN pg_class c ON c.oid = i.inhrelid
)
SELECT n.nspname::text, c.relname::text, c.relkind::text, pg_relation_size(c.oid)::int8, pg_table_size(c.oid)::int8,
       has_table_privilege(c.oid, 'SELECT'), c.reltuples::float8
FROM tree JOIN pg_class c ON c.oid = tree.oid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE tree.relkind <> 'p' ORDER BY c.oid
"""


@dataclass(frozen=True)
class Column:
    """pg_type: as it is declared; base: the name of the type that it is made of; element: of an array's elements;
    kind: PostgreSQL's typtype (b, c, e, r, m); typmod: -1 for none; declared_base: the base type with its modifiers;
    origin: "s" generated, "a" or "d" identity, "" else."""

    name: str
    pg_type: str
    base: str
    kind: str
    element: str
    typmod: int
    is_required: bool
    declared_base: str
    origin: str = ""


@dataclass(frozen=True)
class Leaf:
    """A table with rows of its own. blocks_bytes: without what is stored out of line; rows: by the statistics, negative
    when there are none."""

    schema: str
    name: str
    kind: str
    blocks_bytes: int
    bytes: int
    is_readable: bool
    rows: float


@dataclass(frozen=True)
class Table:
    schema: str
    name: str
    kind: str
    oid: int
    columns: tuple[Column, ...]
    leaves: tuple[Leaf, ...]

    @property
    def label(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def quoted(self) -> str:
        return postgres.quote_name(self.schema, self.name)

    @property
    def bytes(self) -> int:
        return sum(leaf.bytes for leaf in self.leaves)

    @property
    def signature(self) -> list[list[Any]]:
        """What must stay as it is for parts of two attempts to fit together."""
        return [[column.name, column.pg_type] for column in self.columns]


def describe_table(ask: Ask, name: str) -> Table:
    """Raises Problem (NotFound with near names) for a table that does not exist or is none."""
    schema, table, kind, oid = find_relation(ask, name)
    columns = tuple(Column(*row) for row in ask(COLUMNS.format(oid=oid)))
    if not columns:
        raise shared_storage.Problem(
            "InvalidInput", f"{schema}.{table} has no columns", "table", "Name a table that has some."
        )
    leaves = tuple(Leaf(*row) for row in ask(LEAVES.format(oid=oid)))
    return Table(schema, table, kind, oid, columns, leaves if kind in (TABLE, PARTITIONED, MATERIALIZED_VIEW) else ())


def find_relation(ask: Ask, name: str) -> tuple[str, str, str, int]:
    """(schema, table, kind, oid). A name without a schema is that of `public`, or of the only schema that has it."""
    found = [(str(row[0]), str(row[1]), str(row[2]), int(row[3])) for row in ask(RELATIONS)]
    matches = [row for row in found if name in (f"{row[0]}.{row[1]}", row[1])]
    if len(matches) > 1:
        matches = [row for row in matches if row[0] == "public"] or matches
    if len(matches) == 1:
        return matches[0]
    if matches:
        schemas = ", ".join(sorted(row[0] for row in matches))
        raise shared_storage.Problem(
            "InvalidInput", f"table: {name} is in several schemas: {schemas}", "table", "Write it as SCHEMA.TABLE."
        )
    raise shared_storage.Problem(
        "NotFound",
        f"table: {name} does not exist{suggest(name, [f'{row[0]}.{row[1]}' for row in found])}",
        "table",
        "Correct the name, or grant the user the right to see its schema.",
    )


def exists(ask: Ask, name: str) -> bool:
    try:
        find_relation(ask, name)
    except shared_storage.Problem as problem:
        if problem.flexcore["type"] == "NotFound":
            return False
        raise
    return True


def split_name(name: str) -> tuple[str, str]:
    """(schema, table) of a table that may not exist yet."""
    schema, _, table = name.rpartition(".")
    return schema or "public", table


def suggest(name: str, known: list[str]) -> str:
    """ "; did you mean …?" with the nearest names, by the table's own or with its schema."""
    short = {item.rpartition(".")[2]: item for item in reversed(known)}
    near = [short[item] for item in get_close_matches(name.rpartition(".")[2], list(short), MAX_SUGGESTED)]
    near += [item for item in get_close_matches(name, known, MAX_SUGGESTED) if item not in near]
    return f"; did you mean {' or '.join(near[:MAX_SUGGESTED])}?" if near else ""


def check_server(ask: Ask) -> dict[str, Any]:
    """{version, encoding, is_standby}. Raises Problem for a server that is too old."""
    ((version, encoding, standby),) = ask(
        "SELECT current_setting('server_version_num')::int8, current_setting('server_encoding'), pg_is_in_recovery()"
    )
    if version < LEAST_VERSION:
        raise shared_storage.Problem(
            "InvalidInput",
            f"database: the server is PostgreSQL {version // 10000}, and copying needs 14 or later",
            "database",
            "Upgrade it, or extract the table by Meltano.",
        )
    return {"version": version, "encoding": encoding, "is_standby": standby}
