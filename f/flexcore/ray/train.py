# requirements: flexcore_base
"""Trains a model on a stream of extracted data, on Ray, and hands on the model with its metrics on held-out rows."""

import os
from dataclasses import replace
from typing import Any, Literal

from f.flexcore.lib.core import deferral, errors, redaction, resources
from f.flexcore.lib.ray import dashboard, job_requests, jobs, training
from f.flexcore.lib.storage import object_store

c_ray_cluster = dict
c_flexcore_settings = dict


def main(
    cluster: c_ray_cluster,
    source: dict,
    target_column: str,
    stream: str = "",
    algorithm: str = "xgboost",
    parameters: dict | None = None,
    features: list[str] | None = None,
    task: Literal["auto", "regression", "classification"] = "auto",
    test_fraction: float = 0.2,
    date_parts: bool = True,
    model_name: str = "model",
    num_workers: int = 1,
    cpus_per_worker: float = 1,
    use_gpu: bool = False,
    packages: list[str] | None = None,
    timeout_s: int = 3600,
    wait: Literal["block", "defer"] = "block",
    deferred: dict | None = None,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    request = job_requests.request_of(training.TrainRequest, dict(locals()), "train")
    ray = errors.validated(resources.RayCluster, cluster or {}, "cluster")
    chosen = errors.validated(resources.Settings, settings or {}, "settings")
    store, (key, call) = object_store.Store(chosen), deferral.key_and_call(os.environ, deferred)
    job = training.training_job(request, object_store.data_manifest(source), store, chosen, key)
    job = replace(job, deferred=deferral.is_deferred(wait, deferred))
    with dashboard.RayApi(ray) as api:
        runner = jobs.JobRunner(api, store, key, redaction.Redactor([*ray.secrets(), *chosen.secrets()]))
        if job.deferred:
            return deferral.submitted("ray", key, call, *runner.submit(job))
        done = runner.run(job)
    return training.trained(key, done).plain()
