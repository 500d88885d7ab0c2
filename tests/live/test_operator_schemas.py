"""What we store for KEDA, KServe and Istio, by the schemas of their own CRDs on a real API server. Their controllers
are not there: a test plays the part of KServe's, and Istio's needs none for a route to be stored.

KUBECONFIG                     a cluster in which the tests may create namespaces, and CRDs that they remove again
FLEXCORE_LIVE_CRDS             a folder with those CRDs as YAML: of KEDA config/crd/bases, of KServe config/crd/full, of
                               Istio kubernetes/customresourcedefinitions.gen.yaml in istio/api
FLEXCORE_LIVE_IMAGE            an image with a shell and httpd (busybox)
FLEXCORE_LIVE_PYTHON_IMAGE     an image with Python (else localhost/python:3.11)
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from f.flexcore.kubernetes.plan_work import main as plan_work
from f.flexcore.kubernetes.shift_traffic import main as shift_traffic
from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes import (
    autoscaler,
    cluster_objects,
    connection,
    inference_service,
    kserve_deployer,
    plan_reads,
    plan_tools,
    traffic_route,
)
from f.flexcore.lib.kubernetes_api.api_errors import Call
from f.flexcore.lib.kubernetes_api.client import Kubernetes
from tests.live.conftest import needed
from tests.live.places import RESTRICTED, make_namespace, read_resource
from tests.live.test_deployments import SERVE, make_serving, shell_server, wait_for
from tests.live.versions import Versions

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("live")]
Object = dict[str, Any]
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WANTED = ("scaledobjects.keda.sh", "inferenceservices.serving.kserve.io", "virtualservices.networking.istio.io")
SCALED_OBJECTS, INFERENCE_SERVICES = cluster_objects.SCALED_OBJECTS, cluster_objects.INFERENCE_SERVICES
ISTIO = traffic_route.prefix(traffic_route.KINDS["istio"])
CALL = Call("test", "objects")
BY_REQUESTS = autoscaler.Scaling(1, 3, "requests", 2.5, "http://prometheus.monitoring:9090")


def read_definitions() -> dict[str, Object]:
    """The wanted CRDs of the folder, by name."""
    found = {}
    for path in sorted(Path(needed("FLEXCORE_LIVE_CRDS")).glob("*.yaml")):
        for document in yaml.load_all(path.read_text(), yaml.CSafeLoader):
            if document and document["metadata"]["name"] in WANTED:
                found[document["metadata"]["name"]] = document
    return found


@pytest.fixture(scope="module")
def kubernetes() -> Iterator[Kubernetes]:
    """A cluster that serves the three kinds; the CRDs that were not there go again."""
    definitions = read_definitions()
    assert sorted(definitions) == sorted(WANTED)
    client = connection.connect(read_resource()).kubernetes
    with ExitStack() as made:
        for name, body in definitions.items():
            if created := client.create(CRDS, body, Call("create", "customresourcedefinitions", "", name)):
                made.callback(client.delete, f"{CRDS}/{name}", created["metadata"]["uid"], CALL)
            group, plural = body["spec"]["group"], body["spec"]["names"]["plural"]
            version = next(item["name"] for item in body["spec"]["versions"] if item["served"])
            wait_for(partial(is_served, client, group, version, plural), 60)
        yield client


def is_served(client: Kubernetes, group: str, version: str, plural: str) -> bool:
    """Whether it answers and discovery names it, which comes later for a large one."""
    if client.request_raw("GET", f"/apis/{group}/{version}/{plural}", None, CALL)[0] != 200:
        return False
    apis = plan_tools.read_discovery(client.list("/apis", {}, CALL, accept=plan_reads.DISCOVERY))
    return group in apis and (version, plural) in apis[group].kinds


@pytest.fixture(scope="module")
def namespace(kubernetes: Kubernetes) -> Iterator[str]:
    with make_namespace(kubernetes, "flexcore-schemas-", RESTRICTED) as name:
        yield name


def accept(kubernetes: Kubernetes, kind: cluster_objects.Kind, body: Object) -> Object:
    """The object as the API server would store it; fields that the schema does not know are refused."""
    path = f"{kind.prefix}/namespaces/{body['metadata']['namespace']}/{kind.plural}"
    stored = kubernetes.create(path, body, Call("create", kind.resource), dry_run=True)
    assert stored is not None
    # An apply is checked as well, and keeps to what was created.
    named = f"{path}/{body['metadata']['name']}"
    assert kubernetes.apply(named, body, Call("apply", kind.resource), dry_run=True)
    return stored


def list_differences(asked: Any, stored: Any, where: str = "") -> list[str]:
    """Where what was stored is not what was asked for; the schema's defaults are none."""
    if isinstance(asked, dict) and isinstance(stored, dict):
        return [text for key in asked for text in list_differences(asked[key], stored.get(key), f"{where}.{key}")]
    if isinstance(asked, list) and isinstance(stored, list) and len(asked) == len(stored):
        return [text for n in range(len(asked)) for text in list_differences(asked[n], stored[n], f"{where}[{n}]")]
    return [] if asked == stored else [f"{where}: {asked!r} became {stored!r}"]


# --- schemas


def test_keda_s_schema_takes_the_scaled_object_as_it_is(kubernetes: Kubernetes, namespace: str) -> None:
    body = autoscaler.make_scaled_object(BY_REQUESTS, {"name": "delay", "namespace": namespace})
    assert list_differences(body["spec"], accept(kubernetes, SCALED_OBJECTS, body)["spec"]) == []


def test_keda_s_schema_refuses_a_misspelt_field(kubernetes: Kubernetes, namespace: str) -> None:
    body = autoscaler.make_scaled_object(BY_REQUESTS, {"name": "delay", "namespace": namespace})
    body["spec"]["minReplicas"] = 1
    with pytest.raises(errors.InvalidInput, match=r'unknown field "spec.minReplicas"'):
        accept(kubernetes, SCALED_OBJECTS, body)


@pytest.mark.parametrize(
    "scaling",
    [autoscaler.Scaling(), autoscaler.Scaling(1, 4), autoscaler.Scaling(2, 4, "memory", 60), BY_REQUESTS],
    ids=["fixed", "cpu", "memory", "requests"],
)
@pytest.mark.parametrize("server", ["mlserver", "flexcore"])
def test_kserve_s_schema_takes_the_inference_service_as_it_is(
    kubernetes: Kubernetes, namespace: str, scaling: autoscaler.Scaling, server: str
) -> None:
    serving = make_serving(namespace, "localhost/none:1", "1", mode="kserve", scaling=scaling, server=server)
    body = inference_service.make_inference_service(serving)
    assert list_differences(body["spec"], accept(kubernetes, INFERENCE_SERVICES, body)["spec"]) == []


def test_istio_s_schema_takes_the_virtual_service_as_it_is(kubernetes: Kubernetes, namespace: str) -> None:
    kind = traffic_route.KINDS["istio"]
    backends = [traffic_route.Backend(name, namespace, 8080) for name in ("one", "two")]
    spec = traffic_route.RouteSpec("demo", namespace, "istio-system/public", "demo.example.com", "/v2")
    body = kind.make(spec, {"team": "ml"}, *backends)
    served = cluster_objects.Kind(ISTIO, kind.plural, f"{kind.plural}.{kind.group}", kind.kind)
    stored = accept(kubernetes, served, body)
    assert list_differences(body["spec"], stored["spec"]) == []
    assert kind.read_shares(stored, "one") == {"one": 100, "two": 0}


def test_a_plan_names_the_three_with_their_versions(kubernetes: Kubernetes, namespace: str) -> None:
    request = {"namespace": namespace, "image": "localhost/busybox:1", "command": ["true"], "cpu": "10m"}
    result = plan_work(read_resource(), "job", {**request, "memory": "16Mi"})
    found = {name: result["data"]["tools"][name] for name in ("keda", "kserve", "istio")}
    assert [tool["versions"][0] for tool in found.values()] == ["v1alpha1", "v1beta1", "v1"]
    # Nothing of theirs holds a lease here.
    assert {tool["controller"] for tool in found.values()} == {plan_tools.NOT_KNOWN}


# --- KServe, its controller played by the test


class Controller(threading.Thread):
    """Makes of an InferenceService what KServe does in Standard mode: Deployment and Service NAME-predictor, and the
    condition Ready once the Deployment is available.

    Source: pkg/controller/v1beta1/inferenceservice/reconcilers of kserve/kserve"""

    def __init__(self, kubernetes: Kubernetes, namespace: str) -> None:
        super().__init__(daemon=True)
        self.kubernetes, self.namespace = kubernetes, namespace
        self.place = cluster_objects.Namespace(kubernetes, namespace, lambda text: None)
        self.stopped, self.problems = threading.Event(), list[str]()

    def run(self) -> None:
        while not self.stopped.wait(0.3):
            try:
                for service in self.place.list_objects(INFERENCE_SERVICES, ""):
                    self.reconcile(service)
            except errors.FlexcoreError as error:
                self.problems.append(str(error))

    def reconcile(self, service: Object) -> None:
        name, predictor = f"{service['metadata']['name']}-predictor", dict(service["spec"]["predictor"])
        owner = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "controller": True}
        owner |= {"name": service["metadata"]["name"], "uid": service["metadata"]["uid"]}
        labels = {**predictor.pop("labels"), inference_service.SERVICE_LABEL: service["metadata"]["name"]}
        metadata = {"name": name, "namespace": self.namespace, "ownerReferences": [owner]}
        notes, strategy = predictor.pop("annotations", {}), predictor.pop("deploymentStrategy")
        replicas = predictor.pop("minReplicas")
        for field in ("maxReplicas", "scaleMetric", "scaleTarget", "autoScaling"):
            predictor.pop(field, None)
        template = {"metadata": {"labels": {**labels, "app": name}, "annotations": notes}, "spec": predictor}
        spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "strategy": strategy}
        self.apply("apps/v1", "Deployment", metadata, {**spec, "template": template})
        ports = [{"name": "http", "port": 80, "targetPort": 8080}]
        self.apply("v1", "Service", metadata, {"selector": {"app": name}, "ports": ports})
        status = (self.place.get(cluster_objects.DEPLOYMENTS, name) or {}).get("status") or {}
        is_ready = status.get("availableReplicas", 0) >= replicas and status.get("updatedReplicas", 0) >= replicas
        self.tell(service, "True" if is_ready else "False")

    def apply(self, version: str, kind: str, metadata: Object, spec: Object) -> None:
        stored = cluster_objects.KINDS[kind]
        path = f"{self.place.path(stored, metadata['name'])}?fieldManager=kserve&force=true"
        body = {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}
        code, payload = self.kubernetes._request("PATCH", path, {"force": True}, body, CALL, 4)
        assert code in (200, 201), payload

    def tell(self, service: Object, ready: str) -> None:
        condition = {"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}
        condition |= {} if ready == "True" else {"reason": "MinimumReplicasUnavailable"}
        path = f"{self.place.path(INFERENCE_SERVICES, service['metadata']['name'])}/status"
        self.kubernetes._request("PATCH", path, {}, {"status": {"conditions": [condition]}}, CALL, 4)


@pytest.fixture
def controller(kubernetes: Kubernetes, namespace: str) -> Iterator[Controller]:
    thread = Controller(kubernetes, namespace)
    thread.start()
    yield thread
    thread.stopped.set()
    thread.join()


def deploy(kubernetes: Kubernetes, namespace: str, log: Callable[[str], None], **fields: Any) -> tuple[Object, Object]:
    deployer = kserve_deployer.KServeDeployer(kubernetes, namespace, log)
    version = fields.pop("version", "1")
    serving = make_serving(namespace, needed("FLEXCORE_LIVE_IMAGE"), version, mode="kserve", **fields)
    with shell_server(fields.get("command") or SERVE.format(ready_after=0)):
        verified: tuple[Object, Object] = deployer.deploy(serving, lambda *objects: objects)
    return verified


def test_without_kserve_s_controller_it_is_said_what_is_waited_for_and_nothing_stays(
    kubernetes: Kubernetes, namespace: str
) -> None:
    log: list[str] = []
    with pytest.raises(errors.FlexcoreError, match="KServe has not said anything about it yet") as caught:
        deploy(kubernetes, namespace, log.append, timeout_s=8)
    assert caught.value.details["undone"] == "removed: nothing was served before"
    assert any("Waiting for KServe" in line for line in log)
    place = cluster_objects.Namespace(kubernetes, namespace)
    wait_for(lambda: place.get(INFERENCE_SERVICES, "delay") is None, 30)


def test_what_kserve_makes_is_followed_and_the_next_version_is_an_apply_of_the_same_object(
    kubernetes: Kubernetes, namespace: str, controller: Controller
) -> None:
    log: list[str] = []
    first, service = deploy(kubernetes, namespace, log.append)
    assert service["metadata"]["name"] == "delay-predictor" and "InferenceService delay is ready" in log
    second, _ = deploy(kubernetes, namespace, log.append, version="2", replicas=2)
    assert second["metadata"]["uid"] == first["metadata"]["uid"]
    place = cluster_objects.Namespace(kubernetes, namespace)
    made = place.get(cluster_objects.DEPLOYMENTS, "delay-predictor")
    assert made and made["status"]["availableReplicas"] == 2
    assert made["spec"]["template"]["spec"]["containers"][0]["name"] == "kserve-container"
    # No field of the object is one that we did not ask for, and the status is the controller's.
    managers = {entry["manager"] for entry in second["metadata"]["managedFields"] if not entry.get("subresource")}
    assert managers == {"flexcore"} and controller.problems == []
    place.remove(INFERENCE_SERVICES, second)


# --- Istio, whose route takes weights without a controller


def test_a_canary_moves_the_weights_of_a_virtual_service(
    kubernetes: Kubernetes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WM_JOB_ID", str(uuid.uuid4()))
    image = os.environ.get("FLEXCORE_LIVE_PYTHON_IMAGE", "localhost/python:3.11")
    with make_namespace(kubernetes, "flexcore-istio-") as namespace:
        versions = Versions(kubernetes, namespace, image)
        versions.deploy("one")
        versions.deploy("two")
        seen: list[dict[str, int]] = []
        stopped = threading.Event()
        watcher = threading.Thread(target=record_weights, args=(versions, seen, stopped), daemon=True)
        watcher.start()
        try:
            result = shift_traffic(
                cluster=read_resource(),
                namespace=namespace,
                settings={"storage_uri": f"file://{tmp_path}"},
                route="demo",
                stable="one",
                candidate="two",
                mode="istio",
                host="demo.example.com",
                weights=[50, 100],
                pause_s=3,
                min_requests=5,
                measure="probes",
                probe_path="/predict",
                max_latency_ratio=0,
            )
        finally:
            stopped.set()
            watcher.join()
        assert result["data"]["outcome"] == "promoted" and read_weights(versions) == {"one": 0, "two": 100}
        assert {"one": 50, "two": 50} in seen


def read_weights(versions: Versions) -> dict[str, int]:
    (rule,) = versions.get(ISTIO, "virtualservices", "demo")["spec"]["http"]
    return {entry["destination"]["host"].partition(".")[0]: entry.get("weight", 0) for entry in rule["route"]}


def record_weights(versions: Versions, seen: list[dict[str, int]], stopped: threading.Event) -> None:
    while not stopped.wait(0.1):
        try:
            weights = read_weights(versions)
        except AssertionError:
            continue
        if weights not in seen[-1:]:
            seen.append(weights)
