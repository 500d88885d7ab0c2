# requirements: flexcore_base
# py: ==3.11.*
"""Serves a trained model with Ray Serve by the Open Inference Protocol v2, and proves it by one request.

The application outlives the run on purpose; `f/flexcore/ray/undeploy_model` releases it.
"""

import os
from typing import Any

from f.flexcore.core.contracts import EndpointManifest, Remote
from f.flexcore.core.errors import validated
from f.flexcore.core.identity import execution_key
from f.flexcore.core.redaction import Redactor
from f.flexcore.core.resources import RayCluster, Settings
from f.flexcore.ray.api import RayApi
from f.flexcore.ray.jobs import JobRunner, step_result
from f.flexcore.ray.serving import check_name, deployment_job, endpoint_url, serve_request
from f.flexcore.ray.smoke import caller, smoke
from f.flexcore.storage.store import Store, model_manifest

c_ray_cluster = dict
c_flexcore_settings = dict


def main(
    cluster: c_ray_cluster,
    model: dict,
    name: str = "",
    replicas: int = 1,
    cpus: float = 1,
    memory_gib: float = 0,
    timeout_s: int = 600,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    request = serve_request(name=name, replicas=replicas, cpus=cpus, memory_gib=memory_gib, timeout_s=timeout_s)
    ray = validated(RayCluster, cluster or {}, "cluster")
    chosen = validated(Settings, settings or {}, "settings")
    manifest, store, key = model_manifest(model), Store(chosen), execution_key(os.environ)
    job, app = deployment_job(request, manifest, ray, store, chosen, key), request.name or manifest.name
    with RayApi(ray) as api:
        update = check_name(app, api.serve_details())
        done = JobRunner(api, store, key, Redactor([*ray.secrets(), *chosen.secrets()])).run(job)
    url = endpoint_url(ray, done.result["port"], app)
    with caller(ray) as client:
        proof = smoke(url, manifest, client)
    endpoint = EndpointManifest(uri=url, url=url, model_name=manifest.name, model_version=manifest.version)
    remote = Remote(kind="ray_serve_application", name=app, url=f"{ray.address}/#/serve/applications/{app}")
    data = {"smoke": proof, "update": update, "job": done.remote.name, "packages": done.packages}
    return step_result(key, done, output=endpoint, data=data).model_copy(update={"remote": remote}).plain()
