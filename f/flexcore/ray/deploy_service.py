# requirements: flexcore_base
"""Serves a trained model on a RayService of KubeRay, a Ray cluster of its own, and proves it by one request.

The RayService outlives the run on purpose; `f/flexcore/ray/undeploy_model` releases it.
"""

from typing import Any

from f.flexcore.lib.ray import service_deployment

c_ray_cluster = dict
c_flexcore_settings = dict


def main(
    cluster: c_ray_cluster,
    model: dict,
    name: str = "",
    replicas: int = 1,
    autoscaling: dict | None = None,
    weight: int = 100,
    keep_previous: bool = False,
    cpus: float = 1,
    memory_gib: float = 0,
    timeout_s: int = 900,
    spec: dict | None = None,
    gateway_class: str = "",
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    return service_deployment.DEPLOY_SERVICE.run(locals())
