# requirements: flexcore_base
# py: ==3.11.*
"""Trains a model on a stream of extracted data, on Ray, and hands on the model with its metrics on held-out rows."""

import os
from dataclasses import replace
from typing import Any, Literal

from f.flexcore.core.deferral import is_deferred, key_and_call, submitted
from f.flexcore.core.errors import validated
from f.flexcore.core.redaction import Redactor
from f.flexcore.core.resources import RayCluster, Settings
from f.flexcore.ray.api import RayApi
from f.flexcore.ray.jobs import JobRunner
from f.flexcore.ray.requests import request_of
from f.flexcore.ray.training import TrainRequest, trained, training_job
from f.flexcore.storage.store import Store, data_manifest

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
    request = request_of(TrainRequest, dict(locals()), "train")
    ray = validated(RayCluster, cluster or {}, "cluster")
    chosen = validated(Settings, settings or {}, "settings")
    store, (key, call) = Store(chosen), key_and_call(os.environ, deferred)
    job = training_job(request, data_manifest(source), store, chosen, key)
    job = replace(job, deferred=is_deferred(wait, deferred))
    with RayApi(ray) as api:
        runner = JobRunner(api, store, key, Redactor([*ray.secrets(), *chosen.secrets()]))
        if job.deferred:
            return submitted("ray", key, call, *runner.submit(job))
        done = runner.run(job)
    return trained(key, done).plain()
