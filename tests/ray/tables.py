"""A real PostgreSQL and copies of its tables, in this process: what a job of `ray/copy_table` runs, without Ray."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from f.flexcore.lib.ray import copy_job
from f.flexcore.lib.ray.remote import copy_in, copy_out, postgres
from tests.pipeline.postgres_server import PASSWORD, PostgresServer

Json = dict[str, Any]


class Tables:
    """One schema of a server, and copies of its tables into a store of its own."""

    def __init__(self, server: PostgresServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server, self.root, self.monkeypatch = server, folder, monkeypatch
        self.resource: Json = server.resource

    def run(self, *statements: str) -> None:
        self.server.execute(*statements)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        given = {name: value for name, value in self.server.resource.items() if name != "root_certificate_pem"}
        with psycopg.connect(**given, autocommit=True) as connection:
            return list(connection.execute(query.encode()).fetchall())

    def value(self, query: str) -> Any:
        ((value,),) = self.rows(query)
        return value

    def parameters(self, table: str, fields: Json) -> tuple[Json, Json]:
        """(parameters, storage) of a job, as the step would make them."""
        key, attempt = fields.pop("key", uuid.uuid4().hex), fields.pop("attempt", 1)
        since, generation = fields.pop("since", None), fields.pop("generation", 0)
        request = copy_job.CopyTableRequest(database=fields.pop("database", self.resource), table=table, **fields)
        self.monkeypatch.setenv(postgres.PASSWORD, request.database.password)
        parameters = {
            "database": request.database.model_dump(exclude={"password"}),
            "requires": {},
            "since": since,
            "generation": generation,
            **request.model_dump(exclude=copy_job.STEP_FIELDS),
        }
        storage = {"uri": f"file://{self.root}", "folder": f"file://{self.root}/{key}/{attempt}"}
        return parameters, storage

    def copy_out(self, table: str, **fields: Any) -> Json:
        return copy_out.run(*self.parameters(table, fields))

    def copy_in(self, copied: Json, table: str, **fields: Any) -> Json:
        parameters, storage = self.parameters(table, {"direction": "to_database", **fields})
        source = {"uri": copied["uri"], "files": copied["files"], "format": "parquet", "columns": {}}
        return copy_in.run(parameters | {"source": source}, storage)

    def files(self, copied: Json) -> Any:
        """What the files of a copy hold, in the order of the parts."""
        import pyarrow
        import pyarrow.parquet

        folder = copied["uri"].removeprefix("file://")
        return pyarrow.concat_tables(pyarrow.parquet.read_table(f"{folder}/{item['path']}") for item in copied["files"])

    def left_overs(self) -> Sequence[str]:
        """Tables that a copy has made for itself and not dropped."""
        found = self.rows(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~ '^flexcore_(stage|parts|new)_' ORDER BY 1"
        )
        return [row[0] for row in found]


__all__ = ["PASSWORD", "Tables"]
