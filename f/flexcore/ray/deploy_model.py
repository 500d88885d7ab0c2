# requirements: flexcore_base
"""Serves a trained model with Ray Serve by the Open Inference Protocol v2, and proves it by one request.

The application outlives the run on purpose; `f/flexcore/ray/undeploy_model` releases it.
"""

from typing import Any

from f.flexcore.lib.ray import serve_job

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
    timeout_s: int = 600,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    return serve_job.DEPLOY_MODEL.run(locals())
