# requirements: flexcore_base
"""Predicts a value for every row of a stream, as a Ray job on Ray Data. Shipped as source.

Each worker brings the model from the store once, verified, and answers batch by batch. What was predicted goes beside
the row's columns, as files of the store: parts first, and what makes them an output last (see prediction_output). With
an id of the rows a repeat goes on where the last attempt ended (see prediction_resume).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from f.flexcore.lib.ray.remote import (
    inference_app,
    prediction_output,
    prediction_resume,
    prediction_rows,
    read,
    served_versions,
    shared_storage,
    stream_profile,
    training_data,
)

Json = dict[str, Any]
# Rows for a call of the model: enough to be fast, small beside a worker's memory.
BATCH_ROWS = 4096


class Predictor:
    """One worker's model. Called with parts of a stream, yields tables of what is kept and what is predicted.
    types: the columns to keep, each with its type."""

    def __init__(self, model: Json, storage: Json, types: Json) -> None:
        self.pipeline, self.types = inference_app.load_model(model, storage), types
        self.features = prediction_rows.list_features(model, self.pipeline)

    def __call__(self, batch: Any) -> Iterator[Any]:
        for item in batch.to_pylist():
            table = read.open_part(item["table"])
            for start in range(0, table.num_rows, BATCH_ROWS):
                rows = prediction_rows.prepare(table.slice(start, BATCH_ROWS), self.features, self.types)
                yield prediction_rows.answer(self.pipeline, rows)


class RowPredictor:
    """One worker's model. Called with rows that are prepared, yields what is kept of them and what is predicted."""

    def __init__(self, model: Json, storage: Json) -> None:
        self.pipeline = inference_app.load_model(model, storage)

    def __call__(self, rows: Any) -> Any:
        return prediction_rows.answer(self.pipeline, rows)


def run(parameters: Json, storage: Json) -> Json:
    """{uri, format, rows, columns, files, notes, resumed_rows}: what was written."""
    training_data.check_packages(parameters["requires"])
    versions = served_versions.check_versions(parameters["model"], parameters["requirements"])
    store = shared_storage.RemoteStore(storage)
    store.check_shared()
    output = prediction_output.Output(store, storage["folder"], parameters)
    published = output.find_published()
    if published:
        print("An earlier attempt has published the predictions already")
        return published
    source, model = parameters["source"], parameters["model"]
    store.verify(source["uri"], source["files"])
    store.verify(model["uri"], model["files"])
    os.environ.update(training_data.FAST_SETTINGS)
    cpus = choose_reading_cpus(training_data.connect(), float(parameters["cpus_per_worker"]))
    try:
        predicted = predict(parameters, storage, store, output, cpus)
    except shared_storage.Problem:
        raise
    except Exception as error:
        raise training_data.reading_problem(error) from None
    predicted["notes"] = [*versions, *predicted["notes"]]
    return output.publish(**predicted)


def predict(
    parameters: Json, storage: Json, store: shared_storage.RemoteStore, output: prediction_output.Output, cpus: float
) -> Json:
    """Writes the parts of the output; returns what is to be published with them."""
    import pyarrow as pa

    source, model, id_column = parameters["source"], parameters["model"], parameters["id_column"]
    inputs = [item["name"] for item in model["signature"]["inputs"]]
    keep = list(dict.fromkeys([*([id_column] if id_column else []), *parameters["keep"]])) if parameters["keep"] else []
    wanted = list(dict.fromkeys([*inputs, *keep])) if keep else None
    parts, stream = training_data.read_parts(source, store, wanted, cpus)
    check_columns(stream, model, keep, id_column)
    schemas = [pa.ipc.read_schema(pa.py_buffer(item["schema"])) for item in parts.select_columns(["schema"]).take_all()]
    types = prediction_rows.choose_column_types(stream, schemas, source, parameters["format"])
    kept = keep or list(types)
    types = {name: types[name] for name in kept}
    workers: Json = {
        "batch_format": "pyarrow",
        "concurrency": (1, int(parameters["num_workers"])),
        "num_cpus": float(parameters["cpus_per_worker"]),
        **training_data.placement_options(parameters),
    }
    resumed = 0
    if id_column:
        prediction_resume.check_ids(parts, id_column, types[id_column], cpus)
        pipeline = inference_app.load_model(model, storage)
        features, is_certain = prediction_rows.list_features(model, pipeline), hasattr(pipeline, "predict_proba")
        resumed = prediction_resume.start(output, id_column)
        rows = prediction_resume.read_rows(parts, features, types, int(parameters["checkpoint_rows"]), cpus)
        predicted = rows.map_batches(
            RowPredictor, fn_constructor_args=[model, storage], batch_size=BATCH_ROWS, **workers
        )
    else:
        output.clear()
        predicted = parts.map_batches(
            Predictor, fn_constructor_args=[model, storage, types], batch_size=1, **workers
        ).materialize()
        is_certain = prediction_rows.CERTAINTY in predicted.schema().names
    write_predictions(predicted, parameters["format"], store, output.parts)
    twice = [f"{name} is left out: {where}" for name, where in stream.twice.items()]
    mixed = [
        f"{name} holds values of several types; it is written as text"
        for name in kept
        if stream_profile.is_mixed(stream.columns[name]) and pa.types.is_string(types[name])
    ]
    return {
        "rows": stream.rows,
        "columns": describe_types(types, model, is_certain),
        "notes": [*stream.notes, *twice, *mixed],
        "resumed_rows": resumed,
    }


def choose_reading_cpus(cpus: float, taken: float) -> float:
    """None where a worker with the model leaves none: a reader that waits for it would wait for ever."""
    import ray

    total: Any = ray.cluster_resources
    return cpus if total().get("CPU", 0) >= taken + cpus else 0.0


def check_columns(stream: stream_profile.Stream, model: Json, keep: list[str], id_column: str) -> None:
    """Raises InvalidInput for data without the model's columns, or without one that is to be kept."""
    wanted = [item["name"] for item in model["signature"]["inputs"]]
    if id_column:
        stream_profile.check_known(id_column, stream.names, "id_column")
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
    taken = [name for name in (prediction_rows.PREDICTION, prediction_rows.CERTAINTY) if name in (keep or columns)]
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


def describe_types(types: Json, model: Json, is_certain: bool) -> dict[str, str]:
    """Column → JSON type, of those that a later stage can rely on."""
    words = {"int": "integer", "float": "number", "double": "number", "bool": "boolean", "string": "string"}
    datatypes = {"FP64": "double", "INT64": "int", "BOOL": "bool", "BYTES": "string"}
    output = model["signature"]["outputs"][0]["datatype"]
    names = {**{name: str(kind) for name, kind in types.items()}, prediction_rows.PREDICTION: datatypes.get(output, "")}
    names.update({prediction_rows.CERTAINTY: "double"} if is_certain else {})
    described = {}
    for name, kind in names.items():
        word = next((word for start, word in words.items() if kind.lstrip("u").startswith(start)), None)
        if word:
            described[name] = word
    return described
