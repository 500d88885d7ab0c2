# requirements: flexcore_base
"""Looks for better parameters of an algorithm by random search on Ray, within bounds, for a training to take."""

import os
from typing import Any, Literal

from f.flexcore.lib.core import errors, identity, redaction, resources
from f.flexcore.lib.ray import dashboard, job_requests, jobs, searching
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
    cpus_per_worker: float = 1,
    packages: list[str] | None = None,
    trials: int = 20,
    search_s: int = 1800,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    request = job_requests.request_of(searching.SearchRequest, dict(locals()), "search")
    ray = errors.validated(resources.RayCluster, cluster or {}, "cluster")
    chosen = errors.validated(resources.Settings, settings or {}, "settings")
    store, key = object_store.Store(chosen), identity.execution_key(os.environ)
    job = searching.search_job(request, object_store.data_manifest(source), store, chosen, key)
    with dashboard.RayApi(ray) as api:
        runner = jobs.JobRunner(api, store, key, redaction.Redactor([*ray.secrets(), *chosen.secrets()]))
        return searching.found(key, runner.run(job)).plain()
