# requirements: flexcore_pipeline
"""Amount of data in a PostgreSQL database: relation sizes, and rows by its own statistics.

Sizes are of table and TOAST without indexes: what a tap reads. A table that was never analyzed has no statistics; a
small one is then counted. Nothing is written, and every question is bounded in time.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from f.flexcore.lib.core import errors, redaction, tls_errors
from f.flexcore.lib.selection import analysis

CONNECT_TIMEOUT_S = 10
STATEMENT_TIMEOUT_MS = 15_000
# Read through within a second or two.
MAX_COUNTED_BYTES = 64 * 2**20
# A partition's size counts for the table that it belongs to. Source: PostgreSQL's pg_class and pg_partition_tree.
RELATIONS = """
SELECT n.nspname, c.relname, c.relkind::text,
       COALESCE((SELECT sum(pg_table_size(p.relid)) FROM pg_partition_tree(c.oid) p WHERE p.isleaf),
                pg_table_size(c.oid))::bigint,
       COALESCE((SELECT CASE WHEN min(l.reltuples) < 0 THEN -1 ELSE sum(l.reltuples) END
                 FROM pg_partition_tree(c.oid) p JOIN pg_class l ON l.oid = p.relid WHERE p.isleaf),
                c.reltuples)::bigint
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm', 'v', 'f') AND n.nspname NOT LIKE 'pg\\_%%' AND n.nspname <> 'information_schema'
ORDER BY 1, 2
"""
KINDS = {"v": "a view has no size of its own", "f": "a foreign table lies elsewhere"}
IsRead = Callable[[str, str], bool]


def measure_tables(
    database: Mapping[str, Any], tables: Sequence[str] = (), is_read: IsRead | None = None
) -> list[analysis.Part]:
    """One part for each table that is named (`orders` or `sales.orders`), else for each that `is_read` passes and that
    is neither a partition nor a view. database: the fields of Windmill's `postgresql` resource.

    Raises InvalidInput, NotFound (no such table, no such database), Forbidden or Unreachable.
    """
    with open_session(database) as connection:
        found = connection.execute(RELATIONS).fetchall()
        if tables:
            chosen = [_find_table(name, found) for name in tables]
        else:
            partitions = {tuple(row) for row in connection.execute(PARTITIONS)}
            chosen = [
                row
                for row in found
                if row[2] not in KINDS
                and (row[0], row[1]) not in partitions
                and (not is_read or is_read(row[0], row[1]))
            ]
        return [_measure_table(connection, row) for row in chosen]


PARTITIONS = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relispartition
"""


def _measure_table(connection: Any, row: Sequence[Any]) -> analysis.Part:
    schema, table, kind, size, tuples = row
    place = f"{schema}.{table}"
    if kind in KINDS:
        return analysis.Part(place=place, detail=KINDS[kind])
    if tuples >= 0:
        return analysis.Part(
            place=place,
            bytes=size,
            bytes_source="measured",
            rows=tuples,
            rows_source="estimated",
            detail="rows by the database's statistics",
        )
    rows = _count_rows(connection, schema, table) if size <= MAX_COUNTED_BYTES else None
    return analysis.Part(
        place=place,
        bytes=size,
        bytes_source="measured",
        rows=rows,
        rows_source="not measured" if rows is None else "measured",
        detail="" if rows is not None else "never analyzed: run ANALYZE for an estimate of its rows",
    )


def _count_rows(connection: Any, schema: str, table: str) -> int | None:
    """None when it may not be read, or takes too long."""
    try:
        with connection.transaction():
            count = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(schema, table))
            return int(connection.execute(count).fetchone()[0])
    except psycopg.Error:
        return None


def _find_table(name: str, found: Sequence[Sequence[Any]]) -> Sequence[Any]:
    full = [f"{row[0]}.{row[1]}" for row in found]
    matches = [row for row in found if name in (f"{row[0]}.{row[1]}", row[1])]
    if len(matches) > 1:
        preferred = [row for row in matches if row[0] == "public"]
        matches = preferred or matches
    if len(matches) != 1:
        what = "is in several schemas" if matches else "does not exist"
        close = get_close_matches(name, [*full, *(str(row[1]) for row in found)], n=1)
        hint = f"Did you mean {close[0]}?" if close and not matches else "Write it as SCHEMA.TABLE."
        raise errors.NotFound(f"Table {name} {what}", subject="data.tables", remedy=hint)
    return matches[0]


@contextmanager
def open_session(database: Mapping[str, Any]) -> Iterator[Any]:
    """A session that only reads, with every failure as a typed error that holds no secret."""
    redactor = redaction.Redactor([str(database.get("password") or "")])
    with _certificate(database) as certificate:
        try:
            with psycopg.connect(**_parameters(database), **certificate, autocommit=True) as connection:
                yield connection
        except psycopg.Error as error:
            raise _convert_error(error, redactor) from None


def _parameters(database: Mapping[str, Any]) -> dict[str, Any]:
    if not database.get("host") or not database.get("dbname"):
        raise errors.InvalidInput(
            "The postgresql resource has no host or no dbname",
            subject="postgres",
            remedy="Fill both in the resource.",
        )
    named = ("host", "port", "user", "password", "dbname", "sslmode")
    given = {name: database[name] for name in named if database.get(name) not in (None, "")}
    return given | {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "application_name": "flexcore select_runtime",
        "options": f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c default_transaction_read_only=on",
    }


@contextmanager
def _certificate(database: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    pem = str(database.get("root_certificate_pem") or "").strip()
    if not pem:
        yield {}
        return
    descriptor, name = tempfile.mkstemp(suffix=".pem")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(pem + "\n")
        yield {"sslrootcert": name}
    finally:
        Path(name).unlink(missing_ok=True)


def _convert_error(error: psycopg.Error, redactor: redaction.Redactor) -> errors.FlexcoreError:
    message = redactor.text(" ".join(str(error).split()))[:300]
    state = error.sqlstate or ""
    if state.startswith("28") or "authentication failed" in message or "no pg_hba.conf entry" in message:
        return errors.Forbidden(
            f"The database refuses the user: {message}", subject="postgres", remedy="Check its password."
        )
    if state == "42501":
        return errors.Forbidden(
            f"The database refuses: {message}", subject="postgres", remedy="Grant the right to the user."
        )
    if state == "3D000" or ("database" in message and "does not exist" in message):
        return errors.NotFound(f"The database refuses: {message}", subject="postgres.dbname", remedy="Correct dbname.")
    certificates = tls_errors.tls_remedy(message, field="postgres.root_certificate_pem")
    return errors.Unreachable(
        f"The database cannot be queried: {message}",
        subject="postgres",
        remedy=certificates or "Check host, port and sslmode.",
    )
