# requirements: flexcore_base
# py: ==3.11.*
"""Predicts a value for every row of a stream, on Ray Data, and hands on the predictions as a manifest."""

import os
from typing import Any, Literal

import f.flexcore.storage.catalog as catalog
from f.flexcore.core.errors import validated
from f.flexcore.core.identity import execution_key
from f.flexcore.core.redaction import Redactor
from f.flexcore.core.resources import RayCluster, Settings
from f.flexcore.ray.api import RayApi
from f.flexcore.ray.jobs import JobRunner
from f.flexcore.ray.predicting import PredictRequest, predict_job, predicted
from f.flexcore.ray.requests import request_of
from f.flexcore.storage.store import Store, data_manifest, model_manifest

c_ray_cluster = dict
c_flexcore_settings = dict


def main(
    cluster: c_ray_cluster,
    model: dict,
    source: dict,
    stream: str = "",
    keep: list[str] | None = None,
    format: Literal["parquet", "csv", "jsonl"] = "parquet",
    num_workers: int = 1,
    cpus_per_worker: float = 1,
    packages: list[str] | None = None,
    timeout_s: int = 3600,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    request = request_of(PredictRequest, dict(locals()), "predict")
    ray = validated(RayCluster, cluster or {}, "cluster")
    chosen = validated(Settings, settings or {}, "settings")
    store, key, trained = Store(chosen), execution_key(os.environ), model_manifest(model)
    job = predict_job(request, trained, data_manifest(source), store, chosen, key)
    with RayApi(ray) as api:
        runner = JobRunner(api, store, key, Redactor([*ray.secrets(), *chosen.secrets()]))
        result = predicted(key, runner.run(job), trained)
    manifest = data_manifest(result.output.model_dump(mode="json") if result.output else None)
    catalog.add(store, "data", f"{trained.name}-predictions", f"{result.execution_key}-{result.attempt}", manifest)
    return result.plain()
