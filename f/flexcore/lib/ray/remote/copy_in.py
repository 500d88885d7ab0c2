# requirements: flexcore_base
"""Loads Parquet files of the store into a table of PostgreSQL. Shipped as source.

files ─→ target and how to publish ─→ each part into the staging table, once ─→ rows and hash compared with the
files' ─→ one transaction into the target
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import time
from collections.abc import Sequence
from typing import Any

from f.flexcore.lib.ray.remote import (
    column_plans,
    copy_packages,
    load_plans,
    part_runner,
    postgres,
    publish_plans,
    publishing,
    row_hash,
    shared_storage,
    staging,
    table_catalog,
)

Json = dict[str, Any]
PART_BYTES, SPREAD_BYTES = 64 << 20, 1 << 30
# Errors after which a repeat would do the same: nothing is kept for it.
LASTING = ("InvalidInput", "DataError", "ManifestMismatch", "Conflict", "Forbidden", "NotFound", "EmptyData")


def run(parameters: Json, storage: Json) -> Json:
    """{table, write, publish, rows, row_hash, …}: what was published."""
    copy_packages.check(parameters["requires"])
    began = time.monotonic()
    database = postgres.read_database(parameters["database"], f"flexcore copy {parameters['table']}"[:60])
    store = shared_storage.RemoteStore(storage)
    store.check_shared()
    source = parameters["source"]
    schema, parts, size = read_footers(store, source)
    plans = load_plans.plan_load(schema, parameters["columns"])
    key = posixpath.basename(posixpath.dirname(storage["folder"])).removeprefix("fc-")
    with database.open() as session:
        if table_catalog.check_server(session.rows)["is_standby"]:
            raise shared_storage.Problem(
                "InvalidInput", "database: the server is a standby", "database", "Name the primary server."
            )
        publication = publish_plans.plan_publication(
            session.rows, parameters["table"], parameters["write"], parameters["key_columns"], plans
        )
        stage = staging.Staging(publication.schema, key)
        notes = describe_publication(publication)
        common = {"table": publication.label, "write": parameters["write"], "notes": notes, "parts": len(parts)}
        done = publishing.find_published(session, publication.schema, key)
        if done:
            print(f"An earlier attempt has published the data into {publication.label} already")
            stage.drop(session)
            seconds = round(time.monotonic() - began, 3)
            return {**common, **done, "copy_s": seconds, "resumed_parts": len(parts), "spread": False}
        for note in notes:
            print(note)
        try:
            load = Load(parameters, storage, database, stage, publication, parts, size)
            records, resumed = load.run(session, load_plans.staging_schema(schema, plans))
            hashes = load.compare(session, records)
            published = publishing.publish(session, stage, publication, key, hashes)
        except shared_storage.Problem as problem:
            if problem.flexcore["type"] in LASTING:
                drop_quietly(database, stage)
            raise
    seconds = round(time.monotonic() - began, 3)
    return {
        **common, **published, "row_hash": hashes, "copy_s": seconds, "resumed_parts": resumed, "spread": load.is_spread
    }  # fmt: skip


def describe_publication(publication: publish_plans.Publication) -> list[str]:
    if publication.how == "refill":
        return [
            f"{publication.label} is emptied and filled in one transaction, during which its readers wait, since a "
            f"copy could not take the place of {', '.join(publication.reasons[:5])}"
        ]
    texts = {
        "create": "does not exist and is made",
        "swap": "is replaced by a table of the same columns, indexes, constraints and rights",
        "append": "gets the rows added",
        "merge": f"gets the rows merged by {', '.join(publication.keys)}",
    }
    return [f"{publication.label} {texts[publication.how]}"]


def drop_quietly(database: postgres.Database, stage: staging.Staging) -> None:
    """By a session of its own: the other one's may be the one that failed."""
    try:
        with database.open() as session:
            stage.drop(session)
    except shared_storage.Problem as problem:
        print(f"The staging table {stage.table} is left until the next copy: {problem}")


def read_footers(store: shared_storage.RemoteStore, source: Json) -> tuple[Any, list[staging.LoadPart], int]:
    """(schema of the first file, the parts, bytes of all in memory). Raises Problem for what is no Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet

    schema, runs, total = None, list[tuple[Json, list[int], int, bool]](), 0
    for item in source["files"]:
        try:
            with store.fs.open_input_file(store.path(f"{source['uri']}/{item['path']}")) as stream:
                metadata = pa.parquet.read_metadata(stream)
        except FileNotFoundError:
            raise shared_storage.Problem(
                "ManifestMismatch", f"{item['path']} at {source['uri']} is missing", item["path"],
                "Run the stage that produced it again.",
            ) from None  # fmt: skip
        except (pa.ArrowInvalid, OSError) as error:
            raise load_plans.file_problem(
                item["path"], f"is not a whole Parquet file: {str(error).splitlines()[0][:200]}"
            ) from None
        schema = schema or metadata.schema.to_arrow_schema()
        groups, size, is_first = list[int](), 0, True
        for number in range(metadata.num_row_groups):
            groups.append(number)
            size += metadata.row_group(number).total_byte_size
            if size >= PART_BYTES:
                runs.append((item, groups, size, is_first))
                total, groups, size, is_first = total + size, [], 0, False
        if groups or is_first:
            runs.append((item, groups, size, is_first))
            total += size
    parts = [
        staging.LoadPart(number, item, tuple(groups), size / max(1, total), is_first)
        for number, (item, groups, size, is_first) in enumerate(runs)
    ]
    return schema, parts, total


class Load:
    """One attempt at filling the staging table."""

    def __init__(
        self,
        parameters: Json,
        storage: Json,
        database: postgres.Database,
        stage: staging.Staging,
        publication: publish_plans.Publication,
        parts: Sequence[staging.LoadPart],
        size: int,
    ) -> None:
        self.parameters, self.storage, self.database = parameters, storage, database
        self.stage, self.publication, self.parts = stage, publication, parts
        wanted = parameters["spread"]
        self.is_spread = wanted == "always" or (wanted == "auto" and size >= SPREAD_BYTES)

    def run(self, session: postgres.Session, schema: Any) -> tuple[list[Json], int]:
        """(records of all parts, how many an earlier attempt had loaded)"""
        if self.is_spread:
            copy_packages.connect()
        is_resumed = self.stage.prepare(
            session, self.publication.plans, self.signature(), float(self.parameters.get("timeout_s") or 0)
        )
        records = self.stage.loaded(session) if is_resumed else {}
        missing = [part for part in self.parts if part.number not in records]
        if records:
            print(f"{len(records)} of {len(self.parts)} parts are in the staging table from an earlier attempt")
        resumed, weights = len(records), {part.number: part.weight for part in self.parts}
        source = self.parameters["source"]["uri"]
        loader = staging.PartLoader(self.database, self.stage, self.publication.plans, self.storage, source, schema)
        progress = part_runner.Progress(len(missing), sum(weights[number] for number in records))
        run = part_runner.run_on_ray if self.is_spread else part_runner.run_here
        for record in run(missing, loader, self.parameters["num_workers"]):
            records[record["number"]] = record
            progress.add(record["rows"], weights[record["number"]])
        return [records[part.number] for part in self.parts], resumed

    def signature(self) -> str:
        """Of what fills the staging table: files, columns and their types."""
        files = [item["checksum"] for item in self.parameters["source"]["files"]]
        columns = [[plan.name, plan.staged] for plan in self.publication.plans]
        groups = [list(part.groups) for part in self.parts]
        return hashlib.sha256(json.dumps([files, columns, groups]).encode()).hexdigest()

    def compare(self, session: postgres.Session, records: Sequence[Json]) -> str:
        """The hash of all rows. Raises Problem when the staging table is not what the files hold."""
        row = ", ".join(plan.hashed for plan in self.publication.plans)
        ((count, text),) = session.rows(
            f"SELECT count(*), COALESCE(sum(hash_record_extended(ROW({row}), 0)), 0)::text FROM {self.stage.table}"
        )
        rows, hashes = sum(item["rows"] for item in records), sum(int(item["row_hash"]) for item in records)
        hashes %= row_hash.MODULUS
        if count == rows and column_plans.parse_hash(text) == hashes:
            return f"{hashes:016x}"
        what = f"{count} rows instead of {rows}" if count != rows else "values that are not those of the files"
        raise shared_storage.Problem(
            "DataError", f"The staging table has {what}", "table", "Run again; when it happens again, report this."
        )
