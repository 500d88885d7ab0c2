# requirements: flexcore_base
# py: ==3.11.*
"""Predicts a value for every row of a stream, as a Ray job on Ray Data. Shipped as source.

Each worker brings the model from the store once, verified, and answers batch by batch. What was predicted goes beside
the row's columns, as files of the store.
"""

from __future__ import annotations

import os
import posixpath
from typing import Any

import f.flexcore.ray.on_ray_table as tables
import f.flexcore.ray.on_ray_train as training
from f.flexcore.ray.on_ray_app import load
from f.flexcore.ray.on_ray_store import Problem, RemoteStore

Json = dict[str, Any]
# Rows for a call of the model: enough to be fast, small beside a worker's memory.
BATCH = 4096
KINDS = {"FP64": "number", "INT64": "number", "BOOL": "flag", "BYTES": "category"}
PREDICTION, CERTAINTY = "prediction", "probability"


class Predictor:
    """One worker's model. Called with batches as pandas tables."""

    def __init__(self, model: Json, storage: Json, keep: list[str]) -> None:
        self.features = {item["name"]: KINDS[item["datatype"]] for item in model["signature"]["inputs"]}
        self.pipeline, self.keep = load(model, storage), keep

    def __call__(self, batch: Any) -> Any:
        import pandas as pd

        rows = pd.DataFrame({name: tables.typed(batch[name], kind) for name, kind in self.features.items()})
        answer = batch[self.keep].copy() if self.keep else batch.copy()
        answer[PREDICTION] = self.pipeline.predict(rows)
        if hasattr(self.pipeline, "predict_proba"):
            answer[CERTAINTY] = self.pipeline.predict_proba(rows).max(axis=1)
        return answer


def run(parameters: Json, storage: Json) -> Json:
    """{uri, format, rows, columns, files}: what was written."""
    training.check_packages(parameters["requires"])
    store = RemoteStore(storage)
    store.check_shared()
    source, model = parameters["source"], parameters["model"]
    store.verify(source["uri"], source["files"])
    store.verify(model["uri"], model["files"])
    os.environ.update(training.QUICK)
    cpus = reading_cpus(training.connect(), float(parameters["cpus_per_worker"]))
    try:
        rows = tables.read(source, store, None, cpus)
        columns = list(rows.columns() or [])
        check_columns(columns, model, parameters["keep"])
        predicted = rows.map_batches(
            Predictor,
            fn_constructor_args=[model, storage, parameters["keep"]],
            batch_format="pandas",
            batch_size=BATCH,
            concurrency=(1, int(parameters["num_workers"])),
            num_cpus=float(parameters["cpus_per_worker"]),
        ).materialize()
    except Problem:
        raise
    except Exception as error:
        raise cause_of(error) from None
    uri = f"{storage['folder']}/predictions"
    write(predicted, parameters["format"], store, uri)
    kept = parameters["keep"] or columns
    return {
        "uri": uri,
        "format": parameters["format"],
        "rows": predicted.count(),
        "columns": types_of(predicted, kept),
        "files": files_of(store, uri),
    }


def reading_cpus(cpus: float, taken: float) -> float:
    """None where a worker with the model leaves none: a reader that waits for it would wait for ever."""
    import ray

    total: Any = ray.cluster_resources
    return cpus if total().get("CPU", 0) >= taken + cpus else 0.0


def check_columns(columns: list[str], model: Json, keep: list[str]) -> None:
    """Raises InvalidInput for data without the model's columns, or without one that is to be kept."""
    wanted = [item["name"] for item in model["signature"]["inputs"]]
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise Problem(
            "InvalidInput",
            f"The data lacks the columns {', '.join(missing)} of the model {model['name']}",
            "data",
            f"Extract them too, or choose another stream or model. The data has: {', '.join(columns)}.",
        )
    for name in keep:
        tables.check_known(name, columns, "keep")
    taken = [name for name in (PREDICTION, CERTAINTY) if name in (keep or columns)]
    if taken:
        raise Problem("InvalidInput", f"The data has a column {taken[0]} itself", "keep", "Keep other columns.")


def write(predicted: Any, form: str, store: RemoteStore, uri: str) -> None:
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


def files_of(store: RemoteStore, uri: str) -> list[Json]:
    """What lies in the folder, as a manifest lists it."""
    from pyarrow.fs import FileSelector, FileType

    folder = store.path(uri)
    found = []
    for info in store.fs.get_file_info(FileSelector(folder, recursive=True)):
        if info.type == FileType.File:
            name = posixpath.relpath(info.path, folder)
            found.append({"path": name, "bytes": info.size, "checksum": store.checksum(f"{uri}/{name}")})
    return sorted(found, key=lambda item: str(item["path"]))


def types_of(predicted: Any, kept: list[str]) -> dict[str, str]:
    """Column → JSON type, of those that a later stage can rely on."""
    kinds = {"int": "integer", "float": "number", "double": "number", "bool": "boolean", "string": "string"}
    schema = predicted.schema()
    names = dict(zip(schema.names, map(str, schema.types), strict=True))
    told = {}
    for name in [*kept, PREDICTION, CERTAINTY]:
        kind = next((word for start, word in kinds.items() if names.get(name, "").lstrip("u").startswith(start)), None)
        if kind:
            told[name] = kind
    return told


def cause_of(error: BaseException) -> Problem:
    """What a worker raised, out of Ray Data's wrapping."""
    for cause in training.causes(error):
        if isinstance(cause, Problem):
            return cause
    return training.unreadable(error)
