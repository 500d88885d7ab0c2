# requirements: flexcore_base
# py: ==3.11.*
"""A training as a job, and what the job tells as a model manifest."""

from __future__ import annotations

from typing import Any

import f.flexcore.ray.on_ray_columns as on_ray_columns
import f.flexcore.ray.on_ray_estimators as on_ray_estimators
import f.flexcore.ray.on_ray_leakage as on_ray_leakage
import f.flexcore.ray.on_ray_model as on_ray_model
import f.flexcore.ray.on_ray_read as on_ray_read
import f.flexcore.ray.on_ray_split as on_ray_split
import f.flexcore.ray.on_ray_store as on_ray_store
import f.flexcore.ray.on_ray_table as on_ray_table
import f.flexcore.ray.on_ray_train as on_ray_train
from f.flexcore.core.contracts import DataManifest, File, ModelManifest, StepResult
from f.flexcore.core.errors import EmptyData, InvalidInput, validated
from f.flexcore.core.identity import ExecutionKey
from f.flexcore.core.manifests import check_consistent, checksum_of, schema_hash, stream_named
from f.flexcore.core.requests import MlRequest
from f.flexcore.core.resources import Settings
from f.flexcore.ray.capacity import Needs
from f.flexcore.ray.jobs import Finished, Job, step_result
from f.flexcore.ray.requests import Packages
from f.flexcore.ray.shipping import program_files, requires, storage_of
from f.flexcore.storage.store import Store

PROGRAM = "from f.flexcore.ray.on_ray_train import run\n\nresult = run(parameters, storage)\n"
CHECK = 'from f.flexcore.ray.on_ray_train import check_packages\n\ncheck_packages(parameters["requires"])\n'
MODULES = [
    on_ray_store, on_ray_columns, on_ray_read, on_ray_table, on_ray_split, on_ray_leakage, on_ray_estimators,
    on_ray_model, on_ray_train,
]  # fmt: skip
BOOSTERS = {"xgboost": "xgboost", "xgb": "xgboost", "lightgbm": "lightgbm", "lgbm": "lightgbm", "lgb": "lightgbm"}


class TrainRequest(MlRequest):
    """MlRequest with its packages checked."""

    packages: Packages = []


def training_job(
    request: TrainRequest, source: DataManifest, store: Store, settings: Settings, key: ExecutionKey
) -> Job:
    """The job of a training. Raises InvalidInput, EmptyData or ManifestMismatch for what can be seen without data."""
    check_consistent(source)
    stream = next(item for item in source.streams if item.name == stream_named(source, request.stream))
    if stream.rows == 0 or not stream.files:
        raise EmptyData(f"The stream {stream.name!r} is empty", subject="source", remedy="Extract data first.")
    check_columns(request, stream.columns)
    probe = store.uri(key.value, "shared.json")
    if store.local:
        store.write_json(probe, {"key": key.value})
    version = key.value.removeprefix("fc-")[:12]
    parameters = {
        "source": {"uri": source.uri, "format": source.format, "files": [item.model_dump() for item in stream.files]}
        | {"columns": stream.columns},
        "model": {"name": request.model_name, "version": version},
        "requires": requires(*modules_of(request.algorithm)),
        **request.model_dump(exclude={"packages", "stream", "model_name", "timeout_s", "wait", "expected_s"}),
    }
    alone = request.num_workers == 1 and not request.use_gpu
    return Job(
        kind="train",
        files=program_files(MODULES, PROGRAM),
        check=CHECK,
        parameters=parameters,
        storage=storage_of(settings, store.root, probe),
        num_cpus=request.cpus_per_worker if alone else 0,
        packages=request.packages,
        needs=Needs(
            count=request.num_workers,
            cpus=request.cpus_per_worker,
            gpus=float(request.use_gpu),
            subject="use_gpu" if request.use_gpu else "cpus_per_worker" if alone else "num_workers",
        ),
        timeout_s=request.timeout_s,
    )


def modules_of(algorithm: str) -> list[str]:
    booster = BOOSTERS.get(algorithm.lower())
    return ["pandas", "pyarrow", "fsspec", "sklearn", "joblib", "tensorboardX", *([booster] if booster else [])]


def check_columns(request: TrainRequest, columns: dict[str, str]) -> None:
    """Raises InvalidInput for a column that the manifest does not have; a manifest may know of no columns at all."""
    asked = [("target_column", request.target_column), *(("features", name) for name in request.features)]
    for argument, name in asked if columns else []:
        try:
            on_ray_table.check_known(name, list(columns), argument)
        except on_ray_store.Problem as problem:
            told = problem.flexcore
            raise InvalidInput(told["message"], subject=argument, remedy=told["remedy"]) from None


def trained(key: ExecutionKey, done: Finished) -> StepResult:
    """The result of the step: the model, its metrics, and what was noted on the way."""
    manifest = model_manifest_of(done.result)
    told = {name: done.result[name] for name in ("task", "notes", "dropped_rows", "requirements")}
    return step_result(key, done, output=manifest, metrics=manifest.metrics, data={**told, "packages": done.packages})


def model_manifest_of(told: dict[str, Any]) -> ModelManifest:
    """The manifest of the model that a training stored."""
    fields = told["manifest"]
    files = [File.model_validate(item) for item in fields["files"]]
    inputs = {item["name"]: item["datatype"] for item in fields["signature"]["inputs"]}
    more = {
        "bytes": sum(item.bytes for item in files),
        "checksum": checksum_of(files),
        "schema_hash": schema_hash(inputs),
    }
    return validated(ModelManifest, fields | more, "model")
