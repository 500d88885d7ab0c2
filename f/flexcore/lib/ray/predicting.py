# requirements: flexcore_base
"""Predictions for a whole stream as a job, and what the job tells as a data manifest."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from f.flexcore.lib.core import contracts, errors, identity, manifests, resources
from f.flexcore.lib.ray import capacity, job_requests, jobs, packaging, training
from f.flexcore.lib.ray.remote import inference_app, predict
from f.flexcore.lib.storage import object_store

PROGRAM = "from f.flexcore.lib.ray.remote.predict import run\n\nresult = run(parameters, storage)\n"
STREAM = "predictions"


class PredictRequest(resources.Form):
    """keep: columns of the data that stand beside the prediction; none means all of them."""

    stream: str = ""
    keep: list[str] = []
    format: Literal["parquet", "csv", "jsonl"] = "parquet"
    num_workers: int = Field(default=1, ge=1)
    cpus_per_worker: float = Field(default=1, gt=0)
    packages: job_requests.Packages = []
    timeout_s: int = Field(default=3600, ge=1)


def predict_job(
    request: PredictRequest,
    model: contracts.ModelManifest,
    source: contracts.DataManifest,
    store: object_store.Store,
    settings: resources.Settings,
    key: identity.ExecutionKey,
) -> jobs.Job:
    """Raises InvalidInput, EmptyData or ManifestMismatch for what can be seen without data."""
    manifests.check_consistent(source)
    manifests.check_consistent(model)
    if model.format != "sklearn-joblib":
        raise errors.InvalidInput(
            f"A model of the form {model.format} cannot be used here",
            subject="model",
            remedy="Choose one that ray/train has made.",
        )
    stream = next(item for item in source.streams if item.name == manifests.stream_named(source, request.stream))
    if stream.rows == 0 or not stream.files:
        raise errors.EmptyData(f"The stream {stream.name!r} is empty", subject="data", remedy="Extract data first.")
    probe = store.uri(key.value, "shared.json")
    if store.local:
        store.write_json(probe, {"key": key.value})
    parameters = {
        "source": {"uri": source.uri, "format": source.format, "files": [item.model_dump() for item in stream.files]}
        | {"columns": stream.columns},
        "model": model.model_dump(mode="json", include={"name", "version", "uri", "files", "signature"}),
        "requires": packaging.requires(*training.modules_of(model.framework.name.removesuffix("-cpu"))),
        **request.model_dump(include={"keep", "format", "num_workers", "cpus_per_worker"}),
    }
    return jobs.Job(
        kind="predict",
        files=packaging.program_files([*training.MODULES, inference_app, predict], PROGRAM),
        parameters=parameters,
        storage=packaging.storage_of(settings, store.root, probe),
        packages=request.packages,
        needs=capacity.Needs(cpus=request.cpus_per_worker, subject="cpus_per_worker"),
        timeout_s=request.timeout_s,
    )


def predicted(key: identity.ExecutionKey, done: jobs.Finished, model: contracts.ModelManifest) -> contracts.StepResult:
    """The result of the step: the predictions as data, which any later stage takes."""
    told = done.result
    files = [contracts.File.model_validate(item) for item in told["files"]]
    size, rows, hashed = sum(item.bytes for item in files), told["rows"], manifests.schema_hash(told["columns"])
    stream = contracts.Stream(
        name=STREAM, rows=rows, bytes=size, columns=told["columns"], schema_hash=hashed, files=files
    )
    manifest = contracts.DataManifest(
        uri=told["uri"],
        format=told["format"],
        bytes=size,
        rows=rows,
        schema_hash=hashed,
        checksum=manifests.checksum_of(files),
        streams=[stream],
    )
    data = {"model": f"{model.name}:{model.version}", "packages": done.packages, "notes": told.get("notes") or []}
    return jobs.step_result(key, done, output=manifest, metrics={"rows": rows}, data=data)
