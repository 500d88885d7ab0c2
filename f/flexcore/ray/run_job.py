# requirements: flexcore_base
"""Runs a Python program as a Ray job and returns its result.

The program finds its `parameters` as a global, and leaves its answer in a global `result` (any JSON):

    result = {"total": sum(range(parameters["n"]))}
"""

import os
from dataclasses import replace
from typing import Any, Literal

from f.flexcore.lib.core import deferral, errors, redaction, resources
from f.flexcore.lib.ray import dashboard, job_requests, jobs
from f.flexcore.lib.storage import object_store

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
    ray = errors.validated(resources.RayCluster, cluster or {}, "cluster")
    chosen = errors.validated(resources.Settings, settings or {}, "settings")
    work = {"program": program, "parameters": parameters, "secrets": secrets}
    asked = work | {"packages": packages, "runtime_env": runtime_env}
    limits = {"num_cpus": num_cpus, "num_gpus": num_gpus, "memory_gib": memory_gib, "timeout_s": timeout_s}
    job = replace(job_requests.program_job(**asked, **limits), deferred=deferral.is_deferred(wait, deferred))
    redactor = redaction.Redactor(
        [
            *ray.secrets(),
            *chosen.secrets(),
            *redaction.secrets_of(parameters),
            *redaction.secrets_of(runtime_env),
            *job.secrets.values(),
        ]
    )
    key, call = deferral.key_and_call(os.environ, deferred)
    with dashboard.RayApi(ray) as api:
        runner = jobs.JobRunner(api, object_store.Store(chosen), key, redactor)
        if job.deferred:
            return deferral.submitted("ray", key, call, *runner.submit(job))
        done = runner.run(job)
    return jobs.step_result(key, done, data={"result": redactor.data(done.result), "packages": done.packages}).plain()
