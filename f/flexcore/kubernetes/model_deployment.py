# requirements: flexcore_kubernetes
# py: ==3.11.*
"""A model from its manifest to an endpoint that was asked and answered."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import Field

from f.flexcore.core.contracts import EndpointManifest, ModelManifest, Remote, StepResult, Timings
from f.flexcore.core.errors import FlexcoreError, InvalidInput
from f.flexcore.core.identity import ExecutionKey
from f.flexcore.core.manifests import check_consistent
from f.flexcore.core.requests import ComputeResources
from f.flexcore.core.resources import Settings
from f.flexcore.kubernetes.addresses import balancer_url, cluster_url, node_url
from f.flexcore.kubernetes.categories import diagnosed, error_of
from f.flexcore.kubernetes.client import Kubernetes
from f.flexcore.kubernetes.failures import Call
from f.flexcore.kubernetes.model_delivery import delivery
from f.flexcore.kubernetes.pod_form import check_image
from f.flexcore.kubernetes.serving import SERVICES, Deployer
from f.flexcore.kubernetes.serving_bodies import DEFAULT_MLSERVER_IMAGE, SERVICE_NAME, Serving
from f.flexcore.kubernetes.smoke import Smoke, smoke

# Clouds take about a minute to give an address; a cluster without load balancers never does.
BALANCER_S = 180.0
PAUSE_S = 1.0

Object = dict[str, Any]


@dataclass(slots=True)
class Answered:
    """A rolled out model with its address and what it said."""

    deployment: Object
    url: str
    note: str
    smoke: Smoke
    rolled_out: float


class DeploymentForm(ComputeResources):
    """The arguments of the step, but for the model and the cluster."""

    name: str = ""
    replicas: int = Field(default=1, ge=1)
    image: str = DEFAULT_MLSERVER_IMAGE
    model_source: str = ""
    service_type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    timeout_s: int = Field(default=600, ge=1)


def serving_of(
    form: DeploymentForm, model: ModelManifest, settings: Settings, namespace: str, key: ExecutionKey
) -> Serving:
    """What is asked for, checked as far as it can be without a cluster; raises InvalidInput or ManifestMismatch."""
    check_consistent(model)
    check_image(form.image)
    name = form.name or model.name
    if not SERVICE_NAME.fullmatch(name):
        raise InvalidInput(
            f"name: {name!r} cannot name a Service",
            subject="name",
            remedy="Use lower-case letters, digits and dashes, a letter first, at most 63.",
        )
    return Serving(
        model=model,
        delivery=delivery(model, form.model_source, settings),
        name=name,
        namespace=namespace,
        key=key,
        replicas=form.replicas,
        cpu=form.cpu,
        memory=form.memory,
        image=form.image,
        service_type=form.service_type,
        timeout_s=form.timeout_s,
    )


def deploy(kubernetes: Kubernetes, serving: Serving, clock: Callable[[], float] = time.monotonic) -> StepResult:
    deployer = Deployer(kubernetes, serving.namespace, clock=clock)
    begun = clock()

    def prove(deployment: Object, service: Object) -> Answered:
        rolled_out = clock()
        url, note = address(deployer, serving, service)
        asked = smoke(kubernetes, serving.namespace, serving.name, serving.model, clock=clock)
        return Answered(deployment, url, note, asked, rolled_out)

    answered = deployer.deploy(serving, prove)
    for text in filter(None, (answered.note, answered.smoke.note)):
        deployer.say(text)
    deployer.say(f"Model {serving.model.name} answers at {answered.url}/v2/models/{serving.model.name}/infer")
    return result(serving, answered, answered.rolled_out - begun, clock() - answered.rolled_out, deployer.log_tail)


def address(deployer: Deployer, serving: Serving, service: Object) -> tuple[str, str]:
    """(URL, note); the note says why it is not the address that was asked for."""
    inside = cluster_url(service)
    if serving.service_type == "NodePort":
        try:
            page = deployer.kubernetes.list("/api/v1/nodes", {}, Call("list", "nodes"))
        except FlexcoreError as error:
            return inside, f"The node's address is not measured: {error}"
        found = node_url(service, page.get("items") or [])
        return (found, "") if found else (inside, "No ready node has an address")
    if serving.service_type == "LoadBalancer":
        return _balanced(deployer, serving, service), ""
    return inside, ""


def _balanced(deployer: Deployer, serving: Serving, service: Object) -> str:
    until = deployer.clock() + min(BALANCER_S, serving.timeout_s)
    while (url := balancer_url(service)) is None:
        if deployer.clock() >= until:
            raise error_of(
                diagnosed("no_address", "No load balancer gave the service an address"), serving.name, "service_type"
            )
        deployer.sleep(PAUSE_S)
        service = deployer.get(SERVICES, serving.name) or service
    return url


def result(serving: Serving, answered: Answered, rollout_s: float, proving_s: float, log_tail: str) -> StepResult:
    model, metadata = serving.model, answered.deployment["metadata"]
    return StepResult(
        success=True,
        runtime="kubernetes",
        execution_key=serving.key.value,
        attempt=1,
        data={
            "namespace": serving.namespace,
            "image": serving.image,
            "replicas": serving.replicas,
            "model_source": serving.delivery.source,
            "service_type": serving.service_type,
            "smoke": asdict(answered.smoke),
        },
        output=EndpointManifest(uri=answered.url, url=answered.url, model_name=model.name, model_version=model.version),
        metrics={"replicas": serving.replicas, "smoke_latency_ms": answered.smoke.latency_ms},
        timings=Timings(starting=round(rollout_s, 3), finishing=round(proving_s, 3)),
        remote=Remote(kind="Deployment", name=metadata["name"], uid=metadata["uid"], url=answered.url),
        log_tail=log_tail,
    )
