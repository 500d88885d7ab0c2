"""Right-sizing, credentials and clean-up on a real cluster, in a namespace of their own.

KUBECONFIG            a cluster of Kubernetes 1.35 or later in which the tests may create namespaces
FLEXCORE_LIVE_IMAGE   an image with a shell (busybox), which the cluster can pull
The metrics API (metrics-server) is needed by the first test alone.
"""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from f.flexcore.kubernetes.check_cluster import main as check_cluster
from f.flexcore.kubernetes.resize_model import main as resize_model
from f.flexcore.kubernetes.run_job import main as run_job
from f.flexcore.kubernetes.suggest_resources import main as suggest_resources
from f.flexcore.kubernetes.undeploy_model import main as undeploy_model
from f.flexcore.lib.core.errors import Conflict, FlexcoreError, Forbidden, Unavailable
from f.flexcore.lib.kubernetes.connection import connect
from f.flexcore.lib.kubernetes.remote_objects import KubernetesObjects
from f.flexcore.lib.kubernetes_api.api_errors import Call
from f.flexcore.lib.kubernetes_api.client import Kubernetes
from tests.live import rights
from tests.live.conftest import needed
from tests.live.places import make_namespace, read_resource

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("live")]
Object = dict[str, Any]
LABELS = {"app.kubernetes.io/managed-by": "flexcore", "flexcore/outlives-run": "true"}
SELECTOR = {"app.kubernetes.io/instance": "web"}
BURN = "trap exit TERM; while true; do i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done; sleep 0.05; done"
RBAC = Path(__file__).parent.parent.parent / "resources/kubernetes"


class Live:
    def __init__(self, kubeconfig: str) -> None:
        """limited: the resource with an account that has the roles of these steps, and no other right."""
        self.config: Object = yaml.safe_load(Path(kubeconfig).read_text())
        self.resource: Object = read_resource()
        self.limited: Object = {}
        self.kubernetes: Kubernetes = connect(self.resource).kubernetes
        self.namespace = ""
        self.image = needed("FLEXCORE_LIVE_IMAGE")

    def create(self, path: str, body: Object) -> Object:
        created = self.kubernetes.create(path, body, Call("create", path))
        assert created is not None
        return created

    def path(self, kind: str, name: str = "") -> str:
        groups = {
            "deployments": "/apis/apps/v1",
            "jobs": "/apis/batch/v1",
            "roles": "/apis/rbac.authorization.k8s.io/v1",
        }
        groups["rolebindings"] = groups["roles"]
        groups["horizontalpodautoscalers"] = "/apis/autoscaling/v2"
        return f"{groups.get(kind, '/api/v1')}/namespaces/{self.namespace}/{kind}" + (f"/{name}" if name else "")

    def get(self, kind: str, name: str) -> Object | None:
        return self.kubernetes.get(self.path(kind, name), Call("get", kind, self.namespace, name))

    def pods(self) -> list[Object]:
        query = {"labelSelector": "app.kubernetes.io/instance=web"}
        items = self.kubernetes.list(self.path("pods"), query, Call("list", "pods"))["items"]
        return [pod for pod in items if not pod["metadata"].get("deletionTimestamp")]

    def resources(self) -> list[Object]:
        """What the nodes have given, by pod."""
        statuses = [(pod["status"].get("containerStatuses") or [{}])[0] for pod in self.pods()]
        return [status.get("resources") or {} for status in statuses]

    def wait(self, until: Any, timeout_s: float = 60) -> None:
        end = time.monotonic() + timeout_s
        while not until():
            assert time.monotonic() < end, "not in time"
            time.sleep(0.5)

    def release(self, kind: str, name: str) -> None:
        changes = {"metadata": {"finalizers": None}}
        self.kubernetes.patch(self.path(kind, name), changes, Call("patch", kind, self.namespace, name))


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    cluster = Live(needed("KUBECONFIG"))
    with make_namespace(cluster.kubernetes, "flexcore-size-") as cluster.namespace:
        roles = ("flexcore-right-sizing", "flexcore-deploy", "flexcore-job")
        cluster.limited = rights.make_limited(cluster.kubernetes, cluster.namespace, *roles)
        yield cluster


def deploy(live: Live, memory_policy: str = "NotRequired", **more: Any) -> Object:
    amounts = {"cpu": "50m", "memory": "32Mi"}
    container = {
        "name": "model-server",
        "image": live.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", BURN],
        "resources": {"requests": amounts, "limits": amounts},
        "resizePolicy": [{"resourceName": "memory", "restartPolicy": memory_policy}],
        **more.pop("container", {}),
    }
    pod = {"terminationGracePeriodSeconds": 1, "containers": [container], **more.pop("pod", {})}
    body: Object = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "labels": {**LABELS, **SELECTOR}, **more},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": SELECTOR},
            "template": {"metadata": {"labels": SELECTOR}, "spec": pod},
        },
    }
    created = live.create(live.path("deployments"), body)
    live.wait(lambda: (live.get("deployments", "web") or {}).get("status", {}).get("availableReplicas") == 2)
    return created


def remove(live: Live) -> None:
    item = live.get("deployments", "web")
    if item:
        live.kubernetes.delete(
            live.path("deployments", "web"), item["metadata"]["uid"], Call("delete", "deployments.apps")
        )
        live.wait(lambda: live.get("deployments", "web") is None and not live.pods())


@pytest.fixture
def web(live: Live) -> Iterator[Live]:
    deploy(live)
    yield live
    remove(live)


def give(cpu: str, memory: str = "32Mi") -> Object:
    return {kind: {"cpu": cpu, "memory": memory} for kind in ("requests", "limits")}


def test_measured_use_is_suggested_and_pods_take_it_without_a_restart(web: Live) -> None:
    asked: Object = {"namespace": web.namespace}
    web.wait(
        lambda: len(suggest_resources(web.resource, "web", observe_s=0, **asked)["data"]["pods"]) == 2, timeout_s=120
    )
    result = suggest_resources(web.resource, "web", observe_s=20, **asked)
    assert result["data"]["cpu"] and result["data"]["memory"] == "239Mi" and result["metrics"]["samples"] >= 2
    assert 0 < result["metrics"]["cpu_max"] < 0.2 and result["data"]["not_measured"] == {}
    begun = time.monotonic()
    done = resize_model(web.resource, "web", cpu="80m", memory="48Mi", **asked)
    assert [row["state"] for row in done["data"]["pods"]] == ["resized", "resized"] and time.monotonic() - begun < 20
    assert [row["restarts"] for row in done["data"]["pods"]] == [0, 0]
    assert web.resources() == [give("80m", "48Mi")] * 2


def test_more_than_the_node_has_is_infeasible_and_more_than_is_free_deferred_and_both_are_put_back(web: Live) -> None:
    nodes = web.kubernetes.list("/api/v1/nodes", {}, Call("list", "nodes"))["items"]
    if len(nodes) > 1:
        pytest.skip("the amounts that fit are those of a single node")
    with pytest.raises(Conflict, match="cannot be resized on") as caught:
        resize_model(web.resource, "web", cpu="900", namespace=web.namespace)
    assert caught.value.category == "resize_infeasible" and web.resources() == [give("50m")] * 2
    # All of the node, while the other pod has its part.
    with pytest.raises(Unavailable, match=r"no room yet for pod .* \(Deferred\): Node didn't have enough") as late:
        resize_model(
            web.resource, "web", cpu=nodes[0]["status"]["allocatable"]["cpu"], timeout_s=5, namespace=web.namespace
        )
    assert late.value.category == "resize_deferred" and late.value.details["undone"].startswith("put back: web-")
    assert web.resources() == [give("50m")] * 2
    assert [pod["spec"]["containers"][0]["resources"] for pod in web.pods()] == [give("50m")] * 2


def test_memory_that_is_in_use_is_not_taken_away(web: Live) -> None:
    with pytest.raises(FlexcoreError) as caught:
        resize_model(web.resource, "web", memory="128Ki", timeout_s=20, namespace=web.namespace)
    assert caught.value.category in ("memory_in_use", "resize_error", "invalid_input")
    assert web.resources() == [give("50m")] * 2


def test_a_policy_that_restarts_for_memory_does_so_one_pod_after_the_other(live: Live) -> None:
    deploy(live, "RestartContainer")
    try:
        done = resize_model(live.limited, "web", memory="64Mi", namespace=live.namespace)
        assert [row["restarts"] for row in done["data"]["pods"]] == [1, 1]
        assert live.resources() == [give("50m", "64Mi")] * 2
        again = resize_model(live.limited, "web", cpu="60m", namespace=live.namespace)
        assert [row["restarts"] for row in again["data"]["pods"]] == [0, 0]
    finally:
        remove(live)


def test_the_template_is_rolled_out_and_what_cannot_run_goes_back(web: Live) -> None:
    done = resize_model(web.resource, "web", cpu="60m", apply="template", namespace=web.namespace)
    assert done["data"]["template"] == {"state": "rolled out"}
    web.wait(lambda: web.resources() == [give("60m")] * 2)
    with pytest.raises(FlexcoreError, match="Deployment web is back at the requests before"):
        resize_model(web.resource, "web", cpu="900", apply="template", timeout_s=15, namespace=web.namespace)
    web.wait(lambda: web.resources() == [give("60m")] * 2)


def test_an_autoscaler_on_cpu_is_told_before_its_requests_are_changed(web: Live) -> None:
    metric = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 90}},
    }
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    body = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"}}
    spec = {"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 2, "metrics": [metric]}
    made = web.create(web.path("horizontalpodautoscalers"), {**body, "spec": spec})
    try:
        with pytest.raises(Conflict, match="HorizontalPodAutoscaler web holds cpu at 90 % of the requests"):
            resize_model(web.resource, "web", cpu="80m", namespace=web.namespace)
        assert web.resources() == [give("50m")] * 2
        resize_model(web.resource, "web", cpu="80m", accept_autoscaler=True, namespace=web.namespace)
        assert web.resources() == [give("80m")] * 2
    finally:
        path = web.path("horizontalpodautoscalers", "web")
        web.kubernetes.delete(path, made["metadata"]["uid"], Call("delete", "horizontalpodautoscalers"))


def test_the_shipped_role_is_enough_and_its_tokens_show_when_they_end(web: Live) -> None:
    for body in yaml.safe_load_all((RBAC / "token.yaml").read_text()):
        if body["kind"] == "Secret":
            web.create(web.path("secrets"), body)
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    path = f"{web.path('serviceaccounts', 'flexcore')}/token"
    short = web.create(path, request)["status"]["token"]
    web.wait(lambda: "token" in ((web.get("secrets", "flexcore-token") or {}).get("data") or {}))
    lasting = base64.b64decode((web.get("secrets", "flexcore-token") or {})["data"]["token"]).decode()
    for token, ends in ((short, True), (lasting, False)):
        resource = {"server": web.kubernetes.access.server, "token": token, "ca_certificate": web.kubernetes.access.ca}
        shown = check_cluster(resource, web.namespace)["data"]["credentials"]
        assert bool(shown["expires_at"]) == ends and bool(shown["warnings"]) == ends
        assert suggest_resources(resource, "web", observe_s=0, namespace=web.namespace)["success"]
        done = resize_model(resource, "web", cpu="70m" if ends else "60m", namespace=web.namespace)
        assert [row["state"] for row in done["data"]["pods"]] == ["resized", "resized"]
    with pytest.raises(Forbidden, match="does not accept the credentials") as caught:
        check_cluster({**resource, "token": short[:-6] + "AAAAAA"}, web.namespace)
    assert caught.value.category == "credentials"


def test_a_client_certificate_shows_when_it_ends(live: Live) -> None:
    shown = check_cluster(live.resource, live.namespace)["data"]["credentials"]
    if shown["kind"] != "client certificate":
        pytest.skip("KUBECONFIG does not use one")
    assert shown["expires_at"] and {item["what"] for item in shown["expiries"]} >= {"client certificate"}


# --- clean-up


def test_an_object_that_a_finalizer_holds_is_told_and_gone_when_it_is_released(live: Live) -> None:
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "web-data"}}]
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}, "storageClassName": ""}
    body = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "web-data"}, "spec": claim}
    live.create(live.path("persistentvolumeclaims"), body)
    template: Object = {"metadata": {"labels": SELECTOR}, "spec": {"containers": [{"name": "c", "image": live.image}]}}
    template["spec"]["volumes"] = volumes
    metadata: Object = {"name": "web", "labels": {**LABELS, **SELECTOR}, "finalizers": ["example.com/hold"]}
    spec = {"replicas": 0, "selector": {"matchLabels": SELECTOR}, "template": template}
    live.create(
        live.path("deployments"), {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}
    )
    try:
        with pytest.raises(
            FlexcoreError, match=r"finalizer example\.com/hold \(the controller of example\.com takes it"
        ):
            undeploy_model(live.limited, "web", live.namespace, timeout_s=3)
    finally:
        live.release("deployments", "web")
    live.wait(lambda: live.get("deployments", "web") is None)
    metadata.pop("finalizers")
    live.create(
        live.path("deployments"), {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}
    )
    done = undeploy_model(live.limited, "web", live.namespace, timeout_s=30)
    assert done["data"]["claims"] == ["web-data"] and live.get("persistentvolumeclaims", "web-data")


def test_reconcile_takes_what_we_made_and_never_a_copy_of_it(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WM_JOB_ID", str(uuid.uuid4()))
    result = run_job(
        cluster=live.limited, namespace=live.namespace, image=live.image, command=["sleep", "120"], wait="defer"
    )
    name = result["remote"]["name"]
    stored = live.get("jobs", name)
    assert stored is not None
    labels = {key: value for key, value in stored["metadata"]["labels"].items() if not key.startswith("batch.")}
    pod = {key: stored["spec"]["template"]["spec"][key] for key in ("containers", "volumes", "restartPolicy")}
    copy = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "copy", "labels": labels}}
    body = {**copy, "spec": {"suspend": True, "template": {"spec": pod}}}
    # As kubectl would write it.
    call = Call("create", "jobs.batch")
    code, made = live.kubernetes.request_raw("POST", f"{live.path('jobs')}?fieldManager=kubectl-create", body, call)
    assert code == 201, made
    objects = KubernetesObjects("f/x", live.limited, live.namespace)
    ours = [item for item in objects.find() if item.namespace == live.namespace and item.kind == "Job"]
    assert [item.name for item in ours] == [name]
    assert objects.stop(ours[0]) == "deleted"
    live.wait(lambda: live.get("jobs", name) is None)
    assert live.get("jobs", "copy")


def test_a_namespace_that_is_being_deleted_is_told_with_what_holds_it(live: Live) -> None:
    name = f"{live.namespace}-end"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    made = live.create("/api/v1/namespaces", body)
    held = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "held", "finalizers": ["example.com/hold"]}}
    path = f"/api/v1/namespaces/{name}"
    live.create(f"{path}/configmaps", held)
    try:
        live.kubernetes.delete(path, made["metadata"]["uid"], Call("delete", "namespaces", "", name))
        live.wait(lambda: "example.com/hold" in _complaint(live, name))
        with pytest.raises(Conflict) as caught:
            run_job(cluster=live.resource, namespace=name, image=live.image, command=["true"])
        assert caught.value.category == "namespace_terminating"
    finally:
        call = Call("patch", "configmaps", name, "held")
        live.kubernetes.patch(f"{path}/configmaps/held", {"metadata": {"finalizers": None}}, call)


def _complaint(live: Live, namespace: str) -> str:
    try:
        check_cluster(live.resource, namespace)
    except Conflict as error:
        return str(error)
    return ""
