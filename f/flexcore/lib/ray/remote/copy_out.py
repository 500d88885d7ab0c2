# requirements: flexcore_base
"""Copies a table of PostgreSQL into Parquet files of the store. Shipped as source.

    lock, snapshot ─→ columns, parts ─→ each part into a file, with its record ─→ rows and hash compared with the
    database's own at the same snapshot ─→ the manifest, which is what publishes

A repeat whose snapshot still lives copies the parts without a record; else it begins anew in another folder, says so,
and removes what the dead attempt had made.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import posixpath
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from f.flexcore.lib.ray.remote import (
    column_arrays,
    column_plans,
    copy_cursor,
    copy_packages,
    part_files,
    part_runner,
    postgres,
    row_hash,
    shared_storage,
    table_catalog,
    table_parts,
    table_snapshot,
)

Json = dict[str, Any]
LAYOUT = "layout.json"
# Below this a table is copied within the job's own process: starting Ray's workers takes longer than it.
SPREAD_BYTES = 1 << 30
# A part whose rows are more than this many times the others' share is named.
SKEW_FACTOR = 4


@dataclasses.dataclass(frozen=True)
class Layout:
    """What is read and how it is divided; kept beside the parts, so that another attempt divides it in the same way."""

    token: str
    plans: list[column_plans.ColumnPlan]
    parts: list[table_parts.Part]
    restriction: str
    notes: list[str]
    cursor: Json
    signature: Json

    def plain(self) -> Json:
        return dataclasses.asdict(self)

    @staticmethod
    def parse(stored: Json) -> Layout:
        plans = [column_plans.ColumnPlan(**item) for item in stored["plans"]]
        parts = [table_parts.Part(**item) for item in stored["parts"]]
        return Layout(**stored | {"plans": plans, "parts": parts})


def run(parameters: Json, storage: Json) -> Json:
    """{uri, rows, files, columns, …}: what was copied."""
    copy_packages.check(parameters["requires"])
    database = postgres.read_database(parameters["database"], f"flexcore copy {parameters['table']}"[:60])
    store = shared_storage.RemoteStore(storage)
    store.check_shared()
    with database.open() as session, naming_locks(parameters["table"]):
        server = table_catalog.check_server(session.rows)
        table = table_catalog.describe_table(session.rows, parameters["table"])
    is_spread = choose_spread(parameters["spread"], table)
    if is_spread:
        copy_packages.connect()
    root = f"{posixpath.dirname(storage['folder'])}/copy"
    snapshot = take_snapshot(database, table, parameters, root, is_spread)
    try:
        # Whoever waits to change the table waits for this snapshot, and the parts wait behind it: it must be let go.
        with naming_locks(table.label), snapshot.keep():
            return Copy(parameters, storage, database, snapshot, root, is_spread).run(server)
    except shared_storage.Problem as problem:
        # One that outlives this process is kept for the next attempt.
        if not is_spread or problem.flexcore["type"] not in part_runner.RETRIED:
            snapshot.release()
        raise


def choose_spread(wanted: str, table: table_catalog.Table) -> bool:
    """Whether Ray's workers copy; a view's size is not known and counts as none."""
    return wanted == "always" or (wanted == "auto" and table.bytes >= SPREAD_BYTES)


def take_snapshot(
    database: postgres.Database, table: table_catalog.Table, parameters: Json, root: str, is_spread: bool
) -> table_snapshot.Snapshot:
    with naming_locks(table.label):
        if not is_spread:
            return table_snapshot.hold_here(database, table, parameters["snapshot_max_age_s"])
        name = f"flexcore-snapshot-{hashlib.sha256(root.encode()).hexdigest()[:20]}"
        return table_snapshot.hold_detached(database, table, parameters["snapshot_max_age_s"], name)


@contextmanager
def naming_locks(table: str) -> Iterator[None]:
    """A lock that does not come is somebody's who changes the table."""
    try:
        yield
    except shared_storage.Problem as problem:
        if problem.flexcore["details"].get("sqlstate") != postgres.LOCKED:
            raise
        raise shared_storage.Problem(
            "Unavailable",
            f"{table} is being changed: someone holds it, or waits to change its columns, and its parts can no longer "
            "be read together",
            "table",
            "Run again when that is done; nothing was published.",
        ) from None


class Copy:
    """One attempt at one snapshot."""

    def __init__(
        self,
        parameters: Json,
        storage: Json,
        database: postgres.Database,
        snapshot: table_snapshot.Snapshot,
        root: str,
        is_spread: bool,
    ) -> None:
        self.parameters, self.storage, self.database, self.snapshot = parameters, storage, database, snapshot
        self.store, self.root, self.is_spread = shared_storage.RemoteStore(storage), root, is_spread
        self.attempt = int(posixpath.basename(storage["folder"]))
        self.folder = find_folder(self.store, root, snapshot.name) or f"{root}/{self.attempt}-{snapshot.name}"
        self.began = time.monotonic()

    def run(self, server: Json) -> Json:
        layout, table = self.lay_out(server)
        records, resumed = self.copy_parts(layout, table)
        self.compare(records, layout)
        self.snapshot.check()
        result = self.describe(records, layout, table) | {
            "resumed_parts": resumed,
            "notes": self.notes(records, layout),
        }
        self.snapshot.release()
        remove_earlier(self.store, self.root, self.folder, self.attempt)
        return result

    def lay_out(self, server: Json) -> tuple[Layout, table_catalog.Table]:
        """The layout of an earlier attempt at this snapshot, else a new one; the table as the snapshot's lock keeps
        it."""
        asked = {name: self.parameters[name] for name in LAYOUT_PARAMETERS}
        with self.database.open() as session:
            table_snapshot.enter(session, self.snapshot.token)
            table = table_catalog.describe_table(session.rows, self.parameters["table"])
            signature = {"columns": table.signature, "request": asked, "source": table.quoted}
            stored = read_layout(self.store, self.folder)
            if stored and stored["signature"] == signature:
                return Layout.parse(stored), table
            layout = plan_layout(session.rows, table, self.parameters, server, self.snapshot.token, signature)
        with part_files.store_errors(self.store):
            part_files.write_whole(self.store, f"{self.folder}/{LAYOUT}", layout.plain())
        return layout, table

    def copy_parts(self, layout: Layout, table: table_catalog.Table) -> tuple[list[Json], int]:
        """(the records of all parts, how many of them an earlier attempt had made). The database hashes the whole table
        meanwhile."""
        records = part_files.read_records(self.store, self.folder) if self.snapshot.is_resumed else {}
        missing = [part for part in layout.parts if part.number not in records]
        weights = {part.number: part.weight for part in layout.parts}
        self.say_start(layout, table, missing, records)
        resumed = len(records)
        copier = part_files.PartCopier(self.database, self.snapshot.token, layout.plans, self.storage, self.folder)
        progress = part_runner.Progress(len(missing), sum(weights[number] for number in records))
        with ThreadPoolExecutor(1) as background:
            expected = background.submit(part_runner.attempt, self.ask_expected, layout)
            for record in self.run_parts(missing, copier):
                records[record["number"]] = record
                progress.add(record["rows"], weights[record["number"]])
            self.expected = expected.result()
        return [records[part.number] for part in layout.parts], resumed

    def run_parts(self, missing: Sequence[table_parts.Part], copier: part_files.PartCopier) -> Any:
        workers = self.parameters["num_workers"]
        if not self.is_spread:
            return part_runner.run_here(missing, copier, workers)
        return part_runner.run_on_ray(missing, copier, workers)

    def ask_expected(self, layout: Layout) -> tuple[int, int]:
        """(rows, hash) as the database says them of the whole table at the snapshot, whatever the parts are."""
        with self.database.open() as session:
            table_snapshot.enter(session, self.snapshot.token)
            source = layout_source(layout)
            ((rows, text),) = session.rows(column_plans.hash_query(layout.plans, source, layout.restriction))
            return int(rows), column_plans.parse_hash(text)

    def compare(self, records: Sequence[Json], layout: Layout) -> None:
        """Raises Problem when what was copied is not what the database has."""
        rows, expected = self.expected
        copied, hashes = sum(item["rows"] for item in records), total_hash(records)
        if copied == rows and hashes == expected:
            return
        what = f"{copied} rows instead of {rows}" if copied != rows else "values that are not the table's"
        raise shared_storage.Problem(
            "DataError",
            f"The copy of {self.parameters['table']} has {what} at its snapshot",
            "table",
            "Run again; when the table is a view, its rows must not differ from query to query (random(), now(), LIMIT "
            "without ORDER BY).",
            copied_rows=copied,
            source_rows=rows,
        )

    def say_start(self, layout: Layout, table: table_catalog.Table, missing: Sequence[Any], records: Any) -> None:
        kind = table_catalog.KIND_NAMES[table.kind]
        where = "Ray's workers" if self.is_spread else "the job's own process"
        print(f"Copying {kind} {table.label}: {len(layout.plans)} columns in {len(layout.parts)} parts, by {where}")
        if records:
            print(f"{len(records)} parts are there from an earlier attempt at the same snapshot")
        elif len(list_folders(self.store, self.root)) > 1:
            print("The snapshot of the earlier attempt is gone with its process: the copy starts anew")
        for note in layout.notes:
            print(note)

    def notes(self, records: Sequence[Json], layout: Layout) -> list[str]:
        rows = [item["rows"] for item in records]
        share = sum(rows) / max(1, len(rows))
        heavy = [item for item in rows if item > SKEW_FACTOR * share]
        notes = list(layout.notes)
        if len(rows) >= SKEW_FACTOR and heavy:
            notes.append(f"One of {len(rows)} parts has {max(heavy)} of {sum(rows)} rows: the parts are skewed")
        return notes

    def describe(self, records: Sequence[Json], layout: Layout, table: table_catalog.Table) -> Json:
        files = [
            {"path": item["file"], "bytes": item["bytes"], "checksum": item["checksum"]}
            for item in records
            if item["file"]
        ]
        return {
            "uri": f"{self.folder}/{part_files.DATA}",
            "format": "parquet",
            "rows": sum(item["rows"] for item in records),
            "columns": {plan.name: plan.json_type for plan in layout.plans},
            "types": {plan.name: plan.pg_type for plan in layout.plans},
            "arrow_types": {plan.name: str(column_arrays.arrow_type(plan)) for plan in layout.plans},
            "files": files,
            "parts": len(layout.parts),
            "row_hash": f"{total_hash(records):016x}",
            "table": table.label,
            "cursor": layout.cursor,
            "copy_s": round(time.monotonic() - self.began, 3),
            "spread": self.is_spread,
        }


# What of a request decides which rows and columns are read, and how they are divided.
LAYOUT_PARAMETERS = (
    "table", "columns", "text_columns", "unfit", "partition_column", "partitions", "cursor_column", "overlap", "since",
)  # fmt: skip


def plan_layout(
    ask: table_catalog.Ask, table: table_catalog.Table, parameters: Json, server: Json, token: str, signature: Json
) -> Layout:
    """Raises Problem for columns that do not fit, or a column that cannot part or order the table."""
    plans = column_plans.plan_columns(
        table, parameters["columns"], parameters["text_columns"], parameters["unfit"], ask, server["encoding"]
    )
    cursor = copy_cursor.plan_cursor(ask, table, parameters)
    parts = table_parts.plan_parts(
        table, ask, parameters["partition_column"], parameters["partitions"], parameters["num_workers"],
        cursor.restriction,
    )  # fmt: skip
    notes = [*(plan.note for plan in plans if plan.note), *parts.notes, *cursor.notes]
    return Layout(token, plans, list(parts.items), cursor.restriction, notes, cursor.state, signature)


def layout_source(layout: Layout) -> str:
    """The whole table, as the request names it."""
    return str(layout.signature["source"])


def total_hash(records: Sequence[Json]) -> int:
    return sum(int(item["row_hash"]) for item in records) % row_hash.MODULUS


def read_layout(store: shared_storage.RemoteStore, folder: str) -> Json | None:
    try:
        layout: Json = store.read_json(f"{folder}/{LAYOUT}")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise store.store_problem(error) from None
    except json.JSONDecodeError:
        return None
    return layout


def list_folders(store: shared_storage.RemoteStore, root: str) -> list[str]:
    """The names `<attempt>-<snapshot>` of what this execution's attempts have begun."""
    from pyarrow.fs import FileSelector, FileType

    infos = store.fs.get_file_info(FileSelector(store.path(root), allow_not_found=True))
    return [str(info.base_name) for info in infos if info.type == FileType.Directory]


def find_folder(store: shared_storage.RemoteStore, root: str, snapshot: str) -> str:
    """The folder that belongs to a snapshot, "" when there is none."""
    return next((f"{root}/{name}" for name in list_folders(store, root) if name.endswith(f"-{snapshot}")), "")


def remove_earlier(store: shared_storage.RemoteStore, root: str, kept: str, attempt: int) -> None:
    """Removes what earlier attempts have left, and no later one's: this one may be the one that was given up."""
    for name in list_folders(store, root):
        if name != posixpath.basename(kept) and int(name.partition("-")[0]) <= attempt:
            store.fs.delete_dir(store.path(f"{root}/{name}"))
