# requirements: flexcore_benchmark
"""The race's reference: ADBC, pyarrow and xgboost in one process, nothing around them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import adbc_driver_postgresql.dbapi as postgresql
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from f.flexcore.lib.benchmark import database, learning, legs, tables
from f.flexcore.lib.core import contracts, errors, identity
from f.flexcore.lib.storage import object_store

PARQUET_BATCH_ROWS = 65536
# Beside the file of lineitem: the model that the reference predicts with.
MODEL = "model.ubj"


def run(
    leg: legs.Leg,
    place: database.Database,
    store: object_store.Store,
    source: contracts.DataManifest | None,
    key: identity.ExecutionKey,
) -> contracts.StepResult:
    """The leg's work. source: the Parquet file that a load reads."""
    begun = time.monotonic()
    uri = store.uri(key.value, "1", "data")
    output: contracts.DataManifest | None = None
    metrics: dict[str, float | int | None] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = object_store.local_path(uri) if store.local else Path(name) / "output"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{leg.table}.parquet"
        given = None if leg.work == "extract" else bring_file(store, source, Path(name))
        if given is None:
            metrics["rows"] = write_parquet(place, build_select(leg.source, leg.table), path)
        elif leg.work == "load":
            metrics["rows"] = load(leg, place, given)
        elif leg.work == "train":
            metrics |= learning.train(given)
        else:
            metrics["rows"] = learning.predict(given, bring_model(store, source, Path(name)), path)
        if path.exists():
            output = build_manifest(store, uri, folder, leg.table, int(metrics["rows"] or 0))
    return contracts.StepResult(
        success=True,
        runtime=legs.REFERENCE,
        execution_key=key.value,
        attempt=1,
        output=output,
        metrics=metrics,
        timings=contracts.Timings(running=round(time.monotonic() - begun, 3)),
    )


def build_select(schema: str, table: tables.TableName) -> str:
    names = ", ".join(f'"{column.name}"' for column in tables.COLUMNS[table])
    return f'SELECT {names} FROM "{schema}"."{table}"'  # noqa: S608


def write_parquet(place: database.Database, query: str, path: Path, columns: Sequence[tables.Column] = ()) -> int:
    """The rows written. columns: those whose decimals are written as such; without them they stay the texts that ADBC
    reads."""
    rows = 0
    with postgresql.connect(database.build_uri(place)) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        reader = cursor.fetch_record_batch()
        schema = build_schema(reader.schema, columns)
        with pq.ParquetWriter(path, schema) as writer:
            for batch in reader:
                writer.write_batch(cast_batch(batch, schema) if columns else batch)
                rows += batch.num_rows
    return rows


def build_schema(read: pa.Schema, columns: Sequence[tables.Column]) -> pa.Schema:
    decimals = {column.name: pa.decimal128(38, column.scale) for column in columns if column.kind == "decimal"}
    return pa.schema([pa.field(field.name, decimals.get(field.name, field.type)) for field in read])


def cast_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    plain = [array.storage if isinstance(array, pa.ExtensionArray) else array for array in batch.columns]
    return pa.RecordBatch.from_arrays(
        [array.cast(field.type) for array, field in zip(plain, schema, strict=True)], schema=schema
    )


def build_manifest(
    store: object_store.Store, uri: str, folder: Path, table: tables.TableName, rows: int
) -> contracts.DataManifest:
    """Of the one file of a table, which is brought to the store."""
    path = folder / f"{table}.parquet"
    stored = [object_store.file_entry(path, path.name)] if store.local else store.upload(folder, uri)
    files = [file for file in stored if file.path == path.name]
    size = sum(file.bytes for file in files)
    return contracts.DataManifest(
        uri=uri,
        format="parquet",
        bytes=size,
        rows=rows,
        checksum=contracts.compute_checksum(files),
        streams=[contracts.Stream(name=table, rows=rows, bytes=size, files=files)],
    )


def bring_file(store: object_store.Store, source: contracts.DataManifest | None, folder: Path) -> Path:
    """The one file of the source as a local one. Raises InvalidInput when there is no source."""
    if source is None:
        remedy = "Give the manifest that make_benchmark_data has written."
        raise errors.InvalidInput("source is missing", subject="source", remedy=remedy)
    if not store.local:
        store.download(source, folder)
    place = object_store.local_path(source.uri) if store.local else folder
    return place / contracts.list_files(source)[0].path


def bring_model(store: object_store.Store, source: contracts.DataManifest | None, folder: Path) -> Path:
    """The model beside the source as a local file."""
    uri = f"{source.uri if source else store.root}/{MODEL}"
    if store.local:
        return object_store.local_path(uri)
    fsspec.filesystem(store.protocol, **store.options).get_file(uri, str(folder / MODEL))
    return folder / MODEL


def load(leg: legs.Leg, place: database.Database, source: Path) -> int:
    """Rows of a Parquet file, by binary COPY into a new table with the source's columns, in one transaction."""
    file = pq.ParquetFile(source)
    with postgresql.connect(database.build_uri(place)) as connection, connection.cursor() as cursor:
        cursor.execute(f'DROP TABLE IF EXISTS "{leg.loaded}"."{leg.table}"')
        cursor.execute(f'CREATE TABLE "{leg.loaded}"."{leg.table}" (LIKE "{leg.source}"."{leg.table}")')
        reader = pa.RecordBatchReader.from_batches(file.schema_arrow, file.iter_batches(PARQUET_BATCH_ROWS))
        rows = int(cursor.adbc_ingest(leg.table, reader, mode="append", db_schema_name=leg.loaded))
        connection.commit()
    return rows


def read_table(place: database.Database, schema: str, table: tables.TableName) -> Iterator[pa.RecordBatch]:
    """The rows of a table of the database."""
    with postgresql.connect(database.build_uri(place)) as connection, connection.cursor() as cursor:
        cursor.execute(build_select(schema, table))
        yield from cursor.fetch_record_batch()
