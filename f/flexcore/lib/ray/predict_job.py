# requirements: flexcore_base
"""Predictions for a whole stream as a Ray job, and what the job reports as a data manifest."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from f.flexcore.lib.core import contracts, operation, resources
from f.flexcore.lib.ray import cluster, job, job_adapter, job_inputs, labels, own_cluster_field, train_job

PROGRAM = "from f.flexcore.lib.ray.remote.predict import run\n\nresult = run(parameters, storage)\n"
PREDICTING = ("prediction_output", "prediction_rows", "prediction_resume", "predict")
MODULES = (*train_job.LEARNING, "model_format", "open_inference", "inference_app", "served_versions", *PREDICTING)
STREAM = "predictions"
# A repeat loses at most so many rows of each worker: large enough for files that are worth reading.
CHECKPOINT_ROWS = 50_000


class PredictRequest(resources.Form):
    """A stored model and the stream to predict for."""

    model: dict[str, Any] | None = Field(default=None, description="Manifest of the trained model.")
    source: dict[str, Any] | None = Field(default=None, description="Manifest of the data.")
    stream: str = Field(default="", description="Stream of the data; may stay empty when there is only one.")
    keep: list[str] = Field(default=[], description="Columns that stand beside the prediction; empty means all.")
    id_column: str = Field(
        default="",
        description="Column that no two rows share: a repeat then goes on where the last attempt ended. All ids are "
        "loaded at once.",
    )
    format: Literal["parquet", "csv", "jsonl"] = Field(
        default="parquet", description="Format of the files that are written."
    )
    num_workers: int = Field(default=1, ge=1, description="At most that many workers answer at once.")
    cpus_per_worker: float = Field(default=1, gt=0, description="CPUs of each worker.")
    label_selector: labels.Selector = Field(default={}, description=labels.FIELD)
    packages: job.Packages = Field(default=[], description="Packages to install for this job, e.g. xgboost==3.2.0.")
    timeout_s: int = Field(default=3600, ge=1, description="Longest time for the predictions, in seconds.")
    own_cluster: own_cluster_field.OptionalOwnCluster = Field(default=None, description=own_cluster_field.DESCRIPTION)

    @property
    def needs(self) -> cluster.Needs:
        return cluster.Needs(cpus=self.cpus_per_worker, subject="cpus_per_worker", label_selector=self.label_selector)


Invocation = operation.Invocation[PredictRequest, resources.RayCluster]


def check(request: PredictRequest, service: resources.RayCluster | None, settings: resources.Settings) -> None:
    """Raises InvalidInput, EmptyData or ManifestMismatch for what can be seen without the cluster and the data."""
    own_cluster_field.check(request, service)
    job_inputs.check_store(service, settings)
    if request.model is not None:
        job_inputs.parse_model(request.model, settings)
    if request.source is not None:
        job_inputs.select_stream(job_inputs.parse_source(request.source), request.stream)


def predict_job(invocation: Invocation, context: job_adapter.Context) -> job.Job:
    """Raises InvalidInput, EmptyData or ManifestMismatch for what can be seen without data."""
    request = invocation.request
    model = job_inputs.parse_model(request.model, invocation.settings)
    source = job_inputs.parse_source(request.source)
    stream = job_inputs.select_stream(source, request.stream)
    parameters = {
        "source": job_inputs.source_parameters(source, stream),
        "model": job_inputs.model_parameters(model, invocation.settings),
        "requirements": job_inputs.read_requirements(model, context.store),
        "requires": job.required_packages(*train_job.READING_MODULES, *reading_modules(model)),
        "checkpoint_rows": CHECKPOINT_ROWS,
        **request.model_dump(
            include={"keep", "id_column", "format", "num_workers", "cpus_per_worker", "label_selector"}
        ),
    }
    return job.Job(
        kind="predict",
        files=job.program_files(MODULES, PROGRAM),
        parameters=parameters,
        storage=job_inputs.storage_access(invocation.settings, context.store, context.key),
        packages=request.packages,
        needs=request.needs,
        timeout_s=request.timeout_s,
    )


def reading_modules(model: contracts.ModelManifest) -> list[str]:
    """The modules that read a model of this format, its columns among them."""
    booster = model.framework.name.removesuffix("-cpu")
    reader = {"sklearn-skops": "skops", job_inputs.PICKLE_FORMAT: "joblib"}.get(model.format)
    return ["sklearn", *([reader] if reader else []), *([booster] if booster in train_job.BOOSTERS else [])]


def predict_result(finished: job.FinishedJob, model: contracts.ModelManifest) -> contracts.StepResult:
    """The predictions as data, which any later stage takes."""
    result = finished.result
    files = [contracts.File.model_validate(item) for item in result["files"]]
    size, rows, schema = sum(item.bytes for item in files), result["rows"], contracts.schema_hash(result["columns"])
    stream = contracts.Stream(
        name=STREAM, rows=rows, bytes=size, columns=result["columns"], schema_hash=schema, files=files
    )
    manifest = contracts.DataManifest(
        uri=result["uri"],
        format=result["format"],
        bytes=size,
        rows=rows,
        schema_hash=schema,
        checksum=contracts.compute_checksum(files),
        streams=[stream],
    )
    data = {
        "model": f"{model.name}:{model.version}",
        "packages": finished.packages,
        "notes": result.get("notes") or [],
        "resumed_rows": result.get("resumed_rows", 0),
    }
    return finished.step_result(output=manifest, metrics={"rows": rows}, data=data)


def _prepare(invocation: Invocation, context: job_adapter.Context) -> job_adapter.Work:
    model = job_inputs.parse_model(invocation.request.model, invocation.settings)

    def add_to_catalog(result: contracts.StepResult) -> contracts.StepResult:
        assert isinstance(result.output, contracts.DataManifest)
        version = f"{result.execution_key}-{result.attempt}"
        from f.flexcore.lib.storage import catalog

        catalog.add(context.store, "data", f"{model.name}-predictions", version, result.output)
        return result

    return job_adapter.Work(
        predict_job(invocation, context), lambda finished: predict_result(finished, model), add_to_catalog
    )


PREDICT = operation.Operation(
    runtime="ray",
    name="predict",
    request=PredictRequest,
    service=resources.RayCluster,
    check=check,
    plan=job_adapter.plan_with(check),
    execute=job_adapter.execute_with(_prepare, check),
)
