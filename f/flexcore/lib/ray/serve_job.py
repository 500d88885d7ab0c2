# requirements: flexcore_base
"""A deployment on Ray Serve as a job: the checks before it, and the endpoint that it leaves.

The application outlives its run on purpose; serve_release.UNDEPLOY_MODEL releases it.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from pydantic import Field

from f.flexcore.lib.core import contracts, errors, loopback, operation, resources, units
from f.flexcore.lib.ray import cluster, cluster_spec, dashboard, job, job_adapter, job_inputs
from f.flexcore.lib.serving import problems

DEPLOY = "from f.flexcore.lib.ray.remote.serve import deploy\n\nresult = deploy(parameters, storage)\n"
SERVING = (*job.SHARED, "shared_storage", "inference_app")
CHANGING = (*SERVING, "serve_apps", "serve_lease", "traffic", "serve_changes", "serve_traffic")
MODULES = (*CHANGING, "served_versions", "serve")
DEFAULT_PORT = 8000
# On one's own machine another port is as good, so a taken one is stepped over; elsewhere a firewall knows the port.
LOCAL_PORTS = range(8100, 9000)


class Autoscaling(resources.Form):
    """Of each version; as Ray Serve does it by the number of requests in progress."""

    max_replicas: int = Field(
        default=0, ge=0, description="Most copies that requests may bring; 0 keeps the number of replicas fixed."
    )
    min_replicas: int = Field(default=1, ge=0, description="Fewest copies.")
    target_requests: float = Field(default=2, gt=0, description="Requests in progress that each copy should have.")
    upscale_delay_s: float = Field(default=30, ge=0, description="Seconds of load before copies are added.")
    downscale_delay_s: float = Field(default=600, ge=0, description="Seconds of calm before copies are removed.")


class DeployRequest(resources.Form):
    """cpus and memory_gib are reserved for each replica."""

    model: dict[str, Any] | None = Field(default=None, description="Manifest of the trained model.")
    name: str = Field(
        default="",
        pattern=r"^$|^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$",
        description="Name of the application and its route; empty means the model's name.",
    )
    replicas: int = Field(default=1, ge=1, description="How many copies of the model answer.")
    autoscaling: Autoscaling | None = Field(
        default=None, description="How many copies the number of requests may bring."
    )
    weight: int = Field(
        default=100,
        ge=0,
        le=100,
        description="Percent of the requests that this version gets. Below 100, the versions that answer now stay "
        "beside it and share the rest.",
    )
    keep_previous: bool = Field(
        default=False,
        description="With a weight of 100: keep the versions that answered before, without requests, so that "
        "set_traffic can go back to them.",
    )
    cpus: float = Field(default=1, ge=0, description="CPUs that Ray reserves for each copy.")
    memory_gib: float = Field(
        default=0, ge=0, description="Memory in GiB that Ray reserves for each copy; 0 reserves none."
    )
    timeout_s: int = Field(default=600, ge=1, description="Longest time until the model is ready, in seconds.")

    @property
    def needs(self) -> cluster.Needs:
        if self.autoscaling and self.autoscaling.max_replicas:
            count, subject = max(self.autoscaling.min_replicas, 1), "autoscaling.min_replicas"
        else:
            count, subject = self.replicas, "replicas"
        return cluster.Needs(count, self.cpus, subject="cpus" if count == 1 else subject)


Deployment = operation.Invocation[DeployRequest, resources.RayCluster]


def check(request: DeployRequest, service: resources.RayCluster | None, settings: resources.Settings) -> None:
    """Raises InvalidInput or ManifestMismatch for what can be seen without the cluster and the model's files."""
    job_inputs.check_store(service, settings)
    scaling = request.autoscaling
    if scaling and scaling.max_replicas and scaling.min_replicas > scaling.max_replicas:
        raise errors.InvalidInput(
            f"autoscaling.min_replicas: {scaling.min_replicas} is more than max_replicas ({scaling.max_replicas})",
            subject="autoscaling.min_replicas",
            remedy="Give the smaller number as min_replicas.",
        )
    if request.model is not None:
        job_inputs.parse_model(request.model, settings)


def plan(invocation: Deployment) -> contracts.StepResult:
    """The cluster's measures, and whether the deployment would be an update. Raises InvalidInput when it cannot serve,
    can never give what the replicas ask for, or has the name for another application."""
    request = invocation.request
    with dashboard.RayApi(invocation.service) as api:
        job_adapter.check_again(invocation, api, check)
        data = cluster.measure(api)
        details = api.serve_details()
        if details is None:
            raise errors.InvalidInput(
                f"Ray Serve is not installed on the cluster at {api.address}",
                subject="cluster",
                remedy="Install ray[serve] on it, or choose the target kubernetes.",
            )
        name = request.name or (
            job_inputs.parse_model(request.model, invocation.settings).name if request.model else ""
        )
        is_update = check_name(name, details) if name else None
        cluster.check_capacity(api, request.needs)
    return cluster.plan_result(invocation.key, data | {"application": name, "update": is_update})


def deployment_job(invocation: Deployment, model: contracts.ModelManifest, context: job_adapter.Context) -> job.Job:
    """The job that deploys the model. Raises ManifestMismatch when its list of packages is not in the store."""
    request, ray = invocation.request, context.api.place
    parameters = {
        "app": request.name or model.name,
        "model": {**job_inputs.model_parameters(model, invocation.settings), "example": model.example},
        "requirements": job_inputs.read_requirements(model, context.store),
        "http": {
            "host": listening_host(ray),
            "ports": candidate_ports(ray),
        },
        "timeout_s": request.timeout_s,
        "options": {
            "replicas": request.replicas,
            "autoscaling": scaling_config(request.autoscaling),
            "weight": request.weight,
            "keep_previous": request.keep_previous,
            "cpus": request.cpus,
            "memory_bytes": int(request.memory_gib * units.GIB),
            # Serve shows it with the application: who deployed it, and that it is meant to outlive its run.
            "owner": owner_labels(context),
        },
    }
    return job.Job(
        kind="serve",
        files=job.program_files(MODULES, DEPLOY),
        parameters=parameters,
        storage=job_inputs.storage_access(invocation.settings, context.store, context.key),
        needs=request.needs,
        timeout_s=request.timeout_s,
    )


def is_local(ray: resources.RayCluster) -> bool:
    """Whether the head is one of this machine alone. A reference's own address says nothing."""
    return loopback.is_loopback(ray.address) and not ray.is_on_kubernetes


def listening_host(ray: resources.RayCluster) -> str:
    """Where a Serve that has to be started listens: on a head of this machine alone at the head's own address."""
    if not is_local(ray):
        return "0.0.0.0"
    return str(loopback.parse_address(loopback.read_host(ray.address)) or "127.0.0.1")


def candidate_ports(ray: resources.RayCluster) -> list[int]:
    """Where a Serve that has to be started may listen, the best first."""
    own = urlsplit(ray.serve_url)
    if own.port:
        return [own.port]
    if not is_local(ray) or ray.serve_url:
        return [DEFAULT_PORT]
    # Serve's proxies share a port without complaint: two heads that start together must not look at the same one.
    first = (urlsplit(ray.address).port or 0) % len(LOCAL_PORTS)
    return [DEFAULT_PORT, *LOCAL_PORTS[first:], *LOCAL_PORTS[:first]]


def endpoint_url(ray: resources.RayCluster, port: int, app: str) -> str:
    """The base address of an application as callers see it."""
    if ray.serve_url:
        return f"{ray.serve_url.rstrip('/')}/{app}"
    if ray.is_on_kubernetes:
        return f"http://{cluster_spec.head_service_name(ray.name)}.{ray.namespace}.svc:{port}/{app}"
    host = urlsplit(ray.address).hostname or ""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/{app}"


def scaling_config(scaling: Autoscaling | None) -> dict[str, Any] | None:
    """As Ray Serve takes it; None for a fixed number of replicas."""
    if scaling is None or not scaling.max_replicas:
        return None
    fields = scaling.model_dump(include={"min_replicas", "max_replicas", "upscale_delay_s", "downscale_delay_s"})
    # The smoke test asks the version before anybody else does.
    return fields | {
        "initial_replicas": max(scaling.min_replicas, 1),
        "target_ongoing_requests": scaling.target_requests,
    }


def owner_labels(context: job_adapter.Context) -> dict[str, str]:
    return context.key.labels(1) | {"flexcore/lives-on": "true"}


def check_name(app: str, details: dashboard.Json | None) -> bool:
    """Whether the application is there already; InvalidInput when the name or the route is another one's."""
    # Of a RayService there is nothing to ask.
    from f.flexcore.lib.ray.remote import serve_apps

    try:
        return serve_apps.check_name(app, (details or {}).get("applications") or {})
    except problems.Problem as problem:
        told = problem.flexcore
        raise errors.InvalidInput(told["message"], subject=told["subject"], remedy=told["remedy"]) from None


def _prepare_deployment(invocation: Deployment, context: job_adapter.Context) -> job_adapter.Work:
    model, ray = job_inputs.parse_model(invocation.request.model, invocation.settings), context.api.place
    app = invocation.request.name or model.name
    is_update = check_name(app, context.api.serve_details())

    def to_result(finished: job.FinishedJob) -> contracts.StepResult:
        told = {name: finished.result[name] for name in ("port", "traffic", "replaced")}
        data = {**told, "update": is_update, "job": finished.remote.name}
        return finished.step_result(data={**data, "packages": finished.packages})

    def prove_endpoint(result: contracts.StepResult) -> contracts.StepResult:
        from f.flexcore.lib.ray import smoke_test

        data = dict(result.data)
        port = data.pop("port")
        url = endpoint_url(ray, port, app)
        with smoke_test.open_client(context.api) as client:
            is_alone = invocation.request.weight == 100 or len(data["traffic"]) == 1
            asked = smoke_test.caller_url(context.api, port, app) or url
            smoke = smoke_test.run_smoke_test(asked, model, client, is_alone=is_alone)
        endpoint = contracts.EndpointManifest(uri=url, url=url, model_name=model.name, model_version=model.version)
        page = f"{context.api.address}/#/serve/applications/{app}"
        remote = contracts.Remote(kind="ray_serve_application", name=app, url=page)
        return result.model_copy(update={"output": endpoint, "remote": remote, "data": {"smoke": smoke, **data}})

    return job_adapter.Work(deployment_job(invocation, model, context), to_result, prove_endpoint)


DEPLOY_MODEL = operation.Operation(
    runtime="ray",
    name="deploy_model",
    request=DeployRequest,
    service=resources.RayCluster,
    check=check,
    plan=plan,
    execute=job_adapter.execute_with(_prepare_deployment, check),
)
