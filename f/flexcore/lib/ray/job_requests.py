# requirements: flexcore_base
"""What a caller asks of Ray, checked at the door and turned into a job. Pure.

CPUs and GPUs may be fractions; memory is GiB at the door and bytes inside.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field, field_validator, model_validator

from f.flexcore.lib.core import errors, requests, resources, secret_variables
from f.flexcore.lib.ray import capacity, jobs, runtime_environment
from f.flexcore.lib.ray.remote import job_entry

# A requirement as pip takes it; an option would change how everything is installed.
REQUIREMENT = re.compile(r"[A-Za-z0-9][^\n\r]*")


def check_packages(packages: list[str]) -> list[str]:
    for package in packages:
        if not REQUIREMENT.fullmatch(package.strip()):
            raise ValueError(f"{package!r} is not a package such as pandas==3.0.0")
    return [package.strip() for package in packages]


Packages = Annotated[list[str], AfterValidator(check_packages)]


class ProgramRequest(resources.Form):
    """A program of the caller's own. runtime_env: Ray's own form; working_dir is taken by the program's package.
    secrets: environment variables of the program, which travel in that package."""

    program: str = Field(min_length=1)
    parameters: dict[str, Any] = {}
    secrets: secret_variables.SecretEnv = {}
    num_cpus: float = Field(default=0, ge=0, allow_inf_nan=False)
    num_gpus: float = Field(default=0, ge=0, allow_inf_nan=False)
    memory_gib: float = Field(default=0, ge=0, allow_inf_nan=False)
    packages: Packages = []
    runtime_env: dict[str, Any] = {}
    timeout_s: int = Field(default=3600, ge=1)

    @field_validator("program")
    @classmethod
    def _compiles(cls, value: str) -> str:
        return check_source(value)

    @field_validator("runtime_env")
    @classmethod
    def _leaves_room(cls, value: dict[str, Any]) -> dict[str, Any]:
        return runtime_environment.check_runtime_env(value)

    @model_validator(mode="after")
    def _installs_in_one_way(self) -> ProgramRequest:
        runtime_environment.check_with_packages(self.runtime_env, self.packages)
        return self


def request_of(form: type[errors.Model], arguments: dict[str, Any], what: str) -> errors.Model:
    """The request in a step's arguments. Raises InvalidInput that names the wrong one."""
    return errors.validated(form, {name: value for name, value in arguments.items() if name in form.model_fields}, what)


def program_job(**asked: Any) -> jobs.Job:
    """The job that runs a caller's program. Raises InvalidInput that names the wrong argument."""
    request = errors.validated(ProgramRequest, asked, "run_job")
    return jobs.Job(
        kind="program",
        files={job_entry.PROGRAM: request.program},
        parameters=request.parameters,
        secrets={name: value.get_secret_value() for name, value in request.secrets.items()},
        num_cpus=request.num_cpus,
        num_gpus=request.num_gpus,
        memory_bytes=int(request.memory_gib * requests.GIB),
        packages=request.packages,
        runtime_env=request.runtime_env,
        needs=capacity.Needs(
            cpus=request.num_cpus, gpus=request.num_gpus, subject="num_gpus" if request.num_gpus else "num_cpus"
        ),
        timeout_s=request.timeout_s,
    )


def check_source(source: str) -> str:
    """The source, when Python can compile it; ValueError with the line otherwise."""
    try:
        compile(source, "program", "exec")
    except SyntaxError as error:
        raise ValueError(f"line {error.lineno}: {error.msg}" if error.lineno else error.msg) from None
    except ValueError as error:
        raise ValueError(str(error)) from None
    return source
