# requirements: flexcore_base
# py: ==3.11.*
"""Predictions for a whole stream as a job, and what the job tells as a data manifest."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

import f.flexcore.ray.on_ray_app as on_ray_app
import f.flexcore.ray.on_ray_predict as on_ray_predict
from f.flexcore.core.contracts import DataManifest, File, ModelManifest, StepResult, Stream
from f.flexcore.core.errors import EmptyData, InvalidInput
from f.flexcore.core.identity import ExecutionKey
from f.flexcore.core.manifests import check_consistent, checksum_of, schema_hash, stream_named
from f.flexcore.core.resources import Form, Settings
from f.flexcore.ray.capacity import Needs
from f.flexcore.ray.jobs import Finished, Job, step_result
from f.flexcore.ray.requests import Packages
from f.flexcore.ray.shipping import program_files, requires, storage_of
from f.flexcore.ray.training import MODULES, modules_of
from f.flexcore.storage.store import Store

PROGRAM = "from f.flexcore.ray.on_ray_predict import run\n\nresult = run(parameters, storage)\n"
STREAM = "predictions"


class PredictRequest(Form):
    """keep: columns of the data that stand beside the prediction; none means all of them."""

    stream: str = ""
    keep: list[str] = []
    format: Literal["parquet", "csv", "jsonl"] = "parquet"
    num_workers: int = Field(default=1, ge=1)
    cpus_per_worker: float = Field(default=1, gt=0)
    packages: Packages = []
    timeout_s: int = Field(default=3600, ge=1)


def predict_job(
    request: PredictRequest, model: ModelManifest, source: DataManifest, store: Store, settings: Settings,
    key: ExecutionKey,
) -> Job:  # fmt: skip
    """Raises InvalidInput, EmptyData or ManifestMismatch for what can be seen without data."""
    check_consistent(source)
    check_consistent(model)
    if model.format != "sklearn-joblib":
        raise InvalidInput(
            f"A model of the form {model.format} cannot be used here",
            subject="model",
            remedy="Choose one that ray/train has made.",
        )
    stream = next(item for item in source.streams if item.name == stream_named(source, request.stream))
    if stream.rows == 0 or not stream.files:
        raise EmptyData(f"The stream {stream.name!r} is empty", subject="data", remedy="Extract data first.")
    probe = store.uri(key.value, "shared.json")
    if store.local:
        store.write_json(probe, {"key": key.value})
    parameters = {
        "source": {"uri": source.uri, "format": source.format, "files": [item.model_dump() for item in stream.files]}
        | {"columns": stream.columns},
        "model": model.model_dump(mode="json", include={"name", "version", "uri", "files", "signature"}),
        "requires": requires(*modules_of(model.framework.name.removesuffix("-cpu"))),
        **request.model_dump(include={"keep", "format", "num_workers", "cpus_per_worker"}),
    }
    return Job(
        kind="predict",
        files=program_files([*MODULES, on_ray_app, on_ray_predict], PROGRAM),
        parameters=parameters,
        storage=storage_of(settings, store.root, probe),
        packages=request.packages,
        needs=Needs(cpus=request.cpus_per_worker, subject="cpus_per_worker"),
        timeout_s=request.timeout_s,
    )


def predicted(key: ExecutionKey, done: Finished, model: ModelManifest) -> StepResult:
    """The result of the step: the predictions as data, which any later stage takes."""
    told = done.result
    files = [File.model_validate(item) for item in told["files"]]
    size, rows, hashed = sum(item.bytes for item in files), told["rows"], schema_hash(told["columns"])
    stream = Stream(
        name=STREAM, rows=rows, bytes=size, columns=told["columns"], schema_hash=hashed, files=files
    )  # fmt: skip
    manifest = DataManifest(
        uri=told["uri"],
        format=told["format"],
        bytes=size,
        rows=rows,
        schema_hash=hashed,
        checksum=checksum_of(files),
        streams=[stream],
    )
    data = {"model": f"{model.name}:{model.version}", "packages": done.packages, "notes": told.get("notes") or []}
    return step_result(key, done, output=manifest, metrics={"rows": rows}, data=data)
