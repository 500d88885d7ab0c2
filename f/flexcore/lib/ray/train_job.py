# requirements: flexcore_base
"""A training as a Ray job, and what the job reports as a model manifest."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator

from f.flexcore.lib.core import contracts, errors, identity, operation, resources
from f.flexcore.lib.ray import cluster, dashboard, job, job_adapter, job_inputs, labels, own_cluster_field
from f.flexcore.lib.serving import problems

PROGRAM = "from f.flexcore.lib.ray.remote.train import run\n\nresult = run(parameters, storage)\n"
CHECK = 'from f.flexcore.lib.ray.remote.training_data import check_packages\n\ncheck_packages(parameters["requires"])\n'
READING = (
    "problems",
    "shared_storage",
    "column_kinds",
    "file_blocks",
    "json_files",
    "csv_files",
    "read",
    "stream_profile",
)
LEARNING = (*READING, "dataset", "holdout", "ranking", "ranking_request", "training_data", "estimators")
RECOVERY = ("checkpoints", "recovery", "trainer")
STORING = ("leakage", "model_format", "model_files", "model_card", "importance", "publication")
LIMITS = ("memory_limit", "external_memory")
GROWING = (*LEARNING, *RECOVERY, *LIMITS, "boosting", "class_weights")
MODULES = (*GROWING, *STORING, "validation", "train")
READING_MODULES = ("pandas", "pyarrow", "fsspec", "tensorboardX")
BOOSTERS = {"xgboost": "xgboost", "xgb": "xgboost", "lightgbm": "lightgbm", "lgbm": "lightgbm", "lgb": "lightgbm"}
WEIGHT = re.compile(r"\d+(\.\d*)?([eE][-+]?\d+)?")
# Of the request, what is the step's own and no parameter of the program.
STEP_FIELDS = {
    "source",
    "packages",
    "stream",
    "model_name",
    "timeout_s",
    "wait",
    "expected_s",
    "own_cluster",
    "recovery",
}


def check_class_weights(values: list[str]) -> list[str]:
    """Raises ValueError that names the entry at fault."""
    names = [value.rpartition("=")[0] for value in values if value != "balanced"]
    for value in values:
        name, _, weight = value.rpartition("=")
        if value == "balanced" and len(values) == 1:
            continue
        if not name or not WEIGHT.fullmatch(weight.strip()) or not 0 < float(weight) < math.inf:
            raise ValueError(f"{value!r} is no weight: write CLASS=WEIGHT with a weight above 0, or balanced alone")
        if names.count(name) > 1:
            raise ValueError(f"the class {name!r} has two weights: give one")
    return values


ClassWeights = Annotated[list[str], AfterValidator(check_class_weights)]


class LearningRequest(resources.Form):
    """What to learn from the data: `target_column` of `stream` from `features`."""

    source: dict[str, Any] | None = Field(
        default=None, description="Manifest of the extracted data; in data_pipeline, empty means that of its data."
    )
    target_column: str = Field(description="Column to predict.")
    stream: str = Field(
        default="", description="Stream of the data to learn from; may stay empty when there is only one."
    )
    algorithm: str = Field(
        default="xgboost",
        description="xgboost, lightgbm, or the class name of any scikit-learn regressor or classifier.",
    )
    parameters: dict[str, Any] = Field(
        default={},
        description="Parameters of the algorithm; those left empty keep its own defaults, further ones may be added "
        "by name.",
    )
    features: list[str] = Field(default=[], description="Columns to learn from; empty means all that are fit for it.")
    task: Literal["auto", "regression", "classification", "ranking"] = Field(
        default="auto",
        description="What kind of prediction; auto looks at the target column. ranking orders the rows of each group.",
    )
    test_fraction: float = Field(
        default=0.2, ge=0.01, le=0.99, description="Part of the rows held out to measure the model."
    )
    date_parts: bool = Field(
        default=True,
        description="Use the year, month, day, day of week, hour and days since 1970 of points in time as features.",
    )

    @field_validator("target_column")
    @classmethod
    def _is_named(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("is blank: name the column to predict")
        return value


class Recovery(resources.Form):
    """What a failure costs at most, and when it ends the training."""

    checkpoint_every: int = Field(
        default=50,
        ge=0,
        description="Rounds of xgboost and lightgbm between two checkpoints in the store: the most that a failure "
        "costs; 0 stores none.",
    )
    max_failures: int = Field(
        default=3,
        ge=0,
        le=100,
        description="How many times failed workers are started again, from the last checkpoint; preempted ones are not "
        "counted.",
    )
    resume_from: str = Field(
        default="",
        pattern=r"^$|^(file|s3)://",
        description="Checkpoints of an earlier training to go on from, as its data.recovery.checkpoints names them; "
        "empty trains from the beginning.",
    )


class TrainRequest(LearningRequest):
    """A training, its workers, and how to wait for it."""

    group_column: str = Field(
        default="",
        description="Column that says which rows are ranked together, e.g. the query; for ranking by xgboost or "
        "lightgbm.",
    )
    class_weights: ClassWeights = Field(
        default=[],
        description="balanced, or the weight of each class as CLASS=WEIGHT, e.g. fraud=20; classes that "
        "are left out weigh 1.",
    )

    model_name: str = Field(
        default="model",
        pattern=r"^[a-z]([-a-z0-9]{0,48}[a-z0-9])?$",
        description="Name of the model: lower-case letters, digits and dashes.",
    )
    num_workers: int = Field(
        default=1, ge=1, description="Ray Train workers; more than one for xgboost and lightgbm alone."
    )
    cpus_per_worker: float = Field(default=1, gt=0, description="CPUs of each worker.")
    memory_gib_per_worker: float = Field(
        default=0,
        ge=0,
        description="Memory that each worker may take, in GiB, held by the operating system; data that does not fit is "
        "learned from on disk by xgboost and lightgbm. 0 sets no limit.",
    )
    use_gpu: bool = Field(default=False, description="Give each worker a GPU.")
    label_selector: labels.Selector = Field(default={}, description=labels.FIELD)
    early_stopping_rounds: int = Field(
        default=0,
        ge=0,
        description="Stop xgboost and lightgbm after so many rounds without a better score on a tenth of the rows to "
        "learn from; 0 never stops.",
    )
    recovery: Recovery | None = Field(
        default=None, description="How the training goes on after failures of its workers or its head."
    )
    packages: job.Packages = Field(default=[], description="Packages to install for this job, e.g. xgboost==3.2.0.")
    timeout_s: int = Field(default=3600, ge=1, description="Longest time for the training, in seconds.")
    own_cluster: own_cluster_field.OptionalOwnCluster = Field(default=None, description=own_cluster_field.DESCRIPTION)
    wait: Literal["block", "defer", "auto"] = Field(
        default="block",
        description="block keeps the worker until the work has ended; defer waits without one and needs "
        "operations/reconcile on its schedule; auto, in a flow, defers work that is expected to take ten minutes or "
        "more.",
    )
    expected_s: float | None = Field(
        default=None,
        ge=0,
        description="How long the training is expected to take, in seconds; only auto looks at it.",
    )

    @property
    def needs(self) -> cluster.Needs:
        subject = "use_gpu" if self.use_gpu else "cpus_per_worker" if self.num_workers == 1 else "num_workers"
        gpus = float(self.use_gpu)
        return cluster.Needs(self.num_workers, self.cpus_per_worker, gpus, subject, label_selector=self.label_selector)


Invocation = operation.Invocation[TrainRequest, resources.RayCluster]


def check(request: LearningRequest, service: resources.RayCluster | None, settings: resources.Settings) -> None:
    """Raises InvalidInput, EmptyData or ManifestMismatch for what can be seen without the cluster and the data."""
    own_cluster_field.check(request, service)
    job_inputs.check_store(service, settings)
    check_ranking(request)
    if request.source is not None:
        stream = job_inputs.select_stream(job_inputs.parse_source(request.source), request.stream)
        check_columns(request, stream.columns)


def check_ranking(request: LearningRequest) -> None:
    """Raises InvalidInput for a ranking that cannot be one, by the fields of the form."""
    if request.task == "ranking" and not isinstance(request, TrainRequest):
        remedy = "Train it without a search."
        raise errors.InvalidInput("task: a search knows no ranking", subject="task", remedy=remedy)
    try:
        from f.flexcore.lib.ray.remote import ranking_request

        ranking_request.check_request(
            request.model_dump(include={"task", "group_column", "algorithm", "target_column"})
        )
    except problems.Problem as problem:
        reason = problem.flexcore
        raise errors.InvalidInput(reason["message"], subject=reason["subject"], remedy=reason["remedy"]) from None


def learning_job(
    kind: str, request: LearningRequest, settings: resources.Settings, context: job_adapter.Context
) -> job.Job:
    """The part of a job that every way of learning shares."""
    manifest = job_inputs.parse_source(request.source)
    stream = job_inputs.select_stream(manifest, request.stream)
    check_columns(request, stream.columns)
    files = job.program_files(MODULES, PROGRAM)
    parameters = {
        "code": job.digest_files(files),
        "source": job_inputs.source_parameters(manifest, stream),
        "requires": job.required_packages(*required_modules(request.algorithm)),
        **request.model_dump(exclude=STEP_FIELDS),
        **((request.recovery or Recovery()).model_dump() if isinstance(request, TrainRequest) else {}),
    }
    storage = job_inputs.storage_access(settings, context.store, context.key)
    return job.Job(kind, files, parameters, storage=storage, check=CHECK)


def required_modules(algorithm: str) -> list[str]:
    """What a training with this algorithm imports, the writer of its model's format among them."""
    return [*READING_MODULES, "sklearn", "joblib", BOOSTERS.get(algorithm.lower(), "skops")]


def check_columns(request: LearningRequest, columns: dict[str, str]) -> None:
    """Raises InvalidInput for a column that the manifest does not have; a manifest may know of no columns at all."""
    from f.flexcore.lib.ray.remote import stream_profile

    chosen = [("target_column", request.target_column), *(("features", name) for name in request.features)]
    for argument, name in chosen if columns else []:
        try:
            stream_profile.check_known(name, list(columns), argument)
        except problems.Problem as problem:
            reason = problem.flexcore
            raise errors.InvalidInput(reason["message"], subject=argument, remedy=reason["remedy"]) from None


def train_job(invocation: Invocation, context: job_adapter.Context) -> job.Job:
    """Raises InvalidInput, EmptyData or ManifestMismatch for what can be seen without data."""
    request = invocation.request
    common = learning_job("train", request, invocation.settings, context)
    return replace(
        common,
        parameters=common.parameters | model_parameters(request.model_name, invocation.settings, context.key),
        # The job itself only waits: its workers reserve what they take.
        packages=request.packages,
        needs=request.needs,
        timeout_s=request.timeout_s,
    )


def model_parameters(name: str, settings: resources.Settings, key: identity.ExecutionKey) -> dict[str, Any]:
    """What a program must know to publish a model. Its version is the same over the attempts of an execution."""
    model = {"name": name, "version": key.value.removeprefix("fc-")[:12]}
    return {"model": model, "joblib": settings.pickle != "refuse"}


def train_result(finished: job.FinishedJob) -> contracts.StepResult:
    """The model, its metrics, and what was noted on the way."""
    manifest = parse_model_manifest(finished.result)
    told = ("task", "notes", "dropped_rows", "requirements", "recovery", "importance", "peak_memory_bytes", "card")
    data = {name: finished.result[name] for name in told}
    return finished.step_result(output=manifest, metrics=manifest.metrics, data={**data, "packages": finished.packages})


def parse_model_manifest(result: dashboard.Json) -> contracts.ModelManifest:
    """The manifest of the model that a training has stored."""
    fields = result["manifest"]
    files = [contracts.File.model_validate(item) for item in fields["files"]]
    inputs = {item["name"]: item["datatype"] for item in fields["signature"]["inputs"]}
    sums = {
        "bytes": sum(item.bytes for item in files),
        "checksum": contracts.compute_checksum(files),
        "schema_hash": contracts.schema_hash(inputs),
    }
    return errors.validate(contracts.ModelManifest, fields | sums, "model")


def describe_checkpoints(request: TrainRequest) -> str:
    """What a failure of a worker or of the head costs this training."""
    if request.algorithm.lower() not in BOOSTERS:
        return (
            f"{request.algorithm} knows no checkpoints: when a worker or the head fails, it trains from the beginning"
        )
    interval = (request.recovery or Recovery()).checkpoint_every
    if not interval:
        return "No checkpoints are stored (recovery.checkpoint_every is 0): a failure begins the training anew"
    return f"A checkpoint is stored every {interval} rounds: a failure costs no more than those"


def _prepare(invocation: Invocation, context: job_adapter.Context) -> job_adapter.Work:
    print(describe_checkpoints(invocation.request), flush=True)
    return job_adapter.Work(train_job(invocation, context), train_result, resumes=True)


def _plan(invocation: Invocation) -> contracts.StepResult:
    result = job_adapter.plan(invocation, check)
    return result.model_copy(update={"data": result.data | {"checkpoints": describe_checkpoints(invocation.request)}})


TRAIN = operation.Operation(
    runtime="ray",
    name="train",
    request=TrainRequest,
    service=resources.RayCluster,
    check=check,
    plan=_plan,
    execute=job_adapter.execute_with(_prepare, check),
)
