# requirements: flexcore_base
"""Copies one part of a table into one Parquet file of the store, batch by batch. Shipped as source.

The record of a part, written after its file is whole, is what makes the part copied:
    {number, file, rows, bytes, checksum, row_hash}      file "" for a part without rows
"""

from __future__ import annotations

import errno
import hashlib
import io
import posixpath
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from f.flexcore.lib.ray.remote import (
    column_arrays,
    column_plans,
    postgres,
    row_hash,
    shared_storage,
    table_parts,
    table_snapshot,
)

Json = dict[str, Any]
DATA, RECORDS = "data", "records"
# Every reader knows it, and it costs a tenth of what the best ones do.
COMPRESSION = "snappy"
# Of a row group, in memory: the driver's batches are smaller, and readers go by groups.
GROUP_BYTES = 64 << 20


class PartCopier:
    """Called with a part; returns its record. folder: the copy's own URI in the store."""

    def __init__(
        self,
        database: postgres.Database,
        token: str,
        plans: Sequence[column_plans.ColumnPlan],
        storage: Json,
        folder: str,
    ) -> None:
        self.database, self.token, self.plans = database, token, list(plans)
        self.storage, self.folder = storage, folder

    def __call__(self, part: table_parts.Part) -> Json:
        store = shared_storage.RemoteStore(self.storage)
        with self.database.open() as session:
            table_snapshot.enter(session, self.token)
            try:
                record = self.write(store, part, session.batches(self.query(part)))
            except shared_storage.Problem as problem:
                raise self.explain(problem, part) from None
        write_record(store, self.folder, record)
        return record

    def query(self, part: table_parts.Part) -> str:
        columns = ", ".join(f"{plan.select} AS {postgres.quote_name(plan.name)}" for plan in self.plans)
        where = f" WHERE {part.condition}" if part.condition else ""
        return f"SELECT {columns} FROM {part.source}{where}"

    def explain(self, problem: shared_storage.Problem, part: table_parts.Part) -> shared_storage.Problem:
        """The column at fault, where the server only says that it cannot convert NaN: a query of its own asks."""
        numbers = [plan for plan in self.plans if plan.kind == "scaled"]
        if problem.flexcore["type"] != "DataError" or not numbers or problem.flexcore["subject"] != "table":
            return problem
        values = ", ".join(f"bool_or({postgres.quote_name(plan.name)}::numeric = 'NaN')" for plan in numbers)
        where = f" WHERE {part.condition}" if part.condition else ""
        with self.database.open() as session:
            table_snapshot.enter(session, self.token)
            (found,) = session.rows(f"SELECT {values} FROM {part.source}{where}")
        names = [
            f"{plan.name} ({plan.pg_type}) holds NaN" for plan, is_nan in zip(numbers, found, strict=True) if is_nan
        ]
        return column_plans.unfit_problem(names) if names else problem

    def write(self, store: shared_storage.RemoteStore, part: table_parts.Part, batches: Iterator[Any]) -> Json:
        # Of its own, should two copies of an attempt work on the same part: the record names the one that counts.
        name = f"part-{part.number:05d}-{uuid.uuid4().hex[:8]}.parquet"
        schema = column_arrays.arrow_schema(self.plans)
        rows, hashes, file = 0, 0, ParquetFile(store, f"{self.folder}/{DATA}/{name}", schema)
        try:
            for batch in batches:
                converted = column_arrays.convert_batch(batch, self.plans, schema)
                hashes += column_arrays.hash_batch(converted, self.plans)
                rows += converted.num_rows
                file.write(converted)
            # The first part stands for the columns of a table without rows.
            is_kept = bool(rows) or part.number == 0
            size, checksum = file.finish() if is_kept else (0, "")
        except BaseException:
            file.discard()
            raise
        if not is_kept:
            file.discard()
        return {
            "number": part.number,
            "file": name if is_kept else "",
            "rows": rows,
            "bytes": size,
            "checksum": checksum,
            "row_hash": str(hashes % row_hash.MODULUS),
        }


class ParquetFile:
    """One file of the store that is written in row groups; its checksum is computed on the way. Raises Problem."""

    def __init__(self, store: shared_storage.RemoteStore, uri: str, schema: Any) -> None:
        import pyarrow.parquet

        self.store, self.path = store, store.path(uri)
        self.schema, self.waiting, self.waiting_bytes = schema, list[Any](), 0
        with store_errors(store):
            if store.local:
                store.fs.create_dir(posixpath.dirname(self.path), recursive=True)
            self.sink = HashingSink(store.fs.open_output_stream(self.path))
            self.writer = pyarrow.parquet.ParquetWriter(
                self.sink, schema, compression=COMPRESSION, store_decimal_as_integer=True
            )

    def write(self, batch: Any) -> None:
        self.waiting.append(batch)
        self.waiting_bytes += batch.nbytes
        if self.waiting_bytes >= GROUP_BYTES:
            self._write_group()

    def finish(self) -> tuple[int, str]:
        """(bytes, checksum)"""
        self._write_group()
        with store_errors(self.store):
            self.writer.close()
            self.sink.stream.close()
        return self.sink.size, f"sha256:{self.sink.digest.hexdigest()}"

    def discard(self) -> None:
        for close in (self.writer.close, self.sink.stream.close, lambda: self.store.fs.delete_file(self.path)):
            with suppress(Exception):
                close()

    def _write_group(self) -> None:
        import pyarrow as pa

        if not self.waiting:
            return
        table = pa.Table.from_batches(self.waiting, self.schema)
        self.waiting, self.waiting_bytes = [], 0
        with store_errors(self.store):
            self.writer.write_table(table, row_group_size=max(1, table.num_rows))


class HashingSink(io.RawIOBase):
    """What is written goes to the store's stream and into the checksum."""

    def __init__(self, stream: Any) -> None:
        self.stream, self.digest, self.size = stream, hashlib.sha256(), 0

    def writable(self) -> bool:
        return True

    def write(self, block: Any) -> int:
        view = memoryview(block).cast("B")
        self.digest.update(view)
        self.stream.write(view)
        self.size += len(view)
        return len(view)

    def tell(self) -> int:
        return self.size


@contextmanager
def store_errors(store: shared_storage.RemoteStore) -> Iterator[None]:
    """Turns the store's own errors into a Problem: a full disk by its name."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) and "No space left" not in str(error):
            raise store.store_problem(error) from None
        raise shared_storage.Problem(
            "Unavailable",
            f"The store {store.storage['uri']} is full",
            "settings.storage_uri",
            "Free space, or choose another store, then run again; nothing was published.",
        ) from None


# --- records


def write_record(store: shared_storage.RemoteStore, folder: str, record: Json) -> None:
    uri = f"{folder}/{RECORDS}/{record['number']:05d}.json"
    with store_errors(store):
        write_whole(store, uri, record)


def write_whole(store: shared_storage.RemoteStore, uri: str, value: Json) -> None:
    """A reader sees the whole file or none; object stores give this by themselves."""
    if not store.local:
        store.write_json(uri, value)
        return
    store.fs.create_dir(posixpath.dirname(store.path(uri)), recursive=True)
    part = f"{uri}.{uuid.uuid4().hex}.part"
    store.write_json(part, value)
    store.fs.move(store.path(part), store.path(uri))


def read_records(store: shared_storage.RemoteStore, folder: str) -> dict[int, Json]:
    """The records of the parts that are copied, by their numbers."""
    from pyarrow.fs import FileSelector

    selector = FileSelector(store.path(f"{folder}/{RECORDS}"), allow_not_found=True)
    names = [info.base_name for info in store.fs.get_file_info(selector) if info.base_name.endswith(".json")]
    records = [store.read_json(f"{folder}/{RECORDS}/{name}") for name in names]
    return {int(record["number"]): record for record in records}
