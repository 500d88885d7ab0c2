# requirements: flexcore_base
"""The files of a stream as parts that no type has to be agreed on for. Shipped as source.

    read(source, columns) → one row per part: {file, part, facts (JSON), schema, table (as an Arrow stream)}

A part is some megabytes of one file. Its table has the types that are in these rows; what the whole column is, is
decided from all parts' profiles (see stream_profile). So a column may be null in one file and text in another, or hold
both, and a column that is not needed cannot stop anything. What makes a file unreadable is reported with its line, as a
fact of its part: the first one in the order of the files counts.

facts: {rows, profile: column → profile, columns: all names, twice: column → where, notes, error, name: of the file}
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from f.flexcore.lib.ray.remote import csv_files, file_blocks, json_files, shared_storage
from f.flexcore.lib.serving import column_kinds

Json = dict[str, Any]
# Rows of a Parquet part, of which the bytes are not known before.
MAX_BLOCK_ROWS = 200_000


def read(source: Json, store: shared_storage.RemoteStore, columns: list[str] | None, cpus: float) -> Any:
    """The parts of all files as a dataset in memory; `columns` None reads them all."""
    import ray.data

    form = detect_format(source)
    declared = [name for name, kind in source["columns"].items() if kind == "string"]
    items = [
        {"number": number, "uri": f"{source['uri']}/{item['path']}", "name": item["path"]}
        for number, item in enumerate(source["files"])
    ]
    files = ray.data.from_items(items, override_num_blocks=len(items))
    return files.map_batches(
        Parts(store.storage, form, columns, declared), batch_format="pyarrow", batch_size=1, num_cpus=cpus
    ).materialize()


def detect_format(source: Json) -> str:
    """parquet, csv or jsonl, by the manifest or else by the files' names."""
    names = [source["format"].lower(), *(item["path"].lower() for item in source["files"][:1])]
    for form, words in {"parquet": ("parquet",), "csv": ("csv",), "jsonl": ("json", "singer")}.items():
        if any(word in name for word in words for name in names):
            return form
    raise shared_storage.Problem(
        "InvalidInput",
        f"The data's format {source['format']!r} cannot be read",
        "source.format",
        "Extract with a target that writes jsonl, csv or parquet.",
    )


class Parts:
    """Called with one file, yields its parts; a failure is a last part that says so."""

    def __init__(self, storage: Json, form: str, columns: list[str] | None, declared: list[str]) -> None:
        self.storage, self.form, self.columns, self.declared = storage, form, columns, declared

    def __call__(self, batch: Any) -> Iterator[Any]:
        for item in batch.to_pylist():
            number = 0
            try:
                for number, (table, facts) in enumerate(self.tables(item)):
                    yield make_part(item, number, table, facts)
            except Exception as error:
                yield make_part(item, number + 1, None, {"error": to_problem(error, item["name"]).flexcore})

    def tables(self, item: Json) -> Iterator[tuple[Any, Json]]:
        store = shared_storage.RemoteStore(self.storage)
        path, name = store.path(item["uri"]), item["name"]
        if self.form == "parquet":
            yield from read_parquet_tables(store.fs, path, name, self.columns)
        elif self.form == "csv":
            yield from csv_files.read_csv_tables(store.fs, path, name, self.columns)
        else:
            yield from json_files.read_json_tables(store.fs, path, name, self.columns, self.declared)


def make_part(item: Json, part: int, table: Any, facts: Json) -> Any:
    import pyarrow as pa

    facts = {"rows": 0, "profile": {}, "columns": [], "twice": {}, "notes": [], "error": None, **facts}
    facts["name"], content, schema = item["name"], b"", b""
    if table is not None:
        facts["rows"] = table.num_rows
        facts["profile"] = {
            field.name: column_kinds.profile_column(table[field.name], file_blocks.get_mark(field))
            for field in table.schema
        }
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        content, schema = sink.getvalue().to_pybytes(), table.schema.serialize().to_pybytes()
    return pa.table(
        {
            "file": pa.array([item["number"]], pa.int64()),
            "part": pa.array([part], pa.int64()),
            "facts": pa.array([json.dumps(facts)], pa.string()),
            "schema": pa.array([schema], pa.large_binary()),
            "table": pa.array([content], pa.large_binary()),
        }
    )


def open_part(content: bytes) -> Any:
    """The table of a part; None when the part says only that its file cannot be read."""
    import pyarrow as pa

    return pa.ipc.open_stream(content).read_all() if content else None


def to_problem(error: Exception, name: str) -> shared_storage.Problem:
    """What is wrong with a file, without a word of what stands in it."""
    if isinstance(error, shared_storage.Problem):
        return error
    text = (str(error).splitlines() or [""])[0]
    if "AWS Error" in text or isinstance(error, (FileNotFoundError, PermissionError)):
        remedy = "Check that the store can be reached from the Ray nodes, then run again."
        return shared_storage.Problem(
            "Unreachable", f"{name} cannot be read from the store: {text[:300]}", name, remedy
        )
    return shared_storage.Problem(
        "DataError",
        f"{name} cannot be read: {type(error).__name__}: {text[:300]}",
        name,
        "Check that the file is whole and of the format that its name says.",
    )


def read_parquet_tables(fs: Any, path: str, name: str, columns: list[str] | None) -> Iterator[tuple[Any, Json]]:
    import pyarrow as pa
    import pyarrow.parquet

    with fs.open_input_file(path) as stream:
        try:
            file = pa.parquet.ParquetFile(stream)
        except (pa.ArrowInvalid, OSError) as error:
            if "AWS Error" in str(error):
                raise
            message = f"{name} is not a Parquet file: {str(error).splitlines()[0][:200]}"
            raise shared_storage.Problem("DataError", message, name, "Check that the file is whole.") from None
        names = file.schema_arrow.names
        twice = {
            item: f"{name} has {names.count(item)} columns of this name"
            for item in dict.fromkeys(names)
            if names.count(item) > 1 and (columns is None or item in columns)
        }
        facts = {"columns": names, "twice": twice}
        take = [item for item in names if item and names.count(item) == 1 and (columns is None or item in columns)]
        if not take:
            yield file_blocks.make_empty_columns(file.metadata.num_rows), facts
            return
        for batch in file.iter_batches(MAX_BLOCK_ROWS, columns=take, use_threads=False):
            yield pa.Table.from_batches([batch]).select(take), facts
