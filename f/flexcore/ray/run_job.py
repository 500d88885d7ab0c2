# requirements: flexcore_base
# py: ==3.11.*
"""Runs a Python program as a Ray job and returns its result.

The program finds its `parameters` as a global, and leaves its answer in a global `result` (any JSON):

    result = {"total": sum(range(parameters["n"]))}
"""

import os
from dataclasses import replace
from typing import Any, Literal

from f.flexcore.core.deferral import is_deferred, key_and_call, submitted
from f.flexcore.core.errors import validated
from f.flexcore.core.redaction import Redactor, secrets_of
from f.flexcore.core.resources import RayCluster, Settings
from f.flexcore.ray.api import RayApi
from f.flexcore.ray.jobs import JobRunner, step_result
from f.flexcore.ray.requests import program_job
from f.flexcore.storage.store import Store

c_ray_cluster = dict
c_flexcore_settings = dict


def main(
    cluster: c_ray_cluster,
    program: str,
    parameters: dict | None = None,
    secrets: dict | None = None,
    num_cpus: float = 0,
    num_gpus: float = 0,
    memory_gib: float = 0,
    packages: list[str] | None = None,
    runtime_env: dict | None = None,
    timeout_s: int = 3600,
    wait: Literal["block", "defer"] = "block",
    deferred: dict | None = None,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    ray = validated(RayCluster, cluster or {}, "cluster")
    chosen = validated(Settings, settings or {}, "settings")
    work = {"program": program, "parameters": parameters, "secrets": secrets}
    asked = work | {"packages": packages, "runtime_env": runtime_env}
    limits = {"num_cpus": num_cpus, "num_gpus": num_gpus, "memory_gib": memory_gib, "timeout_s": timeout_s}
    job = replace(program_job(**asked, **limits), deferred=is_deferred(wait, deferred))
    redactor = Redactor(
        [*ray.secrets(), *chosen.secrets(), *secrets_of(parameters), *secrets_of(runtime_env), *job.secrets.values()]
    )
    key, call = key_and_call(os.environ, deferred)
    with RayApi(ray) as api:
        runner = JobRunner(api, Store(chosen), key, redactor)
        if job.deferred:
            return submitted("ray", key, call, *runner.submit(job))
        done = runner.run(job)
    return step_result(key, done, data={"result": redactor.data(done.result), "packages": done.packages}).plain()
