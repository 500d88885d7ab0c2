# requirements: flexcore_base
# py: ==3.11.*
"""Checks that a Ray cluster can be reached and tells what it has: version, resources, Ray Serve. Starts nothing."""

import os
from typing import Any

from f.flexcore.core.contracts import StepResult
from f.flexcore.core.errors import validated
from f.flexcore.core.identity import execution_key
from f.flexcore.core.resources import RayCluster
from f.flexcore.ray.api import RayApi
from f.flexcore.ray.measures import measure

c_ray_cluster = dict


def main(cluster: c_ray_cluster | None = None) -> dict[str, Any]:
    ray, key = validated(RayCluster, cluster or {}, "cluster"), execution_key(os.environ)
    with RayApi(ray) as api:
        data = measure(api)
    free = (
        f"{data['cpus_free']} of {data['cpus_total']} CPUs free"
        if data["cpus_total"] is not None
        else "its CPUs were not measured"
    )
    print(f"Ray {data['ray_version']} at {ray.address}: {free}")
    return StepResult(success=True, runtime="ray", execution_key=key.value, attempt=1, data=data).plain()
