# requirements: flexcore_base
"""A training loop of the caller's own as a Ray job: its workers, its data, and its checkpoints."""

from __future__ import annotations

import ast
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from f.flexcore.lib.core import contracts, operation, resources
from f.flexcore.lib.ray import cluster, job, job_adapter, job_inputs, own_cluster_field, train_job

PROGRAM = "from f.flexcore.lib.ray.remote.user_loop import run\n\nresult = run(parameters, storage)\n"
MODULES = (*train_job.GROWING, "user_loop")
FUNCTION = "train_loop"
REQUIRED = ("pandas", "pyarrow", "fsspec", "sklearn", "joblib", "tensorboardX")
STEP_FIELDS = {"source", "packages", "stream", "timeout_s", "own_cluster", "wait", "secrets"}


class LoopRequest(resources.Form):
    """A loop `train_loop(config, loop)`, and how to run it."""

    program: Annotated[str, resources.OPAQUE] = Field(
        min_length=1,
        description="Python source that defines train_loop(config, loop); loop has shard, report, publish, step and "
        "resumed.",
    )
    config: Annotated[dict[str, Any], resources.OPAQUE] = Field(
        default={}, description="What train_loop gets, any JSON."
    )
    source: dict[str, Any] | None = Field(
        default=None, description="Manifest of the extracted data; empty for a loop that brings its own."
    )
    stream: str = Field(
        default="", description="Stream of the data to learn from; may stay empty when there is only one."
    )
    test_fraction: float = Field(
        default=0,
        ge=0,
        le=0.99,
        description="Part of the rows that loop.shard('test') has; 0 holds none out.",
    )
    num_workers: int = Field(default=1, ge=1, description="Ray Train workers, each of which calls train_loop.")
    cpus_per_worker: float = Field(default=1, gt=0, description="CPUs of each worker.")
    use_gpu: bool = Field(default=False, description="Give each worker a GPU.")
    checkpoint_every: int = Field(
        default=1, ge=0, description="Steps between two checkpoints in the store; 0 stores none."
    )
    stop_metric: str = Field(default="", description="Measure that early stopping looks at; empty never stops.")
    stop_mode: Literal["min", "max"] = Field(default="min", description="Whether less or more of it is better.")
    early_stopping_steps: int = Field(
        default=5, ge=1, description="Stop after so many steps without a better stop_metric."
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
    packages: job.Packages = Field(default=[], description="Packages to install for this job, e.g. torch==2.9.0.")
    timeout_s: int = Field(default=3600, ge=1, description="Longest time for the training, in seconds.")
    own_cluster: own_cluster_field.OptionalOwnCluster = Field(default=None, description=own_cluster_field.DESCRIPTION)
    wait: Literal["block", "defer"] = Field(
        default="block",
        description="block keeps the worker until the work has ended; defer waits without one and needs "
        "operations/reconcile on its schedule.",
    )

    @field_validator("program")
    @classmethod
    def _defines_the_loop(cls, value: str) -> str:
        from f.flexcore.lib.ray import program_job

        tree = ast.parse(program_job.check_source(value))
        found = [item for item in tree.body if isinstance(item, ast.FunctionDef) and item.name == FUNCTION]
        if not found:
            raise ValueError(f"defines no function {FUNCTION}: write def {FUNCTION}(config, loop)")
        arguments = found[-1].args
        if len(arguments.posonlyargs) + len(arguments.args) != 2:
            raise ValueError(f"line {found[-1].lineno}: write def {FUNCTION}(config, loop)")
        return value

    @model_validator(mode="after")
    def _has_rows_to_hold_out(self) -> LoopRequest:
        if self.test_fraction and self.source is None:
            raise ValueError("test_fraction needs a source: rows are held out of the data that the step hands in")
        return self

    @property
    def needs(self) -> cluster.Needs:
        subject = "use_gpu" if self.use_gpu else "cpus_per_worker" if self.num_workers == 1 else "num_workers"
        return cluster.Needs(self.num_workers, self.cpus_per_worker, float(self.use_gpu), subject)


Invocation = operation.Invocation[LoopRequest, resources.RayCluster]


def check(request: LoopRequest, service: resources.RayCluster | None, settings: resources.Settings) -> None:
    """Raises InvalidInput, EmptyData or ManifestMismatch for what can be seen without the cluster and the data."""
    own_cluster_field.check(request, service)
    job_inputs.check_store(service, settings)
    if request.source is not None:
        job_inputs.select_stream(job_inputs.parse_source(request.source), request.stream)


def loop_job(invocation: Invocation, context: job_adapter.Context) -> job.Job:
    """Raises InvalidInput, EmptyData or ManifestMismatch for what can be seen without data."""
    request = invocation.request
    source: dict[str, Any] = {"uri": "", "format": "", "files": [], "columns": {}}
    if request.source is not None:
        manifest = job_inputs.parse_source(request.source)
        source = job_inputs.source_parameters(manifest, job_inputs.select_stream(manifest, request.stream))
    parameters = {
        **request.model_dump(exclude=STEP_FIELDS),
        "source": source,
        "requires": job.required_packages(*REQUIRED),
    }
    return job.Job(
        "training_loop",
        job.program_files(MODULES, PROGRAM),
        parameters,
        storage=job_inputs.storage_access(invocation.settings, context.store, context.key),
        packages=request.packages,
        needs=request.needs,
        timeout_s=request.timeout_s,
        check=train_job.CHECK,
    )


def loop_result(finished: job.FinishedJob) -> contracts.StepResult:
    """The last measures, what the loop returned, and where its model is."""
    result = finished.result
    files = [contracts.File.model_validate(item) for item in result["manifest"]["files"]]
    model = None
    if files:
        sums = {"bytes": sum(item.bytes for item in files), "checksum": contracts.compute_checksum(files)}
        model = {"uri": result["manifest"]["uri"], "files": result["manifest"]["files"], **sums}
    numbers = (int, float, type(None))
    metrics = {name: value for name, value in result["metrics"].items() if isinstance(value, numbers)}
    data = {"model": model, "result": result["result"], "recovery": result["recovery"], "packages": finished.packages}
    return finished.step_result(metrics=metrics, data=data)


def _prepare(invocation: Invocation, context: job_adapter.Context) -> job_adapter.Work:
    def to_result(finished: job.FinishedJob) -> contracts.StepResult:
        result = loop_result(finished)
        return result.model_copy(update={"data": context.redactor.data(result.data)})

    return job_adapter.Work(loop_job(invocation, context), to_result, resumes=True)


TRAINING_LOOP = operation.Operation(
    runtime="ray",
    name="training_loop",
    request=LoopRequest,
    service=resources.RayCluster,
    check=check,
    plan=job_adapter.plan_with(check),
    execute=job_adapter.execute_with(_prepare, check),
)
