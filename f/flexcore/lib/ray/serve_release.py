# requirements: flexcore_base
"""What follows a deployment on Ray Serve, as jobs: other shares of the requests for its versions, and its release."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from f.flexcore.lib.core import contracts, errors, operation, resources
from f.flexcore.lib.ray import cluster, connection, job, job_adapter, job_inputs, serve_job

SET_TRAFFIC_PROGRAM = (
    "from f.flexcore.lib.ray.remote.serve_traffic import set_traffic\n\nresult = set_traffic(parameters, storage)\n"
)
UNDEPLOY = "from f.flexcore.lib.ray.remote.serve_traffic import undeploy\n\nresult = undeploy(parameters, storage)\n"


class TrafficRequest(resources.Form):
    """weights or rollback."""

    name: str = Field(description="Name of the application.")
    weights: dict[str, float] = Field(
        default={}, description="Share of the requests for each version, e.g. {1: 90, 2: 10}; the others get none."
    )
    rollback: bool = Field(default=False, description="Go back to the shares before the last change.")
    timeout_s: int = Field(default=300, ge=1, description="Longest time, in seconds.")
    from_revision: int = Field(
        default=0, ge=0, description="Change the shares only while they are of this revision; 0 means any."
    )

    @property
    def needs(self) -> cluster.Needs:
        return cluster.Needs()


class UndeployRequest(resources.Form):
    name: str = Field(description="Name of the application.")
    version: str = Field(
        default="", description="Take this version down alone, once it gets no requests; empty means all of them."
    )
    timeout_s: int = Field(default=300, ge=1, description="Longest time, in seconds.")

    @property
    def needs(self) -> cluster.Needs:
        return cluster.Needs()


def check_traffic(request: TrafficRequest, service: resources.RayCluster | None, settings: resources.Settings) -> None:
    """Raises InvalidInput for what can be seen without the cluster."""
    job_inputs.check_store(service, settings)
    if bool(request.weights) == request.rollback:
        raise errors.InvalidInput(
            "weights is empty: say which version gets how many of the requests, or choose rollback"
            if not request.weights
            else "weights and rollback exclude each other",
            subject="weights",
            remedy="Give either weights, e.g. {1: 90, 2: 10}, or rollback.",
        )
    wrong = [name for name, share in request.weights.items() if not 0 <= share < float("inf")]
    if wrong or (request.weights and not any(request.weights.values())):
        raise errors.InvalidInput(
            f"weights.{wrong[0]} is not a share: give 0 or more" if wrong else "weights gives no version any requests",
            subject="weights",
            remedy="Give each version a share of 0 or more, and one of them more than 0.",
        )


def _prepare_traffic(
    invocation: operation.Invocation[TrafficRequest, resources.RayCluster], context: job_adapter.Context
) -> job_adapter.Work:
    request = invocation.request
    serve_job.check_name(request.name, context.api.serve_details())
    parameters = request.model_dump(include={"weights", "rollback", "timeout_s", "from_revision"})
    change = job.Job(
        kind="traffic",
        files=job.program_files(serve_job.CHANGING, SET_TRAFFIC_PROGRAM),
        parameters={**parameters, "app": request.name, "owner": serve_job.owner_labels(context)},
        storage=job_inputs.storage_access(invocation.settings, context.store, context.key),
        timeout_s=request.timeout_s,
    )

    def to_result(finished: job.FinishedJob) -> contracts.StepResult:
        return finished.step_result(data={"name": request.name, **finished.result})

    return job_adapter.Work(change, to_result)


def _prepare_release(
    invocation: operation.Invocation[UndeployRequest, resources.RayCluster], context: job_adapter.Context
) -> job_adapter.Work:
    request = invocation.request
    serve_job.check_name(request.name, context.api.serve_details())
    parameters: dict[str, Any] = {"app": request.name, "owner": serve_job.owner_labels(context)}
    data = {"name": request.name} | ({"version": request.version} if request.version else {})
    release = job.Job(
        kind="unserve",
        files=job.program_files(serve_job.CHANGING, UNDEPLOY),
        parameters={**parameters, "version": request.version},
        timeout_s=request.timeout_s,
    )
    return job_adapter.Work(release, lambda done: done.step_result(data={**data, "deleted": done.result["deleted"]}))


def execute_traffic(invocation: operation.Invocation[TrafficRequest, resources.RayCluster]) -> dict[str, Any]:
    request, place = invocation.request, connection.follow(invocation.service)
    if place.is_on_kubernetes:
        # Imported for a cluster on Kubernetes alone.
        from f.flexcore.lib.ray import service_release

        where = (place, invocation.settings)
        if service_release.is_service(*where, request.name):
            return service_release.set_traffic(
                *where,
                invocation.key,
                request.name,
                request.weights,
                request.rollback,
                request.from_revision,
                request.timeout_s,
            )
    return job_adapter.execute_with(_prepare_traffic, check_traffic)(invocation)


def execute_release(invocation: operation.Invocation[UndeployRequest, resources.RayCluster]) -> dict[str, Any]:
    request, place = invocation.request, connection.follow(invocation.service)
    if place.is_on_kubernetes:
        from f.flexcore.lib.ray import service_release

        where = (place, invocation.settings)
        # Without a RayCluster to ask there is only the RayService, which may be gone already.
        if not place.name or service_release.is_service(*where, request.name):
            return service_release.undeploy(*where, invocation.key, request.name, request.version, request.timeout_s)
    return job_adapter.execute_with(_prepare_release)(invocation)


SET_TRAFFIC = operation.Operation(
    runtime="ray",
    name="set_traffic",
    request=TrafficRequest,
    service=resources.RayCluster,
    check=check_traffic,
    plan=job_adapter.plan_with(check_traffic),
    execute=execute_traffic,
)
UNDEPLOY_MODEL = operation.Operation(
    runtime="ray",
    name="undeploy_model",
    request=UndeployRequest,
    service=resources.RayCluster,
    check=operation.check_nothing,
    plan=job_adapter.plan,
    execute=execute_release,
)
