# requirements: flexcore_kubernetes
"""From a model to its endpoint: rolled out, the address of its Service, and a smoke test through the API server.

ClusterIP      http://NAME.NAMESPACE.svc:8080, from within the cluster
NodePort       a ready node's address and the port that the cluster chose
LoadBalancer   the address that the cluster's load balancer gave, once it has

The API server reaches the model from wherever this worker is. None in place of a measurement means that the way there
is closed (no right, no route), not that the model is wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from f.flexcore.lib.core import contracts, errors, inference
from f.flexcore.lib.kubernetes import cluster_objects, kserve_deployer, model_deployer, serving_manifests
from f.flexcore.lib.kubernetes_api import api_errors, categories, client, job_status

Object = Mapping[str, Any]
Deployer = model_deployer.Deployer | kserve_deployer.KServeDeployer

# Clouds take about a minute to give an address; a cluster without load balancers never does.
BALANCER_TIMEOUT_S = 180.0
BALANCER_INTERVAL_S = 1.0
# After a rollout the API server's view of the service's pods lags by a moment.
SMOKE_TIMEOUT_S = 15.0
SMOKE_INTERVAL_S = 0.5


# --- address


def cluster_url(service: Object) -> str:
    metadata, spec = service["metadata"], service["spec"]
    # Without an address of its own its name means the pods themselves, with the port that they listen on.
    port = serving_manifests.PORT if spec.get("clusterIP") == "None" else spec["ports"][0]["port"]
    return f"http://{metadata['name']}.{metadata['namespace']}.svc:{port}"


def node_url(service: Object, nodes: Sequence[Object]) -> str | None:
    """None when no ready node has an address. External addresses come first: the caller may be anywhere."""
    port = next((item.get("nodePort") for item in service["spec"]["ports"]), None)
    ready = [node for node in nodes if job_status.find_condition(node, "Ready")]
    for kind in ("ExternalIP", "InternalIP"):
        for node in ready:
            for address in (node.get("status") or {}).get("addresses") or ():
                if address.get("type") == kind and port:
                    return f"http://{_host(address['address'])}:{port}"
    return None


def balancer_url(service: Object) -> str | None:
    """None until there is an address."""
    for entry in ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ():
        host = entry.get("hostname") or entry.get("ip")
        if host:
            return f"http://{_host(host)}:{serving_manifests.PORT}"
    return None


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def find_node_url(kubernetes: client.Kubernetes, service: Object) -> tuple[str, str]:
    """(URL, note); the note says why it is the address within the cluster instead."""
    try:
        page = kubernetes.list("/api/v1/nodes", {}, api_errors.Call("list", "nodes"))
    except errors.FlexcoreError as error:
        return cluster_url(service), f"The node's address is not measured: {error}"
    url = node_url(service, page.get("items") or [])
    return (url, "") if url else (cluster_url(service), "No ready node has an address")


def wait_for_balancer_url(
    service: Object,
    read_service: Callable[[], Object | None],
    timeout_s: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> str:
    """Raises Unavailable (category no_address) when the cluster gives none in time."""
    name, until = service["metadata"]["name"], clock() + min(BALANCER_TIMEOUT_S, timeout_s)
    while (url := balancer_url(service)) is None:
        if clock() >= until:
            problem = categories.Problem(categories.Category.NO_ADDRESS, "No load balancer gave the service an address")
            raise problem.to_error(name, "service_type")
        sleep(BALANCER_INTERVAL_S)
        service = read_service() or service
    return url


# --- smoke test


@dataclass(slots=True)
class SmokeTest:
    """ready and predicted: True, or None when not measured (note says why). latency_ms is the way through the API
    server, so it is more than the model's own time."""

    ready: bool | None = None
    predicted: bool | None = None
    rows: int | None = None
    predictions: list[Any] | None = None
    latency_ms: float | None = None
    note: str = ""


class NotMeasured(Exception):
    """The way through the API server cannot be taken; the text says why."""


@dataclass(slots=True)
class ModelProxy:
    """A deployed model as the API server reaches it."""

    kubernetes: client.Kubernetes
    namespace: str
    service: str
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def smoke_test(self, model: contracts.ModelManifest) -> SmokeTest:
        """Asks for one prediction. Raises ExecutionFailed (category smoke_failed) when the model answers wrongly."""
        base = f"/v2/models/{model.name}"
        test = SmokeTest()
        until = self.clock() + SMOKE_TIMEOUT_S
        try:
            self._request("GET", f"{base}/ready", None, until)
            test.ready = True
            if not model.example:
                test.note = "The manifest holds no example to predict"
                return test
            body = inference.build_infer_request(model.example, model.signature)
            started = self.clock()
            answer = self._request("POST", f"{base}/infer", body, until)
            test.latency_ms = round((self.clock() - started) * 1000, 1)
        except NotMeasured as reason:
            test.note = str(reason)
            return test
        try:
            test.predictions = inference.parse_predictions(answer, len(model.example))
        except errors.FlexcoreError as error:
            raise self._to_error(str(error)) from None
        test.rows, test.predicted = len(model.example), True
        return test

    def _request(self, method: str, path: str, body: Any, until: float) -> Any:
        url = f"/api/v1/namespaces/{self.namespace}/services/{self.service}:http/proxy{path}"
        call = api_errors.Call("create" if body else "get", "services/proxy", self.namespace, self.service)
        while True:
            try:
                code, payload = self.kubernetes.request_raw(method, url, body, call)
            except errors.TransientError as error:
                raise NotMeasured(f"Not measured: {error}") from None
            if code < 300:
                return payload
            own = api_errors.trusted_status(payload)
            if own and code in (401, 403):
                raise NotMeasured(f"Not measured: no right to {call}")
            if own and self.clock() >= until:
                text = f"the API server does not reach the service ({own.get('message')})"
                raise NotMeasured(f"Not measured: {text}")
            if not own and (code < 500 or self.clock() >= until):
                answer = payload.get("error") if isinstance(payload, dict) else None
                raise self._to_error(f"HTTP {code}{f': {answer}' if answer else ''}")
            self.sleep(SMOKE_INTERVAL_S)

    def _to_error(self, text: str) -> errors.FlexcoreError:
        problem = categories.Problem(categories.Category.SMOKE_FAILED, text)
        return problem.to_error(f"Model {self.service} does not predict", self.service)


# --- deployment


@dataclass(slots=True)
class DeployedModel:
    """A rolled out model with its address and what it answered. rolled_out_at: by the step's own clock."""

    deployment: dict[str, Any]
    url: str
    note: str
    smoke_test: SmokeTest
    rolled_out_at: float


def deploy(deployer: Deployer, serving: serving_manifests.Serving) -> contracts.StepResult:
    """The result of a model that answers. Raises the typed error of whatever prevents it."""
    clock = deployer.clock
    started = clock()

    def verify(deployment: dict[str, Any], service: dict[str, Any]) -> DeployedModel:
        rolled_out_at = clock()
        url, note = find_url(deployer, serving, service)
        name = service["metadata"]["name"]
        proxy = ModelProxy(deployer.kubernetes, serving.namespace, name, clock, deployer.sleep)
        return DeployedModel(deployment, url, note, proxy.smoke_test(serving.model), rolled_out_at)

    deployed = deployer.deploy(serving, verify)
    for note in filter(None, (deployed.note, deployed.smoke_test.note)):
        deployer.report(note)
    deployer.report(f"Model {serving.model.name} answers at {deployed.url}/v2/models/{serving.model.name}/infer")
    timings = contracts.Timings(
        starting=round(deployed.rolled_out_at - started, 3),
        finishing=round(clock() - deployed.rolled_out_at, 3),
        began_at=deployer.kubernetes.now() - timedelta(seconds=clock() - started),
    )
    return step_result(serving, deployed, timings, deployer)


def find_url(deployer: Deployer, serving: serving_manifests.Serving, service: dict[str, Any]) -> tuple[str, str]:
    """(URL, note); the note says why it is not the address that was asked for."""
    if serving.service_type == "NodePort":
        return find_node_url(deployer.kubernetes, service)
    if serving.service_type == "LoadBalancer":

        def read_service() -> dict[str, Any] | None:
            return deployer.get(cluster_objects.SERVICES, serving.name)

        return wait_for_balancer_url(service, read_service, serving.timeout_s, deployer.clock, deployer.sleep), ""
    return cluster_url(service), ""


def step_result(
    serving: serving_manifests.Serving,
    deployed: DeployedModel,
    timings: contracts.Timings,
    deployer: Deployer,
) -> contracts.StepResult:
    model, metadata = serving.model, deployed.deployment["metadata"]
    kind = "InferenceService" if serving.mode == "kserve" else "Deployment"
    return contracts.StepResult(
        success=True,
        runtime="kubernetes",
        execution_key=serving.key.value,
        attempt=1,
        data={
            "namespace": serving.namespace,
            "image": serving.image,
            "replicas": serving.replicas,
            "max_replicas": serving.scaling.max_replicas,
            "mode": serving.mode,
            "scaled_by": deployer.scaled_by,
            "model_source": serving.delivery.source,
            "service_type": serving.service_type,
            "smoke": asdict(deployed.smoke_test),
        },
        output=contracts.EndpointManifest(
            uri=deployed.url, url=deployed.url, model_name=model.name, model_version=model.version
        ),
        metrics={"replicas": serving.replicas, "smoke_latency_ms": deployed.smoke_test.latency_ms},
        timings=timings,
        remote=contracts.Remote(
            kind=kind,
            name=metadata["name"],
            uid=metadata["uid"],
            url=deployed.url,
        ),
        log_tail=deployer.log_tail,
    )
