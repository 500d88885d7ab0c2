# requirements: flexcore_kubernetes
"""The operation behind kubernetes/deploy_model: a model from its manifest to an endpoint that has answered.

It says what shall be, and makes it so (model_deployer, endpoint): running it again updates, and a repeat after a
worker's death goes on where the first one was.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from f.flexcore.lib.core import contracts, dimensions, errors, identity, operation, resources
from f.flexcore.lib.kubernetes import (
    autoscaler,
    connection,
    model_delivery,
    pod_spec,
    server_choice,
    serving_manifests,
)
from f.flexcore.lib.storage import object_store

Object = dict[str, Any]
# The counter of requests that our own server has.
REQUESTS_METRIC = "flexcore_requests_total"


class DeploymentRequest(resources.Form):
    """Which model to serve and how. model: the manifest that a training hands on."""

    model: dict[str, Any] | None = Field(default=None, description="Manifest of the trained model.")
    name: str = Field(default="", description="Name of the deployment; empty means the model's name.")
    replicas: int = Field(default=1, ge=1, description="How many copies of the model answer.")
    cpu: dimensions.CpuQuantity = Field(default="500m", description="CPU of each copy, e.g. 500m or 2.")
    memory: dimensions.MemoryQuantity = Field(default="1Gi", description="Memory of each copy, e.g. 512Mi or 4Gi.")
    namespace: str = Field(default="", description="Namespace; empty means the one of the cluster resource.")
    server: Literal["mlserver", "flexcore"] = Field(
        default="mlserver",
        description="mlserver reads model.joblib, or is what the image starts by itself; flexcore is our own server, "
        "which reads models without pickle, in an image made from resources/model_server.",
    )
    image: str = Field(
        default="", description="Model server image; empty means MLServer's own, and has to be given for flexcore."
    )
    image_packages: list[str] = Field(
        default=[],
        description="What the image for flexcore has, as NAME==VERSION; empty means that of resources/model_server. "
        "Compared with what the model was trained with before anything starts.",
    )
    model_source: str = Field(
        default="",
        description="How the model reaches the cluster: empty for its s3:// address, pvc://CLAIM/FOLDER, or image when "
        "the image holds it at /mnt/models.",
    )
    service_type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = Field(
        default="ClusterIP", description="How the service is reached."
    )
    timeout_s: int = Field(default=600, ge=1, description="Longest time for the rollout, in seconds.")
    max_replicas: int = Field(
        default=0, ge=0, description="Most copies that load may bring, replicas being the fewest; 0 keeps them fixed."
    )
    scale_on: Literal["cpu", "memory", "requests"] = Field(
        default="cpu",
        description="What brings copies: the use of the reserved cpu or memory, or requests, which KEDA or an adapter "
        "of Prometheus must measure.",
    )
    scale_target: float | None = Field(
        default=None,
        gt=0,
        description="What each copy should have: percent of its cpu or memory, empty means 80; or requests per second.",
    )
    prometheus_url: str = Field(
        default="", description="Address at which the cluster reaches Prometheus; KEDA asks it for the requests."
    )
    requests_metric: str = Field(
        default="",
        description="Counter of the requests; empty means MLServer's, rest_server_requests_total.",
        pattern=r"^$|^[a-zA-Z_:][a-zA-Z0-9_:]*$",
    )
    max_unavailable: int | None = Field(
        default=None,
        ge=0,
        description="Copies that a drain of nodes may take away at once; empty means 1 where there are two or more.",
    )
    mode: Literal["deployment", "kserve"] = Field(
        default="deployment",
        description="What is made: a Deployment with its Service, or KServe's InferenceService, which makes both.",
    )

    run_as_user: int | None = Field(
        default=None,
        ge=0,
        description="User id of the containers; empty means 1000. 0 is root, which a namespace that enforces Pod "
        'Security "restricted" refuses.',
    )
    writable_root: bool = Field(
        default=False, description="Lets the server write outside of /tmp, which some images need."
    )
    network_policy: bool = Field(
        default=True,
        description="Lets the pods be reached at the serving port alone, and reach names and the store alone.",
    )

    def requested_namespace(self) -> str:
        return self.namespace


Invocation = operation.Invocation[DeploymentRequest, resources.KubernetesCluster]


def check(
    request: DeploymentRequest, service: resources.KubernetesCluster | None, settings: resources.Settings
) -> None:
    """Raises InvalidInput, MissingSetting or ManifestMismatch for everything that can be known without a cluster. Where
    the model is not trained yet, the settings' store is taken for its place."""
    connection.check_place(request.requested_namespace(), service, settings)
    if request.image:
        pod_spec.check_image(request.image)
    server_choice.check_image(request.server, request.image, request.image_packages)
    autoscaler.check(make_scaling(request))
    source = model_delivery.parse_source(request.model_source)
    model = parse_model(request)
    if request.name or model:
        check_service_name(request.name or model.name if model else request.name)
    if model:
        server_choice.check_model(model, request.server, request.image, request.image_packages, settings)
    if request.mode == "kserve":
        # Few are served so.
        from f.flexcore.lib.kubernetes import inference_service

        name = request.name or (model.name if model else "")
        inference_service.check(name, request.service_type, make_scaling(request))
    model_delivery.check_source(source, model.uri if model else settings.storage_uri, settings)


def parse_model(request: DeploymentRequest) -> contracts.ModelManifest | None:
    """Raises InvalidInput or ManifestMismatch."""
    if request.model is None:
        return None
    model = object_store.model_manifest(request.model)
    contracts.check_consistent(model)
    return model


def make_scaling(request: DeploymentRequest) -> autoscaler.Scaling:
    return autoscaler.Scaling(
        min_replicas=request.replicas,
        max_replicas=request.max_replicas,
        on=request.scale_on,
        target=request.scale_target,
        prometheus_url=request.prometheus_url,
        requests_metric=request.requests_metric or (REQUESTS_METRIC if request.server == "flexcore" else ""),
        max_unavailable=request.max_unavailable,
    )


def check_service_name(name: str) -> None:
    if not serving_manifests.SERVICE_NAME.fullmatch(name):
        raise errors.InvalidInput(
            f"name: {name!r} cannot name a Service",
            subject="name",
            remedy="Use lower-case letters, digits and dashes, a letter first, at most 63.",
        )


def plan(invocation: Invocation) -> contracts.StepResult:
    """What would be made, and whether it would likely run. Raises Unreachable, Forbidden or NotFound.

    A model that is not trained yet is planned as one of its name, in the settings' store."""
    # Imported for a plan alone: a deployment needs none of it.
    from f.flexcore.lib.kubernetes import plan_deployment, stand_in_model

    session = open_session(invocation)
    request, notes = stand_in_model.complete(invocation.request, invocation.settings)
    serving = build_serving(request, invocation.settings, session.namespace, invocation.key)
    return plan_deployment.plan(invocation, session, serving, notes)


def execute(invocation: Invocation) -> dict[str, Any]:
    """Raises the typed error of whatever prevents it; error.details.undone then says what became of the Deployment."""
    # The pipelines check and plan it, too: they need none of what rolls a model out.
    from f.flexcore.lib.kubernetes import endpoint, kserve_deployer

    session = open_session(invocation)
    serving = build_serving(invocation.request, invocation.settings, session.namespace, invocation.key)
    deployer = kserve_deployer.open_deployer(serving.mode, session.kubernetes, session.namespace)
    return endpoint.deploy(deployer, serving).plain()


def open_session(invocation: Invocation) -> connection.Session:
    return connection.connect(invocation.service, invocation.request.requested_namespace(), invocation.settings)


def build_serving(
    request: DeploymentRequest, settings: resources.Settings, namespace: str, key: identity.ExecutionKey
) -> serving_manifests.Serving:
    model = parse_model(request)
    if model is None:
        raise errors.InvalidInput(
            "model is missing: give the manifest of a trained model",
            subject="model",
            remedy="Pass the output of a training.",
        )
    server_choice.check_model(model, request.server, request.image, request.image_packages, settings)
    source = model_delivery.parse_source(request.model_source)
    own = (
        model_delivery.Server(serving_manifests.count_threads(request.cpu), settings.pickle == "allow")
        if request.server == server_choice.FLEXCORE
        else None
    )
    return serving_manifests.Serving(
        model=model,
        delivery=model_delivery.make_delivery(model, source, settings, own),
        name=request.name or model.name,
        namespace=namespace,
        key=key,
        replicas=request.replicas,
        cpu=request.cpu,
        memory=request.memory,
        image=request.image or serving_manifests.DEFAULT_MLSERVER_IMAGE,
        service_type=request.service_type,
        timeout_s=request.timeout_s,
        mode=request.mode,
        scaling=make_scaling(request),
        server=request.server,
        run_as_user=request.run_as_user,
        writable_root=request.writable_root,
        network_policy=request.network_policy,
        store_endpoint=settings.storage_endpoint_url,
    )


DEPLOY_MODEL = operation.Operation(
    runtime="kubernetes",
    name="deploy_model",
    request=DeploymentRequest,
    service=resources.KubernetesCluster,
    check=check,
    plan=plan,
    execute=execute,
)
