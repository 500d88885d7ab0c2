# requirements: flexcore_base
# py: ==3.11.*
"""How a Ray cluster is."""

from __future__ import annotations

from typing import Any

from f.flexcore.core.errors import validated
from f.flexcore.core.health import Health
from f.flexcore.core.resources import RayCluster
from f.flexcore.ray.api import RayApi
from f.flexcore.ray.measures import measure

SERVING = ("serve_running", "serve_port", "serve_applications", "nodes", "session")


def health(place: str, resource: Any, namespace: str = "") -> Health:
    """Raises FlexcoreError when it is down."""
    with RayApi(validated(RayCluster, resource, place)) as api:
        data = measure(api)
    busy = data["cpus_free"] is not None and data["cpus_free"] <= 0
    return Health(
        runtime="ray",
        place=place,
        state="limited" if busy else "ready",
        version=data["ray_version"],
        cpus_free=data["cpus_free"],
        cpus_total=data["cpus_total"],
        gpus_free=data["gpus_free"],
        memory_free=data["memory_free"],
        queue=data["running_jobs"],
        detail="All CPUs are in use: new work waits" if busy else "",
        capabilities={name: data[name] for name in SERVING},
    )
