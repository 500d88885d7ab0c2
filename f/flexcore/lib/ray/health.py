# requirements: flexcore_base
"""Health check of a Ray cluster."""

from __future__ import annotations

from typing import Any

from f.flexcore.lib.core import errors, resources, runtime_health
from f.flexcore.lib.ray import cluster, dashboard

CAPABILITIES = ("serve_running", "serve_port", "serve_applications", "nodes", "session")


def health(place: str, resource: Any, namespace: str = "") -> runtime_health.Health:
    """The health of the cluster that `resource` names. Raises FlexcoreError when it is down."""
    with dashboard.RayApi(errors.validate(resources.RayCluster, resource, place)) as api:
        data = cluster.measure(api)
    is_busy = data["cpus_free"] is not None and data["cpus_free"] <= 0
    return runtime_health.Health(
        runtime="ray",
        place=place,
        state="limited" if is_busy else "ready",
        version=data["ray_version"],
        cpus_free=data["cpus_free"],
        cpus_total=data["cpus_total"],
        gpus_free=data["gpus_free"],
        memory_free=data["memory_free"],
        queue=data["running_jobs"],
        detail="All CPUs are in use: new work waits" if is_busy else "",
        capabilities={name: data[name] for name in CAPABILITIES},
    )
