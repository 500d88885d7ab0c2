# requirements: flexcore_kubernetes
"""A model from its manifest to an endpoint that was asked and answered."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import Field

from f.flexcore.lib.core import contracts, errors, identity, manifests, requests, resources
from f.flexcore.lib.kubernetes import (
    addresses,
    api_errors,
    categories,
    client,
    model_delivery,
    model_deployer,
    pod_spec,
    serving_manifests,
    smoke_test,
)

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
    smoke: smoke_test.Smoke
    rolled_out: float


class DeploymentForm(requests.ComputeResources):
    """The arguments of the step, but for the model and the cluster."""

    name: str = ""
    replicas: int = Field(default=1, ge=1)
    image: str = serving_manifests.DEFAULT_MLSERVER_IMAGE
    model_source: str = ""
    service_type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    timeout_s: int = Field(default=600, ge=1)


def serving_of(
    form: DeploymentForm,
    model: contracts.ModelManifest,
    settings: resources.Settings,
    namespace: str,
    key: identity.ExecutionKey,
) -> serving_manifests.Serving:
    """What is asked for, checked as far as it can be without a cluster; raises InvalidInput or ManifestMismatch."""
    manifests.check_consistent(model)
    pod_spec.check_image(form.image)
    name = form.name or model.name
    if not serving_manifests.SERVICE_NAME.fullmatch(name):
        raise errors.InvalidInput(
            f"name: {name!r} cannot name a Service",
            subject="name",
            remedy="Use lower-case letters, digits and dashes, a letter first, at most 63.",
        )
    return serving_manifests.Serving(
        model=model,
        delivery=model_delivery.delivery(model, form.model_source, settings),
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


def deploy(
    kubernetes: client.Kubernetes, serving: serving_manifests.Serving, clock: Callable[[], float] = time.monotonic
) -> contracts.StepResult:
    deployer = model_deployer.Deployer(kubernetes, serving.namespace, clock=clock)
    begun = clock()

    def prove(deployment: Object, service: Object) -> Answered:
        rolled_out = clock()
        url, note = address(deployer, serving, service)
        asked = smoke_test.smoke(kubernetes, serving.namespace, serving.name, serving.model, clock=clock)
        return Answered(deployment, url, note, asked, rolled_out)

    answered = deployer.deploy(serving, prove)
    for text in filter(None, (answered.note, answered.smoke.note)):
        deployer.say(text)
    deployer.say(f"Model {serving.model.name} answers at {answered.url}/v2/models/{serving.model.name}/infer")
    return result(serving, answered, answered.rolled_out - begun, clock() - answered.rolled_out, deployer.log_tail)


def address(deployer: model_deployer.Deployer, serving: serving_manifests.Serving, service: Object) -> tuple[str, str]:
    """(URL, note); the note says why it is not the address that was asked for."""
    inside = addresses.cluster_url(service)
    if serving.service_type == "NodePort":
        try:
            page = deployer.kubernetes.list("/api/v1/nodes", {}, api_errors.Call("list", "nodes"))
        except errors.FlexcoreError as error:
            return inside, f"The node's address is not measured: {error}"
        found = addresses.node_url(service, page.get("items") or [])
        return (found, "") if found else (inside, "No ready node has an address")
    if serving.service_type == "LoadBalancer":
        return _balanced(deployer, serving, service), ""
    return inside, ""


def _balanced(deployer: model_deployer.Deployer, serving: serving_manifests.Serving, service: Object) -> str:
    until = deployer.clock() + min(BALANCER_S, serving.timeout_s)
    while (url := addresses.balancer_url(service)) is None:
        if deployer.clock() >= until:
            raise categories.error_of(
                categories.diagnosed("no_address", "No load balancer gave the service an address"),
                serving.name,
                "service_type",
            )
        deployer.sleep(PAUSE_S)
        service = deployer.get(model_deployer.SERVICES, serving.name) or service
    return url


def result(
    serving: serving_manifests.Serving, answered: Answered, rollout_s: float, proving_s: float, log_tail: str
) -> contracts.StepResult:
    model, metadata = serving.model, answered.deployment["metadata"]
    return contracts.StepResult(
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
        output=contracts.EndpointManifest(
            uri=answered.url, url=answered.url, model_name=model.name, model_version=model.version
        ),
        metrics={"replicas": serving.replicas, "smoke_latency_ms": answered.smoke.latency_ms},
        timings=contracts.Timings(starting=round(rollout_s, 3), finishing=round(proving_s, 3)),
        remote=contracts.Remote(kind="Deployment", name=metadata["name"], uid=metadata["uid"], url=answered.url),
        log_tail=log_tail,
    )
