# requirements: flexcore_base
"""A Ray job as data: what it runs, what it takes of the cluster, and what is sent to the head. Pure.

files ──zip_files──→ package, which Ray unpacks into the job's working folder
Job ──request_document──→ in the package: parameters, secrets, storage     ──submission──→ the body of the request
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import AfterValidator

from f.flexcore.lib.core import contracts, identity, module_source, operation, units, workloads
from f.flexcore.lib.ray import cluster, dashboard
from f.flexcore.lib.ray.remote import job_entry

# The folder of what is shipped.
REMOTE, SERVING = "f/flexcore/lib/ray/remote", "f/flexcore/lib/serving"
# What serves a model, on Ray or elsewhere.
SHARED = ("problems", "column_kinds", "estimators", "model_format", "open_inference")
# How long finished jobs are worth keeping: `operations/reconcile` deletes them after this.
KEEP_S = 7 * 24 * 3600
# Ray 2.43 and later install a job's packages with uv.
UV_SINCE = (2, 43)
# The same files give the same bytes, whenever they are packed.
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
# A requirement as pip takes it; an option would change how everything is installed.
REQUIREMENT = re.compile(r"[A-Za-z0-9][^\n\r]*")
# What a cluster gets when it lacks a module. What Ray itself needs comes in the version that its Ray asks for ({ray});
# the rest in the version that the laptop side has, so that a model can be read there too.
PACKAGES = {
    "pyarrow": "ray[data,train]=={ray}",
    "fsspec": "ray[data,train]=={ray}",
    "tensorboardX": "ray[data,train]=={ray}",
    "pandas": "pandas==3.1.1",
    "sklearn": "scikit-learn==1.9.1",
    "joblib": "joblib==1.6.0",
    "skops": "skops==0.16.0",
    "xgboost": "xgboost-cpu==3.2.0",
    "lightgbm": "lightgbm==4.7.0",
    "adbc_driver_manager": "adbc-driver-manager==1.13.0",
    "adbc_driver_postgresql": "adbc-driver-postgresql==1.13.0",
}


def check_packages(packages: list[str]) -> list[str]:
    """The packages without spaces around them. Raises ValueError for a pip option or another text that is none."""
    for package in packages:
        if not REQUIREMENT.fullmatch(package.strip()):
            raise ValueError(f"{package!r} is not a package: write it like pandas==3.0.0 (pip options are not taken)")
    return [package.strip() for package in packages]


def check_gpus(value: float) -> float:
    """The number of GPUs. Raises ValueError for one that Ray cannot give: a part of one GPU, or whole ones."""
    if value > 1 and value != int(value):
        raise ValueError(f"{value:g} GPUs cannot be given: ask for a part of one, such as 0.5, or for whole ones")
    return value


Packages = Annotated[list[str], AfterValidator(check_packages)]


@dataclass(frozen=True, slots=True)
class Job:
    """What to run: `files` by name, the program among them, with its JSON parameters. storage: how the job reaches the
    store ({uri, …keys}, to which the attempt's own `folder` is added); secrets: the program's environment
    variables. Both travel in the package, never in an argument, a label, the job's metadata or its runtime environment.
    needs: what the job takes in all, which the cluster must be able to give."""

    kind: str
    files: dict[str, str]
    parameters: dashboard.Json
    storage: dashboard.Json | None = None
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    num_cpus: float = 0
    num_gpus: float = 0
    memory_bytes: int = 0
    label_selector: dict[str, str] = field(default_factory=dict)
    packages: list[str] = field(default_factory=list)
    pip_wheel: str = ""
    runtime_env: dashboard.Json = field(default_factory=dict)
    needs: cluster.Needs = field(default_factory=cluster.Needs)
    timeout_s: int = 3600
    deferred: bool = False
    # A program of the same files that ends as the job's own does when the cluster lacks packages, else well.
    check: str = ""


@dataclass(frozen=True, slots=True)
class FinishedJob:
    """A job that succeeded: `result` is what its program returned, `packages` what was installed for it."""

    key: identity.ExecutionKey
    attempt: int
    result: Any
    timings: contracts.Timings
    remote: contracts.Remote
    log_tail: str
    packages: list[str]

    def step_result(self, **fields: Any) -> contracts.StepResult:
        """The result of a step, with the fields that are its own."""
        return contracts.StepResult(
            success=True,
            runtime="ray",
            execution_key=self.key.value,
            attempt=self.attempt,
            timings=self.timings,
            remote=self.remote,
            log_tail=self.log_tail,
            **fields,
        )


def program_files(modules: Iterable[str], program: str) -> dict[str, str]:
    """The sources of modules of `remote` and of `serving`, under the paths by which they import each other on Ray, and
    the lines that start them. None of them is imported for it."""
    paths = [f"{SERVING if name in SHARED else REMOTE}/{name}" for name in modules]
    files = {f"{path}.py": module_source.find_source(path.replace("/", ".")) for path in paths}
    return files | {job_entry.PROGRAM: program}


def digest_files(files: Mapping[str, str]) -> str:
    """The sha256 of what is shipped, by which a result names the code that made it."""
    return hashlib.sha256(json.dumps(sorted(files.items())).encode()).hexdigest()


def required_packages(*modules: str) -> dict[str, str]:
    """Module → package to install when the cluster lacks it."""
    return {module: PACKAGES[module] for module in modules}


def zip_files(files: Mapping[str, str]) -> tuple[str, bytes]:
    """(name, zip) of text files by their names; it is named by its content, in the form of Ray's own
    ray/_private/runtime_env/packaging.py."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, ZIP_EPOCH)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[name], zipfile.ZIP_DEFLATED)
    content = buffer.getvalue()
    return f"_ray_pkg_{hashlib.sha1(content, usedforsecurity=False).hexdigest()}.zip", content


def package(job: Job, name: str, folder: str, now: float) -> tuple[str, bytes]:
    """(name, zip) of all that the job needs on its node. folder: of its attempt in the store; now: by the head."""
    request = {
        "submission_id": name,
        "kind": job.kind,
        "parameters": job.parameters,
        "environment": job.secrets,
        "timeout_s": job.timeout_s,
        "deadline": now + job.timeout_s,
        **({"storage": job.storage | {"folder": folder}} if job.storage else {}),
    }
    entry = {"flexcore_job.py": module_source.module_source(job_entry), job_entry.REQUEST: json.dumps(request)}
    return zip_files(job.files | entry)


def submission(
    job: Job, name: str, labels: Mapping[str, str], runtime_env: dashboard.Json, now: float
) -> dashboard.Json:
    """The body of the request that submits the job."""
    deadline = {
        "flexcore/deadline": str(int(now + job.timeout_s)),
        "flexcore/delete-after": str(int(now + job.timeout_s + KEEP_S)),
    }
    return {
        # Every image has it under this name; plain Debian has no `python`.
        "entrypoint": "python3 flexcore_job.py",
        "submission_id": name,
        "runtime_env": runtime_env,
        "metadata": {**labels, **operation.deferral_labels(job.deferred), "flexcore/kind": job.kind, **deadline},
        "entrypoint_num_cpus": job.num_cpus,
        "entrypoint_num_gpus": job.num_gpus,
        "entrypoint_memory": job.memory_bytes,
        # An older Ray refuses a field that it does not know.
        **({"entrypoint_label_selector": job.label_selector} if job.label_selector else {}),
    }


def runtime_env(job: Job, ray_version: str) -> dashboard.Json:
    """The job's runtime environment with its packages, in the form that this version of Ray takes."""
    if not job.packages:
        return dict(job.runtime_env)
    version = tuple(int(part) for part in ray_version.split(".")[:2] if part.isdigit())
    environment = job.runtime_env | {"uv" if version >= UV_SINCE else "pip": job.packages}
    if job.pip_wheel:
        environment["env_vars"] = (environment.get("env_vars") or {}) | {"PYTHONPATH": job.pip_wheel}
    return environment


def installed_packages(details: dashboard.Json) -> list[str]:
    """The packages that Ray installed for a job, by its own record of it."""
    environment = details.get("runtime_env") or {}
    packages = environment.get("uv") or environment.get("pip") or []
    return list(packages.get("packages") or [] if isinstance(packages, dict) else packages)


# --- what a request says about its work, for the choice of a runtime

# From so many workers on, a training is spread as far as one usually is.
HIGH_SCALING_WORKERS = 8


def derive_work_hints(request: Mapping[str, Any]) -> workloads.WorkHints:
    """Return the hints of a plain request, a training or a program."""
    is_training = request.get("operation") == "train"
    workers = int(request.get("num_workers") or 1) if is_training else 1
    cpu, gpu = float(request.get("num_cpus") or 0), float(request.get("num_gpus") or 0)
    if is_training:
        cpu = max(cpu, workers * float(request.get("cpus_per_worker") or 0))
        gpu = max(gpu, float(workers) if request.get("use_gpu") else 0.0)
    return workloads.WorkHints(
        complexity="ml" if is_training else "complex",
        complexity_reason="a model is trained" if is_training else "a program of the caller's own",
        cpu=cpu or None,
        memory_bytes=int(float(request.get("memory_gib") or 0) * units.GIB) or None,
        gpu=gpu or None,
        scaling="high" if workers >= HIGH_SCALING_WORKERS else "medium" if workers > 1 else "low",
        scaling_reason=f"{workers} Ray worker{'s' if workers > 1 else ''}",
        parallelizable=workers > 1 or is_training,
    )
