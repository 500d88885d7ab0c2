# requirements: flexcore_base
"""Releases what ray/deploy_model left running: takes the application down. Other applications stay."""

import os
from typing import Any

from f.flexcore.lib.core import errors, identity, redaction, resources
from f.flexcore.lib.ray import dashboard, jobs, serving
from f.flexcore.lib.storage import object_store

c_ray_cluster = dict
c_flexcore_settings = dict


def main(
    cluster: c_ray_cluster, name: str, timeout_s: int = 300, settings: c_flexcore_settings | None = None
) -> dict[str, Any]:
    ray = errors.validated(resources.RayCluster, cluster or {}, "cluster")
    store, key = (
        object_store.Store(errors.validated(resources.Settings, settings or {}, "settings")),
        identity.execution_key(os.environ),
    )
    job = serving.removal_job(name, errors.checked(int, timeout_s, "timeout_s"))
    with dashboard.RayApi(ray) as api:
        serving.check_name(name, api.serve_details())
        done = jobs.JobRunner(api, store, key, redaction.Redactor(ray.secrets())).run(job)
    return jobs.step_result(key, done, data={"name": name, "deleted": done.result["deleted"]}).plain()
