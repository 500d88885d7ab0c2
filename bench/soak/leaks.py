"""What is left over when all executions have ended: processes, folders, remote objects, leases."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx

from bench.soak import measures
from bench.soak.embedded_engine import EmbeddedEngine
from bench.soak.places import Places
from bench.soak.services import Cluster, Head
from f.flexcore.lib.core import resources
from f.flexcore.lib.ray import stored_leases
from f.flexcore.lib.storage import object_store

# uv keeps a lock for each environment that it has built in, under a name of its own.
UV_LOCK = re.compile(r"uv-.*\.lock")
LIVE_RAY = ("PENDING", "RUNNING")
Json = dict[str, Any]


def find_leaks(places: Places) -> list[str]:
    """A line for each thing, when all executions have ended."""
    found = [*_ray_jobs(places.head), *_kubernetes_jobs(places.cluster), *_leases(places)]
    if places.engine:
        found += [*_processes(places.engine), *_folders(places.engine)]
    return found


def _processes(engine: EmbeddedEngine) -> list[str]:
    """All that was started for a step of this engine, a pass of reconcile left out: it may run just now."""
    mark = f"FLEXCORE_HOME={engine.home}".encode()
    found = []
    for pid in measures.find_processes(mark):
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        names = {entry.partition(b"=")[0]: entry.partition(b"=")[2] for entry in environment}
        if b"WM_JOB_ID" in names and not names.get(b"WM_JOB_PATH", b"").endswith(b"/reconcile"):
            found.append(f"process {pid}: {measures.read_command(pid)[:120]}")
    return found


def _folders(engine: EmbeddedEngine) -> list[str]:
    """A folder of a job that lives is there as long as it lives: at most that of the pass of reconcile."""
    jobs, shared, temporary = (_names(folder) for folder in (engine.home / "jobs", engine.home / "shared", engine.temp))
    return [
        *(f"folder jobs/{name}" for name in (jobs if len(jobs) > 1 else ())),
        *(f"folder shared/{name}" for name in shared),
        *(f"temporary {name}" for name in temporary if not UV_LOCK.fullmatch(name)),
    ]


def _names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir()) if folder.exists() else []


def _ray_jobs(head: Head) -> list[str]:
    address, headers = head.head.address, head.head.headers
    jobs = httpx.get(f"{address}/api/jobs/", headers=headers, timeout=60).raise_for_status().json()
    return [f"Ray job {job['submission_id']}: {job['status']}" for job in jobs if job["status"] in LIVE_RAY]


def _kubernetes_jobs(cluster: Cluster) -> list[str]:
    found = [job for job in cluster.jobs() if not (job.get("status") or {}).get("conditions")]
    pods = [pod for pod in cluster.pods() if pod["status"].get("phase") not in ("Succeeded", "Failed")]
    return [f"{item['kind']} {item['metadata']['name']}" for item in (*found, *pods)]


def _leases(places: Places) -> list[str]:
    store = object_store.Store(resources.Settings.model_validate(places.settings))
    books = [(item.digest, item.read()) for item in stored_leases.list_stored(store)]
    return [f"lease of {digest}: {lease}" for digest, book in books for lease in book.leases]
