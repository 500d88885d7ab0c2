# requirements: flexcore_base
"""A PostgreSQL database as seen by a program on Ray: sessions by ADBC, which speaks Arrow over binary COPY. Shipped as
source.

Every failure is a `Problem` by consequence: the server's SQLSTATE decides, not its words, which may be in any language;
only a connection that does not come about has none.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from f.flexcore.lib.ray.remote import shared_storage

Json = dict[str, Any]
# By the name of the environment variable that the step's job is given.
PASSWORD = "FLEXCORE_DATABASE_PASSWORD"
CONNECT_TIMEOUT_S = 10
LOCK_TIMEOUT_MS = 5_000
# A server that is gone without a word is noticed within two minutes.
KEEPALIVE = "keepalives_idle=30 keepalives_interval=10 keepalives_count=6"
# In these forms a value's text says all of it, whatever the server's or the role's own settings are.
SESSION = {
    "DateStyle": "ISO",
    "IntervalStyle": "iso_8601",
    "TimeZone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "client_encoding": "UTF8",
    "lock_timeout": str(LOCK_TIMEOUT_MS),
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}
DISK_FULL, LOCKED, DENIED, UNKNOWN_TABLE, FAILED_TRANSACTION = "53100", "55P03", "42501", "42P01", "25P02"
DRIVER, DATASETS = "adbc_driver_postgresql.dbapi", "pyarrow.dataset"
_modules: dict[str, Any] = sys.modules
_import_lock = threading.Lock()
SNAPSHOT_GONE = ("snapshot_gone", "The snapshot that all parts are read at is gone")


@dataclass(frozen=True)
class Database:
    """Where a database is, as Windmill's `postgresql` resource says it. application: its name in pg_stat_activity."""

    host: str
    dbname: str
    user: str = ""
    port: int = 5432
    password: str = field(default="", repr=False)
    sslmode: str = ""
    root_certificate_pem: str = field(default="", repr=False)
    application: str = "flexcore"

    @property
    def label(self) -> str:
        return f"{self.host}:{self.port}/{self.dbname}"

    @contextmanager
    def open(self) -> Iterator[Session]:
        """A session that ends with the block, and whatever it has begun and not committed with it."""
        session = self.connect()
        try:
            yield session
        finally:
            session.close()

    def connect(self) -> Session:
        import adbc_driver_manager

        dbapi = import_driver()
        with root_certificate(self.root_certificate_pem) as certificate:
            try:
                return Session(self, dbapi.connect(self.connection_string(certificate), autocommit=True))
            except adbc_driver_manager.Error as error:
                raise connection_problem(error, self) from None

    def connection_string(self, certificate: str) -> str:
        options = " ".join(f"-c {name}={value}" for name, value in SESSION.items())
        given = {
            "host": self.host,
            "port": str(self.port),
            "user": self.user,
            "password": self.password,
            "dbname": self.dbname,
            "sslmode": self.sslmode,
            "sslrootcert": certificate,
            "connect_timeout": str(CONNECT_TIMEOUT_S),
            "application_name": self.application,
            "options": options,
        }
        return " ".join(f"{name}={quote_setting(value)}" for name, value in given.items() if value) + f" {KEEPALIVE}"


def import_driver() -> Any:
    """ADBC's DB-API without Arrow's datasets, of which it knows the types alone: they import pandas, which takes as
    long as all the rest that a copy imports."""
    with _import_lock:
        if DATASETS not in _modules and DRIVER not in _modules:
            _modules[DATASETS] = types.ModuleType(DATASETS)
            try:
                return importlib.import_module(DRIVER)
            finally:
                del _modules[DATASETS]
        return importlib.import_module(DRIVER)


def read_database(parameters: Json, application: str) -> Database:
    """The database of a job's parameters, with the password that the job was given apart from them."""
    return Database(**parameters, password=os.environ.pop(PASSWORD, ""), application=application)


class Session:
    """One connection. Every method raises Problem."""

    def __init__(self, database: Database, connection: Any) -> None:
        self.database, self.connection = database, connection

    def close(self) -> None:
        import adbc_driver_manager

        with suppress(adbc_driver_manager.Error, RuntimeError):
            self.connection.close()

    def run(self, statement: str) -> None:
        """A statement that answers nothing."""
        with self._asking() as cursor:
            cursor.execute(statement)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query that answers few."""
        with self._asking() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())

    def value(self, query: str) -> Any:
        """The single value of a query."""
        ((value,),) = self.rows(query)
        return value

    def batches(self, query: str) -> Iterator[Any]:
        """The record batches of a query, one in memory at a time."""
        with self._asking() as cursor:
            cursor.execute(query)
            yield from cursor.fetch_record_batch()

    def ingest(self, schema: str, table: str, reader: Any) -> int:
        """Appends a stream of record batches to a table by binary COPY; the rows that it took."""
        with self._asking() as cursor:
            return int(cursor.adbc_ingest(table, reader, mode="append", db_schema_name=schema))

    def is_alive(self) -> bool:
        import adbc_driver_manager

        cursor = self.connection.cursor()
        try:
            cursor.execute("SELECT 1")
        except adbc_driver_manager.Error as error:
            # In a transaction that has failed the server answers by a refusal, which is an answer.
            return (getattr(error, "sqlstate", None) or "") == FAILED_TRANSACTION
        finally:
            cursor.close()
        return True

    @contextmanager
    def transaction(self, mode: str = "") -> Iterator[None]:
        """Commits at the end; whatever goes wrong undoes all of it."""
        self.run(f"BEGIN {mode}")
        try:
            yield
        except BaseException:
            # Without a connection the transaction is gone with it.
            with suppress(shared_storage.Problem):
                self.run("ROLLBACK")
            raise
        self.run("COMMIT")

    @contextmanager
    def _asking(self) -> Iterator[Any]:
        import adbc_driver_manager

        cursor = self.connection.cursor()
        try:
            yield cursor
        except (adbc_driver_manager.Error, OSError) as error:
            # What fails while it is read, batch by batch, has no SQLSTATE: whether the session still lives tells a
            # value from a lost connection.
            cursor.close()
            raise statement_problem(error, self.database, self.is_alive()) from None
        finally:
            with suppress(adbc_driver_manager.Error):
                cursor.close()


@contextmanager
def root_certificate(pem: str) -> Iterator[str]:
    """The path of a file with the certificate, "" without one; gone after the connection is made."""
    if not pem.strip():
        yield ""
        return
    descriptor, name = tempfile.mkstemp(suffix=".pem")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(pem.strip() + "\n")
        yield name
    finally:
        Path(name).unlink(missing_ok=True)


def quote_setting(value: str) -> str:
    """A value of libpq's connection string."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def quote_name(*parts: str) -> str:
    """An identifier, qualified when it has several parts."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def quote_text(value: str) -> str:
    """A string literal, whatever standard_conforming_strings says."""
    escaped = value.replace("'", "''")
    return f" E'{escaped}'".replace("\\", "\\\\") if "\\" in escaped else f"'{escaped}'"


# --- failures


def connection_problem(error: Exception, database: Database) -> shared_storage.Problem:
    text = first_lines(str(error), database)
    if "authentication failed" in text or "pg_hba.conf" in text or "no password supplied" in text:
        return shared_storage.Problem(
            "Forbidden",
            f"The database {database.label} refuses the user {database.user}",
            "database",
            "Check user and password in the resource, and the server's pg_hba.conf.",
        )
    if "database" in text and "does not exist" in text:
        return shared_storage.Problem(
            "NotFound",
            f"The server {database.host} has no database {database.dbname}",
            "database.dbname",
            "Correct dbname in the resource.",
        )
    return shared_storage.Problem(
        "Unreachable",
        f"The database {database.label} cannot be reached from Ray: {text}",
        "database",
        "Check host, port and sslmode, and that the Ray nodes may connect to it.",
    )


def statement_problem(error: Exception, database: Database, is_alive: bool) -> shared_storage.Problem:
    """What the server answered, by its SQLSTATE; Arrow's errors have it in their text alone."""
    full = str(error)
    state = getattr(error, "sqlstate", None) or find_state(full)
    text = first_lines(full, database)
    if state in PROBLEMS or state[:2] in PROBLEMS:
        kind, what, remedy = PROBLEMS.get(state) or PROBLEMS[state[:2]]
        return shared_storage.Problem(kind, f"{what}: {text}", "database", remedy, sqlstate=state)
    if not state and is_alive:
        return shared_storage.Problem(
            "DataError", f"The database stopped in the middle: {text}", "table", "Correct the value it names."
        )
    if not state:
        return shared_storage.Problem(
            "Unreachable",
            f"The connection to {database.label} was lost: {text}",
            "database",
            "Check that the server runs; then run again: what was copied is not copied again while its snapshot lives.",
        )
    return shared_storage.Problem(
        "ExecutionFailed",
        f"The database refuses: {text}",
        "database",
        "Correct the request by what the database says.",
        sqlstate=state,
    )


# SQLSTATE, or its class → (error, what happened, remedy). Source: errcodes.txt of PostgreSQL 18.
PROBLEMS: dict[str, tuple[str, str, str]] = {
    DISK_FULL: (
        "Unavailable",
        "The database's disk is full",
        "Free space on the server, then run again; nothing was published.",
    ),
    "53": ("Unavailable", "The database has no resources left", "Run again later, or with fewer num_workers."),
    LOCKED: (
        "Unavailable",
        "The table is locked",
        "Someone changes or holds the table: run again when that is done.",
    ),
    DENIED: ("Forbidden", "The database's user lacks a right", "Grant it to the user of the resource."),
    UNKNOWN_TABLE: ("NotFound", "The table does not exist", "Correct the table's name."),
    "28": ("Forbidden", "The database refuses the user", "Check user and password in the resource."),
    "25006": ("Forbidden", "The database is read-only", "Name the primary server, not a standby."),
    "57014": ("DeadlineExceeded", "The database canceled a query", "Raise the server's limit for this user."),
    "57": ("Unreachable", "The database shuts down or was restarted", "Run again when it is up."),
    "08": ("Unreachable", "The connection to the database was lost", "Check the network, then run again."),
    "40": ("Unavailable", "The database ended a transaction for the sake of another", "Run again."),
    "22": ("DataError", "A value does not fit", "Correct the value, or the type of the column."),
    "23": ("DataError", "A constraint of the table refuses the data", "Correct the data, or the constraint."),
    "42704": (
        "Unavailable",
        SNAPSHOT_GONE[1],
        "Run again: the copy then starts anew. Raise snapshot_max_age_s when it needs longer.",
    ),
    "22023": (
        "Unavailable",
        SNAPSHOT_GONE[1],
        "Run again: the copy then starts anew. Raise snapshot_max_age_s when it needs longer.",
    ),
}


def find_state(text: str) -> str:
    marker = "SQLSTATE: "
    return text.rpartition(marker)[2][:5] if marker in text else ""


def first_lines(text: str, database: Database) -> str:
    """The server's own words without what surrounds them: neither the query nor the driver's names."""
    text = text.partition("Query was:")[0].partition("Query:")[0].partition("\nLINE ")[0]
    for start in ("ERROR:", "FATAL:"):
        text = text.rpartition(start)[2]
    text = " ".join(text.partition("SQLSTATE:")[0].split()).removeprefix("IO: ").strip(". ")[:300]
    return text.replace(database.password, "***") if len(database.password) >= 4 else text
