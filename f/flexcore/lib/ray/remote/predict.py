# requirements: flexcore_base
"""Predicts a value for every row of a stream, as a Ray job on Ray Data. Shipped as source.

Each worker brings the model from the store once, verified, and answers batch by batch. What was predicted goes beside
the row's columns, as files of the store.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from typing import Any

from f.flexcore.lib.ray.remote import (
    column_kinds,
    dataset,
    inference_app,
    read,
    served_versions,
    shared_storage,
    stream_profile,
    training_data,
)

Json = dict[str, Any]
# Rows for a call of the model: enough to be fast, small beside a worker's memory.
BATCH_ROWS = 4096
NUMERIC = ("FP64", "INT64", "BOOL")
PREDICTION, CERTAINTY = "prediction", "probability"


class Predictor:
    """One worker's model. Called with parts of a stream, yields tables of what is kept and what is predicted.
    types: the columns to keep, each with its type."""

    def __init__(self, model: Json, storage: Json, types: Json) -> None:
        inputs = model["signature"]["inputs"]
        self.pipeline, self.types = inference_app.load_model(model, storage), types
        times = find_time_features(self.pipeline)
        self.features = {
            item["name"]: "number" if item["datatype"] in NUMERIC else "time" if item["name"] in times else "category"
            for item in inputs
        }

    def __call__(self, batch: Any) -> Iterator[Any]:
        for item in batch.to_pylist():
            table = read.open_part(item["table"])
            for start in range(0, table.num_rows, BATCH_ROWS):
                yield self.answer(table.slice(start, BATCH_ROWS))

    def answer(self, table: Any) -> Any:
        import pandas as pd
        import pyarrow as pa

        arrays = {name: dataset.to_arrow(table, name, kind) for name, kind in self.features.items()}
        frame = pd.DataFrame({name: array.to_pandas() for name, array in arrays.items()})
        rows = dataset.make_frame(frame, self.features)
        kept = {name: convert_column(table, name, kind) for name, kind in self.types.items()}
        predicted = {PREDICTION: pa.array(self.pipeline.predict(rows), from_pandas=True)}
        if hasattr(self.pipeline, "predict_proba"):
            predicted[CERTAINTY] = pa.array(self.pipeline.predict_proba(rows).max(axis=1), from_pandas=True)
        return pa.table({**kept, **predicted})


def find_time_features(pipeline: Any) -> set[str]:
    """The inputs that a trained pipeline takes for points in time."""
    return {columns for _, _, columns in pipeline.named_steps["columns"].transformers if isinstance(columns, str)}


def choose_column_types(stream: stream_profile.Stream, schemas: list[Any], source: Json, form: str) -> Json:
    """The type of each column: that of all its parts, one that holds them all, or text. Text of a CSV file is what all
    of it can be read as, unless the extraction declared it text."""
    import pyarrow as pa

    chosen = {}
    for name, column in stream.columns.items():
        fields = [schema.field(name) for schema in schemas if name in schema.names]
        kinds = list(dict.fromkeys(item.type for item in fields if not pa.types.is_null(item.type)))
        if read.detect_format(source) == "csv" and source["columns"].get(name) != "string":
            kinds = [choose_csv_type(column)]
        if len(kinds) > 1 and all(pa.types.is_integer(item) or pa.types.is_floating(item) for item in kinds):
            whole = all(pa.types.is_integer(item) for item in kinds)
            kinds = [pa.int64() if whole and pa.uint64() not in kinds else pa.string() if whole else pa.float64()]
        chosen[name] = kinds[0] if len(kinds) == 1 else pa.string()
        if form == "csv" and column_kinds.classify_type(chosen[name]) not in ("number", "flag", "time", "text"):
            # A cell of a CSV file holds no more.
            chosen[name] = pa.string()
    return chosen


def choose_csv_type(column: Json) -> Any:
    import pyarrow as pa

    if not column["values"]:
        return pa.string()
    if column["integer"]:
        return pa.int64()
    return pa.float64() if column["numeric"] else pa.bool_() if column["flag"] else pa.string()


def convert_column(table: Any, name: str, kind: Any) -> Any:
    """A column of a part in the type of the whole column."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if name not in table.column_names:
        return pa.nulls(table.num_rows, kind)
    column = table[name].combine_chunks()
    if column.type == kind:
        return column
    if pa.types.is_string(kind):
        return to_text(column)
    if pa.types.is_string(column.type):
        column = column_kinds.to_texts(pc.utf8_trim_whitespace(column))
    return pc.cast(column, kind, safe=False)


def to_text(column: Any) -> Any:
    """Text as it is, without a thought of which values stand for a missing one."""
    import pyarrow as pa

    column = column_kinds.normalize(column)
    return column if pa.types.is_string(column.type) else column_kinds.to_texts(column)


def run(parameters: Json, storage: Json) -> Json:
    """{uri, format, rows, columns, files}: what was written."""
    training_data.check_packages(parameters["requires"])
    versions = served_versions.check_versions(parameters["model"], parameters["requirements"])
    import pyarrow as pa

    store = shared_storage.RemoteStore(storage)
    store.check_shared()
    source, model = parameters["source"], parameters["model"]
    store.verify(source["uri"], source["files"])
    store.verify(model["uri"], model["files"])
    os.environ.update(training_data.FAST_SETTINGS)
    cpus = choose_reading_cpus(training_data.connect(), float(parameters["cpus_per_worker"]))
    inputs = [item["name"] for item in model["signature"]["inputs"]]
    wanted = list(dict.fromkeys([*inputs, *parameters["keep"]])) if parameters["keep"] else None
    try:
        parts, stream = training_data.read_parts(source, store, wanted, cpus)
        check_columns(stream, model, parameters["keep"])
        schemas = [
            pa.ipc.read_schema(pa.py_buffer(item["schema"])) for item in parts.select_columns(["schema"]).take_all()
        ]
        types = choose_column_types(stream, schemas, source, parameters["format"])
        kept = parameters["keep"] or list(types)
        predicted = parts.map_batches(
            Predictor,
            fn_constructor_args=[model, storage, {name: types[name] for name in kept}],
            batch_format="pyarrow",
            batch_size=1,
            concurrency=(1, int(parameters["num_workers"])),
            num_cpus=float(parameters["cpus_per_worker"]),
        ).materialize()
    except shared_storage.Problem:
        raise
    except Exception as error:
        raise training_data.reading_problem(error) from None
    uri = f"{storage['folder']}/predictions"
    write_predictions(predicted, parameters["format"], store, uri)
    twice = [f"{name} is left out: {where}" for name, where in stream.twice.items()]
    mixed = [
        f"{name} holds values of several types; it is written as text"
        for name in kept
        if stream_profile.is_mixed(stream.columns[name]) and pa.types.is_string(types[name])
    ]
    return {
        "uri": uri,
        "format": parameters["format"],
        "rows": predicted.count(),
        "columns": describe_types(predicted, kept),
        "files": list_files(store, uri),
        "notes": [*versions, *stream.notes, *twice, *mixed],
    }


def choose_reading_cpus(cpus: float, taken: float) -> float:
    """None where a worker with the model leaves none: a reader that waits for it would wait for ever."""
    import ray

    total: Any = ray.cluster_resources
    return cpus if total().get("CPU", 0) >= taken + cpus else 0.0


def check_columns(stream: stream_profile.Stream, model: Json, keep: list[str]) -> None:
    """Raises InvalidInput for data without the model's columns, or without one that is to be kept."""
    wanted = [item["name"] for item in model["signature"]["inputs"]]
    for name in [*wanted, *keep]:
        stream_profile.check_single(name, stream, "keep" if name in keep else "data")
    columns = list(stream.columns)
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise shared_storage.Problem(
            "InvalidInput",
            f"The data lacks the columns {', '.join(missing)} of the model {model['name']}",
            "data",
            f"Extract them too, or choose another stream or model. {stream_profile.describe_columns(stream.names)}",
        )
    for name in keep:
        stream_profile.check_known(name, stream.names, "keep")
    taken = [name for name in (PREDICTION, CERTAINTY) if name in (keep or columns)]
    if taken:
        raise shared_storage.Problem(
            "InvalidInput", f"The data has a column {taken[0]} itself", "keep", "Keep other columns."
        )


def write_predictions(predicted: Any, form: str, store: shared_storage.RemoteStore, uri: str) -> None:
    folder = store.path(uri)
    if store.local:
        store.fs.create_dir(folder, recursive=True)
    options: Json = {"filesystem": store.fs}
    if form == "csv":
        predicted.write_csv(folder, **options)
    elif form == "jsonl":
        predicted.write_json(folder, **options, pandas_json_args_fn=lambda: {"lines": True})
    else:
        predicted.write_parquet(folder, **options)


def list_files(store: shared_storage.RemoteStore, uri: str) -> list[Json]:
    """What lies in the folder, as a manifest lists it."""
    from pyarrow.fs import FileSelector, FileType

    folder = store.path(uri)
    files = []
    for info in store.fs.get_file_info(FileSelector(folder, recursive=True)):
        if info.type == FileType.File:
            name = posixpath.relpath(info.path, folder)
            files.append({"path": name, "bytes": info.size, "checksum": store.checksum(f"{uri}/{name}")})
    return sorted(files, key=lambda item: str(item["path"]))


def describe_types(predicted: Any, kept: list[str]) -> dict[str, str]:
    """Column → JSON type, of those that a later stage can rely on."""
    kinds = {"int": "integer", "float": "number", "double": "number", "bool": "boolean", "string": "string"}
    schema = predicted.schema()
    names = dict(zip(schema.names, map(str, schema.types), strict=True))
    types = {}
    for name in [*kept, PREDICTION, CERTAINTY]:
        kind = next((word for start, word in kinds.items() if names.get(name, "").lstrip("u").startswith(start)), None)
        if kind:
            types[name] = kind
    return types
