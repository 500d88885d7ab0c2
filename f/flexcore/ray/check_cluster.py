# requirements: flexcore_base
"""Checks that a Ray cluster can be reached and tells what it has: version, resources, Ray Serve. Starts nothing."""

import os
from typing import Any

from f.flexcore.lib.core import contracts, errors, identity, resources
from f.flexcore.lib.ray import dashboard, measures

c_ray_cluster = dict


def main(cluster: c_ray_cluster | None = None) -> dict[str, Any]:
    ray, key = errors.validated(resources.RayCluster, cluster or {}, "cluster"), identity.execution_key(os.environ)
    with dashboard.RayApi(ray) as api:
        data = measures.measure(api)
    free = (
        f"{data['cpus_free']} of {data['cpus_total']} CPUs free"
        if data["cpus_total"] is not None
        else "its CPUs were not measured"
    )
    print(f"Ray {data['ray_version']} at {ray.address}: {free}")
    return contracts.StepResult(success=True, runtime="ray", execution_key=key.value, attempt=1, data=data).plain()
