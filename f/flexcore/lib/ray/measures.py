# requirements: flexcore_base
"""What a Ray cluster has and how much of it is free; null where the cluster does not tell."""

from __future__ import annotations

from collections.abc import Callable

from f.flexcore.lib.core import errors
from f.flexcore.lib.ray import dashboard


def measure(api: dashboard.RayApi) -> dashboard.Json:
    """The version (which must be told: it proves that this is Ray), resources, and Serve's applications."""
    version = api.version()
    # The jobs API is what the other steps use; a proxy may let the version pass and refuse this.
    jobs = api.jobs()
    status, serve = _told(api.cluster_status), _told(api.serve_details)
    return {
        "ray_version": version["ray_version"],
        "session": version.get("session_name"),
        "running_jobs": sum(1 for job in jobs if job.get("status") in ("PENDING", "RUNNING")),
        **resources(status),
        **serving(serve),
    }


def resources(status: dashboard.Json | None) -> dashboard.Json:
    """CPUs, GPUs, memory in bytes and nodes, from the autoscaler's report."""
    report = (status or {}).get("loadMetricsReport") or {}
    # A head is a node itself: a report without any is one that a head makes before it has heard of itself.
    usage = report.get("usage") or None
    found: dashboard.Json = {"nodes": sum(count for _, count in report.get("nodeTypes") or []) or None}
    for name, key in (("cpus", "CPU"), ("gpus", "GPU"), ("memory", "memory")):
        if usage is None:
            found |= {f"{name}_total": None, f"{name}_free": None}
            continue
        # A resource that is not listed is one that the cluster does not have.
        used, total = usage.get(key, (0, 0))
        found |= {f"{name}_total": total, f"{name}_free": total - used}
    return found


def serving(details: dashboard.Json | None) -> dashboard.Json:
    """Whether Ray Serve runs, on which port, and its applications (name → status)."""
    if details is None:
        return {"serve_running": None, "serve_port": None, "serve_applications": None}
    applications = details.get("applications") or {}
    running = bool(details.get("controller_info") or applications)
    options = details.get("http_options") or {}
    return {
        "serve_running": running,
        "serve_port": options.get("port") if running else None,
        "serve_applications": {name: item.get("status") for name, item in applications.items()},
    }


def _told(ask: Callable[[], dashboard.Json | None]) -> dashboard.Json | None:
    try:
        return ask()
    except errors.Forbidden:
        raise
    except errors.FlexcoreError:
        return None
