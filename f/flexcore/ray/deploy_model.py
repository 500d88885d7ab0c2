# requirements: flexcore_base
"""Serves a trained model with Ray Serve by the Open Inference Protocol v2, and proves it by one request.

The application outlives the run on purpose; `f/flexcore/ray/undeploy_model` releases it.
"""

import os
from typing import Any

from f.flexcore.lib.core import contracts, errors, identity, redaction, resources
from f.flexcore.lib.ray import dashboard, jobs, serving, smoke_test
from f.flexcore.lib.storage import object_store

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
    request = serving.serve_request(name=name, replicas=replicas, cpus=cpus, memory_gib=memory_gib, timeout_s=timeout_s)
    ray = errors.validated(resources.RayCluster, cluster or {}, "cluster")
    chosen = errors.validated(resources.Settings, settings or {}, "settings")
    manifest, store, key = (
        object_store.model_manifest(model),
        object_store.Store(chosen),
        identity.execution_key(os.environ),
    )
    job, app = serving.deployment_job(request, manifest, ray, store, chosen, key), request.name or manifest.name
    with dashboard.RayApi(ray) as api:
        update = serving.check_name(app, api.serve_details())
        done = jobs.JobRunner(api, store, key, redaction.Redactor([*ray.secrets(), *chosen.secrets()])).run(job)
    url = serving.endpoint_url(ray, done.result["port"], app)
    with smoke_test.caller(ray) as client:
        proof = smoke_test.smoke(url, manifest, client)
    endpoint = contracts.EndpointManifest(uri=url, url=url, model_name=manifest.name, model_version=manifest.version)
    remote = contracts.Remote(kind="ray_serve_application", name=app, url=f"{ray.address}/#/serve/applications/{app}")
    data = {"smoke": proof, "update": update, "job": done.remote.name, "packages": done.packages}
    return jobs.step_result(key, done, output=endpoint, data=data).model_copy(update={"remote": remote}).plain()
