# requirements: flexcore_benchmark
"""What a run of the race has written, as a fingerprint; and its removal once it is compared."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pq

from f.flexcore.lib.benchmark import database, fingerprint, learning, legs, reference, removal, results, tables
from f.flexcore.lib.core import contracts, errors
from f.flexcore.lib.storage import catalog, object_store

BATCH_ROWS = 65536
JSON_BLOCK = 8 << 20
# A column whose first value comes later is taken for a number, which null is, too.
SNIFFED_LINES = 2000


def find_difference(
    leg: legs.Leg,
    result: contracts.StepResult,
    source: results.Marks,
    place: database.Database,
    store: object_store.Store,
) -> str:
    """Why what a run has written counts for nothing; "" when it is right. Raises FlexcoreError for what cannot be
    read."""
    columns = tables.COLUMNS[leg.table]
    if leg.work == "train":
        r2 = result.metrics.get("r2")
        return results.explain_quality(source.rows, None, None if r2 is None else float(r2))
    if leg.work == "load":
        written = reference.read_table(place, leg.loaded, leg.table)
        return results.explain_difference(source, fingerprint.compute_fingerprint(written, columns))
    if not isinstance(result.output, contracts.DataManifest):
        remedy = "Choose a target that writes files."
        raise errors.DataError("The run has handed on no files", subject=leg.runtime, remedy=remedy)
    batches = read_manifest(result.output, store, columns)
    if leg.work == "predict":
        return results.explain_quality(source.rows, *learning.evaluate_predictions(batches))
    return results.explain_difference(source, fingerprint.compute_fingerprint(batches, columns))


def read_manifest(
    manifest: contracts.DataManifest, store: object_store.Store, columns: Sequence[tables.Column]
) -> Iterator[pa.RecordBatch]:
    readers = {"parquet": _read_parquet, "jsonl": _read_jsonl, "csv": _read_csv}
    if manifest.format not in readers:
        raise errors.DataError(
            f"Files of the format {manifest.format} cannot be compared",
            subject="format",
            remedy=f"Choose a target that writes {', '.join(readers)}.",
        )
    for file in contracts.list_files(manifest):
        try:
            with fsspec.open(f"{manifest.uri}/{file.path}", "rb", **store.options) as stream:
                yield from readers[manifest.format](stream, columns)
        except (pa.ArrowInvalid, ValueError) as error:
            raise errors.DataError(
                f"{file.path} cannot be read: {str(error).splitlines()[0][:200]}",
                subject=file.path,
                remedy="Look at what its target has written.",
            ) from None


def _read_parquet(stream: Any, columns: Sequence[tables.Column]) -> Iterator[pa.RecordBatch]:
    yield from pq.ParquetFile(stream).iter_batches(BATCH_ROWS)


def _read_csv(stream: Any, columns: Sequence[tables.Column]) -> Iterator[pa.RecordBatch]:
    options = pa_csv.ConvertOptions(
        column_types={column.name: pa.string() for column in columns}, strings_can_be_null=True
    )
    yield from pa_csv.open_csv(stream, convert_options=options)


def _read_jsonl(stream: Any, columns: Sequence[tables.Column]) -> Iterator[pa.RecordBatch]:
    head = [line for line, _ in zip(stream, range(SNIFFED_LINES), strict=False)]
    stream.seek(0)
    schema = pa.schema([(column.name, _choose_json_type(column, head)) for column in columns])
    parse = pa_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    yield from pa_json.open_json(stream, pa_json.ReadOptions(block_size=JSON_BLOCK), parse)


def _choose_json_type(column: tables.Column, head: Sequence[bytes]) -> pa.DataType:
    """Points in time are texts; a decimal is a number, or a text of it."""
    if column.kind in ("date", "timestamp", "timestamptz", "text"):
        return pa.string()
    values = (json.loads(line).get(column.name) for line in head)
    if any(isinstance(value, str) for value in values):
        return pa.string()
    return pa.float64() if column.kind == "decimal" else fingerprint.ARROW_TYPES[column.kind]


def remove_output(
    leg: legs.Leg, result: contracts.StepResult | None, place: database.Database, store: object_store.Store
) -> None:
    """Takes away what the run has written: the next one is not to find it, and a disk is not to fill."""
    if leg.work == "load":
        with database.open_session(place) as connection:
            database.drop_table(connection, leg.loaded, leg.table)
    elif result and result.output:
        uri = result.output.uri
        # Beside a model lie the checkpoints of its attempt.
        removal.remove_files(store, uri.rpartition("/")[0] if leg.work == "train" else uri)
    if result:
        version = f"{result.execution_key}-{result.attempt}"
        for entry in catalog.list_entries(store, "data"):
            if entry.version == version:
                removal.remove_files(store, entry.uri)
