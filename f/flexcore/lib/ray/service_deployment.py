# requirements: flexcore_base
"""The operation behind ray/deploy_service: a model on a RayService of KubeRay, a Ray cluster of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydantic import Field

from f.flexcore.lib.core import contracts, errors, operation, resources
from f.flexcore.lib.ray import cluster_spec, job_inputs, serve_job

Object = dict[str, Any]
# The operator gives a name to each cluster of a RayService, of this one's and six characters.
MAX_NAME_LENGTH = cluster_spec.MAX_NAME_LENGTH - 6


class ServiceRequest(serve_job.DeployRequest):
    """A model on a Ray cluster of its own."""

    spec: cluster_spec.ClusterSpec | None = Field(
        default=None, description="What the Ray cluster is made of; empty keeps that of the RayService that is there."
    )
    gateway_class: str = Field(
        default="",
        description="GatewayClass of upgrades in steps, of a RayService that is made anew "
        "(NewClusterWithIncrementalUpgrade); empty: a new cluster takes over at once.",
    )
    timeout_s: int = Field(default=900, ge=1, description="Longest time until the model is ready, in seconds.")


Invocation = operation.Invocation[ServiceRequest, resources.RayCluster]


def check(request: ServiceRequest, service: resources.RayCluster | None, settings: resources.Settings) -> None:
    """Raises InvalidInput or ManifestMismatch for what can be seen without the cluster."""
    serve_job.check(request, None, settings)
    # Whatever `cluster` says, it is pods that fetch the model.
    job_inputs.check_store(resources.RayCluster(name=request.name or "a RayService"), settings)
    if service is not None:
        check_place(service)
    if request.gateway_class and request.spec and not request.spec.autoscales:
        raise errors.InvalidInput(
            "spec.groups: none may grow, and KubeRay upgrades only a cluster that scales in steps",
            subject="spec.groups",
            remedy="Give a group more max_workers than min_workers, or leave gateway_class empty.",
        )
    model = job_inputs.parse_model(request.model, settings) if request.model else None
    uri = model.uri if model else settings.storage_uri
    if uri and not uri.startswith("s3://"):
        raise errors.InvalidInput(
            f"model: {uri} is a folder of the worker, which the pods of a RayService cannot see",
            subject="settings.storage_uri",
            remedy="Use an s3:// store.",
        )
    name = request.name or (model.name if model else "")
    if name and len(name) > MAX_NAME_LENGTH:
        raise errors.InvalidInput(
            f"name: {name!r} is longer than {MAX_NAME_LENGTH} characters, the most of a RayService",
            subject="name",
            remedy="Give a shorter name.",
        )


def check_place(service: resources.RayCluster) -> None:
    """Raises InvalidInput for a cluster that has an address of its own."""
    kind = "is a local head" if service.local_head else "has an address"
    if service.local_head or (not service.is_on_kubernetes and service.address != resources.RAY_ADDRESS):
        raise errors.InvalidInput(
            f"cluster {kind}: a RayService is made on Kubernetes",
            subject="cluster",
            remedy="Give kubernetes_cluster and namespace, or use f/flexcore/ray/deploy_model.",
        )


def plan(invocation: Invocation) -> contracts.StepResult:
    # Imported where it is done: a form's check needs none of it.
    from f.flexcore.lib.ray import service_rollout

    return service_rollout.plan(with_place(invocation))


def execute(invocation: Invocation) -> Object:
    from f.flexcore.lib.ray import service_rollout

    return service_rollout.execute(with_place(invocation))


def with_place(invocation: Invocation) -> Invocation:
    """The invocation with the resource that its cluster names, if it names one."""
    from f.flexcore.lib.ray import connection

    if not invocation.service.resource:
        return invocation
    place = connection.follow(invocation.service)
    check_place(place)
    return replace(invocation, service=place)


DEPLOY_SERVICE = operation.Operation(
    runtime="ray",
    name="deploy_service",
    request=ServiceRequest,
    service=resources.RayCluster,
    check=check,
    plan=plan,
    execute=execute,
)
