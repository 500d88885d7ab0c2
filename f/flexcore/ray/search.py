# requirements: flexcore_base
# py: ==3.11.*
"""Looks for better parameters of an algorithm by random search on Ray, within bounds, for a training to take."""

import os
from typing import Any, Literal

from f.flexcore.core.errors import validated
from f.flexcore.core.identity import execution_key
from f.flexcore.core.redaction import Redactor
from f.flexcore.core.resources import RayCluster, Settings
from f.flexcore.ray.api import RayApi
from f.flexcore.ray.jobs import JobRunner
from f.flexcore.ray.requests import request_of
from f.flexcore.ray.searching import SearchRequest, found, search_job
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
    cpus_per_worker: float = 1,
    packages: list[str] | None = None,
    trials: int = 20,
    search_s: int = 1800,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    request = request_of(SearchRequest, dict(locals()), "search")
    ray = validated(RayCluster, cluster or {}, "cluster")
    chosen = validated(Settings, settings or {}, "settings")
    store, key = Store(chosen), execution_key(os.environ)
    job = search_job(request, data_manifest(source), store, chosen, key)
    with RayApi(ray) as api:
        runner = JobRunner(api, store, key, Redactor([*ray.secrets(), *chosen.secrets()]))
        return found(key, runner.run(job)).plain()
