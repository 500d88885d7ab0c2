# requirements: flexcore_base
# py: ==3.11.*
"""Releases what ray/deploy_model left running: takes the application down. Other applications stay."""

import os
from typing import Any

from f.flexcore.core.errors import checked, validated
from f.flexcore.core.identity import execution_key
from f.flexcore.core.redaction import Redactor
from f.flexcore.core.resources import RayCluster, Settings
from f.flexcore.ray.api import RayApi
from f.flexcore.ray.jobs import JobRunner, step_result
from f.flexcore.ray.serving import check_name, removal_job
from f.flexcore.storage.store import Store

c_ray_cluster = dict
c_flexcore_settings = dict


def main(
    cluster: c_ray_cluster, name: str, timeout_s: int = 300, settings: c_flexcore_settings | None = None
) -> dict[str, Any]:
    ray = validated(RayCluster, cluster or {}, "cluster")
    store, key = Store(validated(Settings, settings or {}, "settings")), execution_key(os.environ)
    job = removal_job(name, checked(int, timeout_s, "timeout_s"))
    with RayApi(ray) as api:
        check_name(name, api.serve_details())
        done = JobRunner(api, store, key, Redactor(ray.secrets())).run(job)
    return step_result(key, done, data={"name": name, "deleted": done.result["deleted"]}).plain()
