# requirements: flexcore_base
"""Predicts a value for every row of a stream, on Ray Data, and hands on the predictions as a manifest."""

import os
from typing import Any, Literal

from f.flexcore.lib.core import errors, identity, redaction, resources
from f.flexcore.lib.ray import dashboard, job_requests, jobs, predicting
from f.flexcore.lib.storage import catalog, object_store

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
    request = job_requests.request_of(predicting.PredictRequest, dict(locals()), "predict")
    ray = errors.validated(resources.RayCluster, cluster or {}, "cluster")
    chosen = errors.validated(resources.Settings, settings or {}, "settings")
    store, key, trained = (
        object_store.Store(chosen),
        identity.execution_key(os.environ),
        object_store.model_manifest(model),
    )
    job = predicting.predict_job(request, trained, object_store.data_manifest(source), store, chosen, key)
    with dashboard.RayApi(ray) as api:
        runner = jobs.JobRunner(api, store, key, redaction.Redactor([*ray.secrets(), *chosen.secrets()]))
        result = predicting.predicted(key, runner.run(job), trained)
    manifest = object_store.data_manifest(result.output.model_dump(mode="json") if result.output else None)
    catalog.add(store, "data", f"{trained.name}-predictions", f"{result.execution_key}-{result.attempt}", manifest)
    return result.plain()
