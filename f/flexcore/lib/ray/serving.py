# requirements: flexcore_base
"""A deployment on Ray Serve as a job, the checks before it, and where the model answers after it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field

from f.flexcore.lib.core import contracts, errors, identity, manifests, requests, resources
from f.flexcore.lib.ray import capacity, dashboard, jobs, packaging
from f.flexcore.lib.ray.remote import inference_app, serve, shared_storage
from f.flexcore.lib.storage import object_store

MODULES = [shared_storage, inference_app, serve]
PORT = 8000
# On one's own machine another port is as good, so a taken one is stepped over; elsewhere a firewall knows the port.
OTHER_PORTS = range(8100, 9000)
OWNER = "flexcore/key"


class ServeRequest(resources.Form):
    """name: of the application and its route; cpus and memory_gib are reserved for each replica."""

    name: str = Field(default="", pattern=r"^$|^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
    replicas: int = Field(default=1, ge=1)
    cpus: float = Field(default=1, ge=0)
    memory_gib: float = Field(default=0, ge=0)
    timeout_s: int = Field(default=600, ge=1)


def serve_request(**arguments: Any) -> ServeRequest:
    return errors.validated(ServeRequest, arguments, "deploy_model")


def deployment_job(
    request: ServeRequest,
    model: contracts.ModelManifest,
    cluster: resources.RayCluster,
    store: object_store.Store,
    settings: resources.Settings,
    key: identity.ExecutionKey,
) -> jobs.Job:
    """The job that deploys the model. Raises ManifestMismatch when the manifest contradicts itself, or InvalidInput for
    a model of another format."""
    manifests.check_consistent(model)
    if model.format != "sklearn-joblib":
        raise errors.InvalidInput(
            f"A model of format {model.format} cannot be served on Ray",
            subject="model.format",
            remedy="Pass the output of f/flexcore/ray/train.",
        )
    probe = store.uri(key.value, "shared.json")
    if store.local:
        store.write_json(probe, {"key": key.value})
    parameters = {
        "app": request.name or model.name,
        "model": model.model_dump(include={"name", "version", "uri", "files", "signature", "example"}),
        "requirements": requirements_of(model, store),
        "http": {
            "host": "127.0.0.1" if dashboard.is_loopback(cluster.address) else "0.0.0.0",
            "ports": ports_of(cluster),
        },
        "timeout_s": request.timeout_s,
        "options": {
            "replicas": request.replicas,
            "cpus": request.cpus,
            "memory_bytes": int(request.memory_gib * requests.GIB),
            # Serve shows it with the application: who deployed it, and that it is meant to outlive its run.
            "owner": key.labels(1) | {"flexcore/lives-on": "true", "flexcore/model-version": model.version},
        },
    }
    program = "from f.flexcore.lib.ray.remote.serve import deploy\n\nresult = deploy(parameters, storage)\n"
    files = packaging.program_files(MODULES, program)
    storage = packaging.storage_of(settings, store.root, probe)
    needs = capacity.Needs(
        count=request.replicas, cpus=request.cpus, subject="cpus" if request.replicas == 1 else "replicas"
    )
    return jobs.Job("serve", files, parameters, storage=storage, needs=needs, timeout_s=request.timeout_s)


def requirements_of(model: contracts.ModelManifest, store: object_store.Store) -> list[str]:
    """The packages that can read the model, by its own list. Raises ManifestMismatch when that is not in the store."""
    files = [item for item in model.files if item.path == "requirements.txt"]
    if not files:
        return []
    part = model.model_copy(update={"files": files, "checksum": manifests.checksum_of(files)})
    with TemporaryDirectory() as folder:
        store.download(part, Path(folder))
        return Path(folder, "requirements.txt").read_text().split()


def removal_job(name: str, timeout_s: int) -> jobs.Job:
    """The job that takes an application down."""
    program = "from f.flexcore.lib.ray.remote.serve import undeploy\n\nresult = undeploy(parameters, storage)\n"
    files = packaging.program_files(MODULES, program)
    return jobs.Job(kind="unserve", files=files, parameters={"app": name}, timeout_s=timeout_s)


def ports_of(cluster: resources.RayCluster) -> list[int]:
    """Where a Serve that has to be started may listen."""
    given = urlsplit(cluster.serve_url)
    if given.port:
        return [given.port]
    if not dashboard.is_loopback(cluster.address) or cluster.serve_url:
        return [PORT]
    # Serve's proxies share a port without complaint: two heads that start together must not look at the same one.
    first = (urlsplit(cluster.address).port or 0) % len(OTHER_PORTS)
    return [PORT, *OTHER_PORTS[first:], *OTHER_PORTS[:first]]


def endpoint_url(cluster: resources.RayCluster, port: int, app: str) -> str:
    """The base address of an application as callers see it."""
    if cluster.serve_url:
        return f"{cluster.serve_url.rstrip('/')}/{app}"
    host = urlsplit(cluster.address).hostname or ""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/{app}"


def check_name(app: str, details: dashboard.Json | None) -> bool:
    """Whether the application is there already; InvalidInput when the name or the route is somebody else's."""
    applications = (details or {}).get("applications") or {}
    for name, known in applications.items():
        if name != app and known.get("route_prefix") == f"/{app}":
            raise errors.InvalidInput(
                f"The route /{app} belongs to the application {name!r}",
                subject="name",
                remedy="Choose another name.",
            )
    if app not in applications:
        return False
    if not is_ours(applications[app]):
        raise errors.InvalidInput(
            f"An application named {app!r} is there already, and flexcore did not deploy it",
            subject="name",
            remedy="Choose another name.",
        )
    return True


def is_ours(application: dashboard.Json) -> bool:
    deployments = (application.get("deployments") or {}).values()
    configs = [(item.get("deployment_config") or {}).get("user_config") for item in deployments]
    return any(isinstance(config, dict) and OWNER in config for config in configs)
