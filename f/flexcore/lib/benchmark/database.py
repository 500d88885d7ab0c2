# requirements: flexcore_benchmark
"""The race's own schemas in a PostgreSQL database: made, filled, fingerprinted, removed.

    flexcore_benchmark_<race>          the source tables
    flexcore_benchmark_<race>_loaded   what the loads write

<race> is made of the flow's id, which the schema's comment holds whole: so that a later race can see whose it was.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql

from f.flexcore.lib.benchmark import legs, tables
from f.flexcore.lib.core import errors, redaction

CONNECT_TIMEOUT_S = 10
COPY_BLOCK = 1 << 20
GENERATOR_TIMEOUT_S = 600
Database = Mapping[str, Any]


@contextmanager
def open_session(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """An autocommit session in UTC, its failures as typed errors that hold no secret."""
    if not database.get("host") or not database.get("dbname"):
        raise errors.InvalidInput(
            "database has no host or no dbname", subject="database", remedy="Fill both in the postgresql resource."
        )
    redactor = redaction.Redactor([str(database.get("password") or "")])
    try:
        with psycopg.connect(build_uri(database), autocommit=True, connect_timeout=CONNECT_TIMEOUT_S) as connection:
            connection.execute("SET timezone = 'UTC'")
            yield connection
    except psycopg.Error as error:
        raise errors.Unavailable(
            f"The database refuses: {redactor.text(' '.join(str(error).split()))[:300]}",
            subject="database",
            remedy="Check the resource, and that its user may create schemas.",
        ) from None


def build_uri(database: Database) -> str:
    """libpq's connection string of a `postgresql` resource: a secret."""
    named = ("user", "password")
    user, password = (quote(str(database.get(name) or ""), safe="") for name in named)
    place = f"{database['host']}:{database.get('port') or 5432}/{quote(str(database['dbname']), safe='')}"
    mode = urlencode({"sslmode": database["sslmode"]}) if database.get("sslmode") else ""
    return f"postgresql://{user}:{password}@{place}?{mode}"


def make_schemas(connection: psycopg.Connection[Any], schema: str, race: str) -> None:
    """Empty schemas, whatever an earlier try has left in them."""
    for name in (schema, f"{schema}_loaded"):
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name)))
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
        comment = sql.SQL("COMMENT ON SCHEMA {} IS {}").format(sql.Identifier(name), sql.Literal(race))
        connection.execute(comment)


def drop_schemas(connection: psycopg.Connection[Any], schema: str) -> None:
    for name in (schema, f"{schema}_loaded"):
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name)))


def drop_table(connection: psycopg.Connection[Any], schema: str, table: str) -> None:
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {} CASCADE").format(sql.Identifier(schema, table)))


def list_races(connection: psycopg.Connection[Any]) -> dict[str, str]:
    """schema → id of the flow that made it, of every race whose tables are still there."""
    query = (
        "SELECT nspname, coalesce(obj_description(oid, 'pg_namespace'), '') FROM pg_namespace "
        "WHERE starts_with(nspname, %s) AND nspname NOT LIKE '%%\\_loaded'"
    )
    return {str(name): str(race) for name, race in connection.execute(query, (legs.SCHEMA_PREFIX,))}


def make_table(connection: psycopg.Connection[Any], schema: str, name: tables.TableName, rows: int) -> tuple[int, int]:
    """(rows, bytes) of the filled table."""
    table = sql.Identifier(schema, name)
    columns = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(kind)) for column, kind in tables.list_definitions(name)
    )
    key = sql.SQL(", ").join(map(sql.Identifier, tables.KEYS[name]))
    connection.execute(sql.SQL("CREATE TABLE {} ({}, PRIMARY KEY ({}))").format(table, columns, key))
    if name == "lineitem":
        _copy_lineitem(connection, table, rows)
    else:
        query = sql.SQL(tables.build_rows_query(name, rows))
        connection.execute(sql.SQL("INSERT INTO {} {}").format(table, query))
    connection.execute(sql.SQL("VACUUM ANALYZE {}").format(table))
    count = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(table)).fetchone()
    size = connection.execute("SELECT pg_table_size(%s::regclass)", (f'"{schema}"."{name}"',)).fetchone()
    assert count and size
    return int(count[0]), int(size[0])


def _copy_lineitem(connection: psycopg.Connection[Any], table: sql.Identifier, rows: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [str(find_generator()), "csv", "-s", f"{tables.compute_scale_factor(rows):.6f}"]
        done = subprocess.run(
            [*command, "-T", "lineitem", "-o", folder], capture_output=True, text=True, timeout=GENERATOR_TIMEOUT_S
        )
        if done.returncode:
            raise errors.ExecutionFailed(
                f"tpchgen-cli failed: {done.stderr.strip()[-300:]}", subject="tables", remedy="Leave lineitem out."
            )
        copy = sql.SQL("COPY {} FROM STDIN (FORMAT csv, HEADER)").format(table)
        with (
            connection.cursor() as cursor,
            cursor.copy(copy) as stream,
            (Path(folder) / "lineitem.csv").open("rb") as file,
        ):
            while block := file.read(COPY_BLOCK):
                stream.write(block)


def find_generator() -> Path:
    """The program of the package tpchgen-cli, wherever a worker has put it. Raises MissingSetting."""
    for path in metadata.files("tpchgen-cli") or []:
        if path.name == "tpchgen-cli":
            return Path(str(path.locate())).resolve()
    raise errors.MissingSetting(
        "The program of tpchgen-cli is not installed", subject="tables", remedy="Leave lineitem out."
    )


def read_server_version(connection: psycopg.Connection[Any]) -> str:
    row = connection.execute("SHOW server_version").fetchone()
    return str(row[0]) if row else ""
