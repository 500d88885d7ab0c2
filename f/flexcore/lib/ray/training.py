# requirements: flexcore_base
"""A training as a job, and what the job tells as a model manifest."""

from __future__ import annotations

from typing import Any

from f.flexcore.lib.core import contracts, errors, identity, manifests, requests, resources
from f.flexcore.lib.ray import capacity, job_requests, jobs, packaging
from f.flexcore.lib.ray.remote import (
    column_kinds,
    dataset,
    estimators,
    holdout,
    leakage,
    model_files,
    read,
    shared_storage,
    train,
)
from f.flexcore.lib.storage import object_store

PROGRAM = "from f.flexcore.lib.ray.remote.train import run\n\nresult = run(parameters, storage)\n"
CHECK = 'from f.flexcore.lib.ray.remote.train import check_packages\n\ncheck_packages(parameters["requires"])\n'
MODULES = [
    shared_storage,
    column_kinds,
    read,
    dataset,
    holdout,
    leakage,
    estimators,
    model_files,
    train,
]
BOOSTERS = {"xgboost": "xgboost", "xgb": "xgboost", "lightgbm": "lightgbm", "lgbm": "lightgbm", "lgb": "lightgbm"}


class TrainRequest(requests.MlRequest):
    """MlRequest with its packages checked."""

    packages: job_requests.Packages = []


def training_job(
    request: TrainRequest,
    source: contracts.DataManifest,
    store: object_store.Store,
    settings: resources.Settings,
    key: identity.ExecutionKey,
) -> jobs.Job:
    """The job of a training. Raises InvalidInput, EmptyData or ManifestMismatch for what can be seen without data."""
    manifests.check_consistent(source)
    stream = next(item for item in source.streams if item.name == manifests.stream_named(source, request.stream))
    if stream.rows == 0 or not stream.files:
        raise errors.EmptyData(f"The stream {stream.name!r} is empty", subject="source", remedy="Extract data first.")
    check_columns(request, stream.columns)
    probe = store.uri(key.value, "shared.json")
    if store.local:
        store.write_json(probe, {"key": key.value})
    version = key.value.removeprefix("fc-")[:12]
    parameters = {
        "source": {"uri": source.uri, "format": source.format, "files": [item.model_dump() for item in stream.files]}
        | {"columns": stream.columns},
        "model": {"name": request.model_name, "version": version},
        "requires": packaging.requires(*modules_of(request.algorithm)),
        **request.model_dump(exclude={"packages", "stream", "model_name", "timeout_s", "wait", "expected_s"}),
    }
    alone = request.num_workers == 1 and not request.use_gpu
    return jobs.Job(
        kind="train",
        files=packaging.program_files(MODULES, PROGRAM),
        check=CHECK,
        parameters=parameters,
        storage=packaging.storage_of(settings, store.root, probe),
        num_cpus=request.cpus_per_worker if alone else 0,
        packages=request.packages,
        needs=capacity.Needs(
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
            dataset.check_known(name, list(columns), argument)
        except shared_storage.Problem as problem:
            told = problem.flexcore
            raise errors.InvalidInput(told["message"], subject=argument, remedy=told["remedy"]) from None


def trained(key: identity.ExecutionKey, done: jobs.Finished) -> contracts.StepResult:
    """The result of the step: the model, its metrics, and what was noted on the way."""
    manifest = model_manifest_of(done.result)
    told = {name: done.result[name] for name in ("task", "notes", "dropped_rows", "requirements")}
    return jobs.step_result(
        key, done, output=manifest, metrics=manifest.metrics, data={**told, "packages": done.packages}
    )


def model_manifest_of(told: dict[str, Any]) -> contracts.ModelManifest:
    """The manifest of the model that a training stored."""
    fields = told["manifest"]
    files = [contracts.File.model_validate(item) for item in fields["files"]]
    inputs = {item["name"]: item["datatype"] for item in fields["signature"]["inputs"]}
    more = {
        "bytes": sum(item.bytes for item in files),
        "checksum": manifests.checksum_of(files),
        "schema_hash": manifests.schema_hash(inputs),
    }
    return errors.validated(contracts.ModelManifest, fields | more, "model")
