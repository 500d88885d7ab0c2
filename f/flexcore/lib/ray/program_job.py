# requirements: flexcore_base
"""A program of the caller's own as a Ray job. CPUs and GPUs may be fractions; memory_gib becomes bytes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from f.flexcore.lib.core import contracts, operation, resources, units
from f.flexcore.lib.ray import cluster, job, job_adapter, labels, own_cluster_field, runtime_environment
from f.flexcore.lib.ray.remote import job_entry


class ProgramRequest(resources.Form):
    """A program with what it needs; working_dir of its runtime environment is taken by the program's package."""

    program: Annotated[str, resources.OPAQUE] = Field(
        min_length=1, description="Python source; it reads `parameters` and sets `result`."
    )
    parameters: Annotated[dict[str, Any], resources.OPAQUE] = Field(
        default={}, description="Parameters of the program, any JSON."
    )
    secrets: Annotated[resources.SecretEnv, resources.SECRET] = Field(
        default={},
        description="Secret environment variables of the program as {NAME: $var:path}; they are in no log, label, "
        "metadata or runtime environment.",
    )
    num_cpus: float = Field(
        default=0,
        ge=0,
        allow_inf_nan=False,
        description="CPUs that Ray reserves for the program itself; 0 runs it on the head node.",
    )
    num_gpus: float = Field(
        default=0, ge=0, allow_inf_nan=False, description="GPUs that Ray reserves for the program itself."
    )
    memory_gib: float = Field(
        default=0, ge=0, allow_inf_nan=False, description="Memory in GiB that Ray reserves for the program itself."
    )
    label_selector: labels.Selector = Field(default={}, description=labels.FIELD)
    packages: job.Packages = Field(default=[], description="Packages to install for this job, e.g. pandas==3.0.0.")
    runtime_env: Annotated[dict[str, Any], resources.OPAQUE] = Field(
        default={}, description="Further parts of Ray's runtime environment, e.g. env_vars."
    )
    timeout_s: int = Field(default=3600, ge=1, description="Longest time for the job, in seconds.")
    own_cluster: own_cluster_field.OptionalOwnCluster = Field(default=None, description=own_cluster_field.DESCRIPTION)
    wait: Literal["block", "defer", "auto"] = Field(
        default="block",
        description="block keeps the worker until the work has ended; defer waits without one and needs "
        "operations/reconcile on its schedule; auto, in a flow, defers work that is expected to take ten minutes or "
        "more.",
    )

    @field_validator("program")
    @classmethod
    def _compiles(cls, value: str) -> str:
        return check_source(value)

    @field_validator("num_gpus")
    @classmethod
    def _is_a_fraction_or_whole(cls, value: float) -> float:
        return job.check_gpus(value)

    @field_validator("runtime_env")
    @classmethod
    def _is_taken_by_ray(cls, value: dict[str, Any]) -> dict[str, Any]:
        return runtime_environment.check_runtime_env(value)

    @model_validator(mode="after")
    def _installs_in_one_way(self) -> ProgramRequest:
        runtime_environment.check_with_packages(self.runtime_env, self.packages)
        return self

    @property
    def needs(self) -> cluster.Needs:
        subject = "num_gpus" if self.num_gpus else "num_cpus" if self.num_cpus or not self.memory_gib else "memory_gib"
        memory = int(self.memory_gib * units.GIB)
        return cluster.Needs(1, self.num_cpus, self.num_gpus, subject, memory, self.label_selector)


Invocation = operation.Invocation[ProgramRequest, resources.RayCluster]


def check(request: ProgramRequest, service: resources.RayCluster | None, settings: resources.Settings) -> None:
    """Raises InvalidInput where the cluster of its own cannot be made: a program does not get at the store."""
    own_cluster_field.check(request, service)


def program_job(request: ProgramRequest) -> job.Job:
    return job.Job(
        kind="program",
        files={job_entry.PROGRAM: request.program},
        parameters=request.parameters,
        secrets={name: value.get_secret_value() for name, value in request.secrets.items()},
        num_cpus=request.num_cpus,
        num_gpus=request.num_gpus,
        memory_bytes=request.needs.memory_bytes,
        label_selector=request.label_selector,
        packages=request.packages,
        runtime_env=request.runtime_env,
        needs=request.needs,
        timeout_s=request.timeout_s,
    )


def check_source(source: str) -> str:
    """The source, when Python can compile it; ValueError with the line otherwise."""
    if not source.strip():
        raise ValueError("is blank: give the source of the program")
    try:
        compile(source, "program", "exec")
    except SyntaxError as error:
        raise ValueError(f"line {error.lineno}: {error.msg}" if error.lineno else error.msg) from None
    except ValueError as error:
        raise ValueError(str(error)) from None
    return source


def prepare(invocation: Invocation, context: job_adapter.Context) -> job_adapter.Work:
    def to_result(finished: job.FinishedJob) -> contracts.StepResult:
        return finished.step_result(
            data={"result": context.redactor.data(finished.result), "packages": finished.packages}
        )

    return job_adapter.Work(program_job(invocation.request), to_result)


RUN_PROGRAM = operation.Operation(
    runtime="ray",
    name="program",
    request=ProgramRequest,
    service=resources.RayCluster,
    check=check,
    plan=job_adapter.plan,
    execute=job_adapter.execute_with(prepare),
)
