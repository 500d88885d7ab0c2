"""Deployed models on a real cluster, in a namespace that is made for them and removed afterwards: the cases of
tests/kubernetes/test_server_side_apply.py and their like, with a real API server, kubelet and autoscaler.

KUBECONFIG            a cluster in which the tests may create namespaces
FLEXCORE_LIVE_IMAGE   an image with a shell and httpd (busybox), which answers in place of a model server
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from f.flexcore.lib.core import contracts, errors, identity
from f.flexcore.lib.kubernetes import (
    autoscaler,
    cluster_objects,
    connection,
    kserve_deployer,
    model_delivery,
    model_deployer,
    rollback,
    serving_manifests,
    undeployment,
)
from f.flexcore.lib.kubernetes_api import api_errors, client, field_owners
from tests.live import rights
from tests.live.conftest import needed

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("live")]
Object = dict[str, Any]
DEPLOYMENTS, SERVICES = cluster_objects.DEPLOYMENTS, cluster_objects.SERVICES
# What the server of a model answers, in a shell: it is ready after a time and says so by a file that httpd serves.
SERVE = (
    "mkdir -p /tmp/www/v2/health /tmp/www/v2/models/delay; sleep {ready_after}; echo ok > /tmp/www/v2/health/live; "
    "echo ok > /tmp/www/v2/models/delay/ready; exec httpd -f -p 8080 -h /tmp/www"
)


class Place:
    """A namespace of the test's own, in which busybox serves in place of a model. kubernetes: with all rights, for what
    the test itself makes; limited: with the role flexcore-deploy and no other right, for whatever is deployed."""

    def __init__(self, namespace: str, resource: Object, image: str) -> None:
        self.resource, self.image, self.namespace = resource, image, namespace
        self.kubernetes = connection.connect(resource, namespace).kubernetes
        self.limited: Object = rights.make_limited(self.kubernetes, namespace, "flexcore-deploy")
        self.by_deploy = connection.connect(self.limited, namespace).kubernetes
        self.log: list[tuple[float, str]] = []

    def deployer(self) -> model_deployer.Deployer:
        return model_deployer.Deployer(
            self.by_deploy, self.namespace, lambda text: self.log.append((time.monotonic(), text))
        )

    def deploy(self, version: str = "1", ready_after: float = 0, command: str = "", **fields: Any) -> Object:
        """The rolled out Deployment of a model that is a page of httpd. Raises what a deployment raises."""
        serving = make_serving(self.namespace, fields.pop("image", self.image), version, **fields)
        deployer = self.deployer()
        with shell_server(command or SERVE.format(ready_after=ready_after)):
            verified: tuple[Object, Object] = deployer.deploy(serving, lambda *objects: objects)
        return verified[0]

    def get(self, kind: cluster_objects.Kind, name: str = "delay") -> Object | None:
        return self.deployer().get(kind, name)

    def need(self, kind: cluster_objects.Kind, name: str = "delay") -> Object:
        item = self.get(kind, name)
        assert item is not None
        return item

    def patch(self, kind: cluster_objects.Kind, changes: Object, manager: str, subresource: str = "") -> None:
        """A change of the object `delay` as somebody else makes it."""
        path = self.deployer().path(kind, "delay") + (f"/{subresource}" if subresource else "")
        call = api_errors.Call("patch", kind.resource, self.namespace, "delay")
        code, payload = self.kubernetes._request("PATCH", path, {"fieldManager": manager}, changes, call, 4)
        assert code == 200, payload


class shell_server:
    """Model pods whose containers are a shell: the model is not fetched, and a page is served in its place."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __enter__(self) -> None:
        self.make = serving_manifests.make_pod_template

        def make_template(serving: serving_manifests.Serving) -> Object:
            template = self.make(serving)
            pod = template["spec"]
            for container in pod["initContainers"]:
                container["command"] = ["true"]
            (server,) = pod["containers"]
            server["command"] = ["sh", "-c", self.command]
            server["securityContext"] = {**server["securityContext"], "readOnlyRootFilesystem": False}
            return template

        serving_manifests.make_pod_template = make_template

    def __exit__(self, *_: object) -> None:
        serving_manifests.make_pod_template = self.make


def make_serving(namespace: str, image: str, version: str, **fields: Any) -> serving_manifests.Serving:
    files = [contracts.File(path="model.joblib", bytes=3, checksum="sha256:" + "0" * 64)]
    model = contracts.ModelManifest(
        uri="s3://models/none",
        format="mlserver",
        checksum=contracts.compute_checksum(files),
        name="delay",
        version=version,
        algorithm="Ridge",
        target="y",
        framework=contracts.Framework(name="scikit-learn", version="1.9.1"),
        signature=contracts.Signature(
            inputs=[contracts.Column(name="x", datatype="FP64")],
            outputs=[contracts.Column(name="predict", datatype="FP64")],
        ),
        metrics={},
        files=files,
    )
    delivery = model_delivery.Delivery("image", {"plan.json": json.dumps({"version": version})})
    given = {"cpu": "50m", "memory": "32Mi", "timeout_s": 90, "image": image, **fields}
    key = identity.execution_key({"WM_JOB_ID": str(uuid.uuid4())})
    return serving_manifests.Serving(
        model=model, delivery=delivery, name="delay", namespace=namespace, key=key, **given
    )


@pytest.fixture
def place() -> Iterator[Place]:
    kubeconfig = needed("KUBECONFIG")
    resource = {"kubeconfig": yaml.safe_dump(yaml.safe_load(Path(kubeconfig).read_text()))}
    namespace = f"flexcore-deploy-{uuid.uuid4().hex[:6]}"
    kubernetes = connection.connect(resource, namespace).kubernetes
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    created = kubernetes.create("/api/v1/namespaces", body, api_errors.Call("create", "namespaces"))
    assert created is not None
    yield Place(namespace, resource, needed("FLEXCORE_LIVE_IMAGE"))
    call = api_errors.Call("delete", "namespaces", "", namespace)
    kubernetes.delete(f"/api/v1/namespaces/{namespace}", created["metadata"]["uid"], call)


def wait_for(question: Callable[[], Any], timeout_s: float) -> Any:
    until = time.monotonic() + timeout_s
    while not (answer := question()):
        assert time.monotonic() < until, "it did not come to pass in time"
        time.sleep(0.3)
    return answer


def store_as_before(place: Place, **changes: Any) -> Object:
    """A Deployment as versions of flexcore stored it by POST and PUT, with a field that none asks for any more."""
    serving = make_serving(place.namespace, place.image, "1")
    with shell_server(SERVE.format(ready_after=0)):
        body = serving_manifests.make_deployment(serving)
    body["metadata"]["annotations"] = {"flexcore/gone-soon": "yes"}
    body["spec"]["minReadySeconds"] = 1
    body["spec"]["template"]["spec"]["containers"][0]["env"].append({"name": "GONE_SOON", "value": "1"})
    body["spec"] |= changes
    deployer = place.deployer()
    created = place.kubernetes.create(deployer.path(DEPLOYMENTS), body, deployer.call("create", DEPLOYMENTS, "delay"))
    assert created is not None
    created.pop("status", None)
    created["spec"]["progressDeadlineSeconds"] = 77
    call = deployer.call("update", DEPLOYMENTS, "delay")
    for _ in range(10):
        if stored := place.kubernetes.replace(deployer.path(DEPLOYMENTS, "delay"), created, call):
            return stored
        created["metadata"]["resourceVersion"] = place.need(DEPLOYMENTS)["metadata"]["resourceVersion"]
    raise AssertionError("the Deployment keeps being changed")


def test_a_field_that_an_earlier_version_had_put_there_is_removed_when_it_is_asked_for_no_longer(place: Place) -> None:
    """Without the migration a server keeps it: it is held by PUT, and an apply only removes what it holds itself."""
    stored = store_as_before(place)
    assert {entry["operation"] for entry in stored["metadata"]["managedFields"] if entry["manager"] == "flexcore"} == {
        "Update"
    }
    after = place.deploy("1")
    spec = after["spec"]
    names = [entry["name"] for entry in spec["template"]["spec"]["containers"][0]["env"]]
    assert "GONE_SOON" not in names and "OMP_NUM_THREADS" in names
    assert "minReadySeconds" not in spec and spec["progressDeadlineSeconds"] == 90
    assert "flexcore/gone-soon" not in after["metadata"]["annotations"]
    ours = [entry for entry in place.need(DEPLOYMENTS)["metadata"]["managedFields"] if entry["manager"] == "flexcore"]
    assert [entry["operation"] for entry in ours] == ["Apply"]


def test_what_others_hold_is_shown_by_field_and_manager_and_nothing_is_overwritten(place: Place) -> None:
    before = place.deploy("1")
    changes = {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 5}}}}
    place.patch(DEPLOYMENTS, changes, "kubectl-edit")
    wait_for(lambda: is_settled(place.need(DEPLOYMENTS)), 60)
    with pytest.raises(errors.Conflict, match=r"terminationGracePeriodSeconds \(held by kubectl-edit\)") as caught:
        place.deploy("2", service_type="NodePort")
    assert caught.value.details["conflicts"] == [
        {"field": ".spec.template.spec.terminationGracePeriodSeconds", "manager": "kubectl-edit"}
    ]
    assert "kubectl-edit" in caught.value.remedy and caught.value.details["undone"] == "nothing was changed"
    after = place.need(DEPLOYMENTS)
    assert after["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 5
    assert after["metadata"]["labels"] == before["metadata"]["labels"]
    assert place.need(SERVICES)["spec"]["type"] == "ClusterIP", "nor is anything else half-applied"


def is_settled(deployment: Object) -> bool:
    status = deployment.get("status") or {}
    counts = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")]
    seen = status.get("observedGeneration") == deployment["metadata"]["generation"]
    return bool(seen) and counts == [deployment["spec"]["replicas"]] * 3


def test_what_a_person_has_scaled_is_shown_and_not_scaled_back(place: Place) -> None:
    place.deploy("1")
    place.patch(DEPLOYMENTS, {"spec": {"replicas": 2}}, "kubectl", subresource="scale")
    with pytest.raises(errors.Conflict, match=r"\.spec\.replicas \(held by kubectl, by scale\)"):
        place.deploy("2")
    assert place.need(DEPLOYMENTS)["spec"]["replicas"] == 2
    after = place.deploy("2", replicas=2)
    assert after["spec"]["replicas"] == 2, "the same value is no conflict"


def replicas_seen(place: Place, work: Callable[[], Any]) -> list[int]:
    """The values that spec.replicas had while `work` ran, without repeats."""
    seen: list[int] = []
    stop = threading.Event()

    def look() -> None:
        kubernetes = connection.connect(place.resource, place.namespace).kubernetes
        deployer = model_deployer.Deployer(kubernetes, place.namespace)
        query: client.Query = {"fieldSelector": "metadata.name=delay", "watch": True, "timeoutSeconds": 100}
        call = deployer.call("watch", DEPLOYMENTS)
        with kubernetes.stream_lines(deployer.path(DEPLOYMENTS), query, call, 100) as lines:
            for line in lines:
                replicas = json.loads(line)["object"]["spec"]["replicas"]
                if not seen or seen[-1] != replicas:
                    seen.append(replicas)
                if stop.is_set():
                    return

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    time.sleep(0.5)
    work()
    stop.set()
    place.patch(DEPLOYMENTS, {"metadata": {"annotations": {"test/end": "1"}}}, "test")
    thread.join(20)
    return seen


def test_replicas_are_handed_to_an_autoscaler_and_back_without_a_jump(place: Place) -> None:
    place.deploy("1", replicas=2, scaling=autoscaler.Scaling(2))
    assert place.need(cluster_objects.BUDGETS)["spec"]["maxUnavailable"] == 1
    scaling = autoscaler.Scaling(2, max_replicas=3, target=50)
    seen = replicas_seen(place, lambda: place.deploy("2", replicas=2, scaling=scaling))
    assert seen == [2], "at no moment fewer, nor more"
    deployment = place.need(DEPLOYMENTS)
    assert field_owners.find_holders(deployment, field_owners.REPLICAS) == [], "until the autoscaler writes it"
    spec = place.need(cluster_objects.AUTOSCALERS)["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 3)

    # The autoscaler brings a third copy: its lower bound says so at once, load would take a minute.
    place.patch(cluster_objects.AUTOSCALERS, {"spec": {"minReplicas": 3}}, "flexcore")
    wait_for(lambda: place.need(DEPLOYMENTS)["spec"]["replicas"] == 3, 60)
    holders = field_owners.find_holders(place.need(DEPLOYMENTS), field_owners.REPLICAS)
    assert ("flexcore", "") not in holders, "a server records no scaling of a field that nobody held"
    scaling = autoscaler.Scaling(3, max_replicas=3, target=50)
    seen = replicas_seen(place, lambda: place.deploy("3", replicas=3, scaling=scaling))
    assert seen == [3], "a deployment beside an autoscaler never says how many"

    place.deploy("4", replicas=1)
    deployment = place.need(DEPLOYMENTS)
    assert deployment["spec"]["replicas"] == 1
    assert ("flexcore", "") in field_owners.find_holders(deployment, field_owners.REPLICAS)
    assert place.get(cluster_objects.AUTOSCALERS) is None, "what a later form no longer asks for goes"
    assert place.get(cluster_objects.BUDGETS) is None


def test_a_real_autoscaler_measures_the_pods_and_answers(place: Place) -> None:
    """It needs metrics-server, which measures every 15 s."""
    place.deploy("1", scaling=autoscaler.Scaling(1, max_replicas=2, on="memory", target=1000))

    def is_active() -> bool:
        conditions = (place.need(cluster_objects.AUTOSCALERS).get("status") or {}).get("conditions") or ()
        return any((item["type"], item["status"]) == ("ScalingActive", "True") for item in conditions)

    wait_for(is_active, 120)


def test_another_ones_autoscaler_keeps_its_replicas(place: Place) -> None:
    place.deploy("1")
    theirs = autoscaler.make_autoscaler(
        autoscaler.Scaling(2, max_replicas=2), {"name": "delay", "namespace": place.namespace}
    )
    theirs["metadata"]["name"] = "theirs"
    deployer = place.deployer()
    path = deployer.path(cluster_objects.AUTOSCALERS)
    place.kubernetes.create(path, theirs, deployer.call("create", cluster_objects.AUTOSCALERS, "theirs"))
    wait_for(lambda: place.need(DEPLOYMENTS)["spec"]["replicas"] == 2, 60)
    assert place.deploy("2")["spec"]["replicas"] == 2
    with pytest.raises(errors.Conflict, match="HorizontalPodAutoscaler theirs scales Deployment delay already"):
        place.deploy("3", scaling=autoscaler.Scaling(1, max_replicas=2))


def test_what_an_autoscaler_has_set_is_ours_again_once_it_has_gone(place: Place) -> None:
    place.deploy("1")
    place.patch(DEPLOYMENTS, {"spec": {"replicas": 2}}, "kube-controller-manager", subresource="scale")
    holders = field_owners.find_holders(place.need(DEPLOYMENTS), field_owners.REPLICAS)
    assert holders == [("kube-controller-manager", "scale")]
    assert place.deploy("2")["spec"]["replicas"] == 1


@pytest.mark.parametrize(
    ("changes", "manager", "tool"),
    [
        ({"annotations": {"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:x/delay"}}, "test", "Argo CD"),
        ({"labels": {"kustomize.toolkit.fluxcd.io/name": "shop"}}, "test", "Flux"),
        ({"labels": {"app.kubernetes.io/managed-by": "Helm"}}, "test", "Helm"),
        ({"annotations": {"any": "1"}}, "helm", "Helm"),
    ],
)
def test_what_another_tool_owns_is_refused_by_its_name_and_not_touched(
    place: Place, changes: Object, manager: str, tool: str
) -> None:
    deployer = place.deployer()
    service = serving_manifests.make_service(make_serving(place.namespace, place.image, "1"), None)
    place.kubernetes.create(deployer.path(SERVICES), service, deployer.call("create", SERVICES, "delay"))
    place.patch(SERVICES, {"metadata": changes}, manager)
    with pytest.raises(errors.Conflict, match=f"Service delay in namespace {place.namespace} is managed by {tool}"):
        place.deploy("1")
    assert place.get(DEPLOYMENTS) is None


# --- a rollout that fails


def first_report(place: Place, text: str) -> float:
    """When the log first said it."""
    return next(at for at, line in place.log if text in line)


def event_time(place: Place, reason: str) -> float:
    """When the cluster first wrote such an event of a pod, by this machine's monotonic clock; to the second."""
    path = f"/api/v1/namespaces/{place.namespace}/events"
    page = place.kubernetes.list(path, {}, api_errors.Call("list", "events", place.namespace))
    times = [item.get("firstTimestamp") or item.get("eventTime") for item in page["items"] if item["reason"] == reason]
    begun = min(datetime.fromisoformat(at.replace("Z", "+00:00")) for at in times)
    return time.monotonic() - (datetime.now(UTC) - begun).total_seconds()


MAX_DIAGNOSIS_S = 5.0


def test_an_image_that_cannot_be_pulled_is_told_within_seconds_and_the_former_version_is_put_back(
    place: Place,
) -> None:
    good = place.deploy("1")
    place.log.clear()
    with pytest.raises(errors.FlexcoreError, match="rolled back to the version before") as caught:
        place.deploy("2", image="registry.invalid/nosuch:1")
    assert caught.value.category.startswith("image_")
    assert first_report(place, "Waiting (image_") - event_time(place, "Failed") <= MAX_DIAGNOSIS_S
    after = place.need(DEPLOYMENTS)
    assert after["spec"]["template"] == good["spec"]["template"]
    wait_for(lambda: is_settled(place.need(DEPLOYMENTS)), 60)
    version = {"flexcore/rollout": good["spec"]["template"]["metadata"]["labels"]["flexcore/rollout"]}
    assert version.items() <= after["spec"]["template"]["metadata"]["labels"].items()


def test_a_pod_that_fits_nowhere_is_told_within_seconds(place: Place) -> None:
    place.deploy("1")
    place.log.clear()
    with pytest.raises(errors.FlexcoreError) as caught:
        place.deploy("2", cpu="500", timeout_s=12)
    assert caught.value.category == "unschedulable" and caught.value.subject == "cpu"
    assert first_report(place, "Waiting (unschedulable)") - event_time(place, "FailedScheduling") <= MAX_DIAGNOSIS_S
    assert "rolled back" in caught.value.details["undone"]


def test_a_server_that_keeps_crashing_is_told_with_its_last_lines(place: Place) -> None:
    with pytest.raises(errors.ExecutionFailed, match="nothing was served before") as caught:
        place.deploy("1", command="echo no such model >&2; exit 3")
    assert caught.value.category == "crash_loop" and "no such model" in caught.value.details["log_tail"]
    assert place.get(DEPLOYMENTS) is None and place.get(SERVICES) is None


def test_a_server_that_is_slow_to_get_ready_is_told_in_the_words_of_its_probe_and_waited_for(place: Place) -> None:
    place.deploy("1", ready_after=12)
    assert any("Waiting (not_ready)" in line and "probe failed" in line for _, line in place.log)
    with pytest.raises(errors.FlexcoreError, match="did not get ready in time") as caught:
        place.deploy("2", command="sleep 1000", timeout_s=15)
    assert "probe failed" in str(caught.value) and "rolled back" in caught.value.details["undone"]


def test_a_quota_is_told_before_anything_is_changed_or_within_seconds(place: Place) -> None:
    place.deploy("1")
    path = f"/api/v1/namespaces/{place.namespace}/resourcequotas"
    metadata = {"name": "small", "namespace": place.namespace}
    spec = {"hard": {"services.nodeports": "0", "requests.cpu": "60m"}}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": spec}
    place.kubernetes.create(path, quota, api_errors.Call("create", "resourcequotas"))
    wait_for(lambda: place.kubernetes.list(path, {}, api_errors.Call("list", "q"))["items"][0].get("status"), 20)
    before = place.need(DEPLOYMENTS)
    with pytest.raises(errors.FlexcoreError, match="exceeded quota: small") as caught:
        place.deploy("2", service_type="NodePort")
    assert caught.value.details["undone"] == "nothing was changed"
    assert place.need(DEPLOYMENTS)["metadata"]["generation"] == before["metadata"]["generation"]
    with pytest.raises(errors.FlexcoreError, match="exceeded quota: small") as caught:
        place.deploy("2", timeout_s=20)
    assert caught.value.category == "quota_exceeded" and "rolled back" in caught.value.details["undone"]


def test_a_step_that_was_killed_half_way_is_gone_on_with_and_leaves_one_of_each(place: Place) -> None:
    """A copy of the step ends with its Deployment paused, as by SIGKILL between two requests."""
    serving = make_serving(place.namespace, place.image, "1")

    class Killed(BaseException):
        pass

    def die(*_: object) -> Object:
        raise Killed

    deployer = place.deployer()
    with shell_server(SERVE.format(ready_after=0)), pytest.MonkeyPatch.context() as patched:
        patched.setattr(model_deployer.Deployer, "store_map", die)
        with pytest.raises(Killed):
            deployer.deploy(serving, lambda *objects: objects)
    assert place.need(DEPLOYMENTS)["spec"]["paused"] is True
    assert identity.ON_TRIAL in place.need(DEPLOYMENTS)["metadata"]["annotations"]
    after = place.deploy("1")
    assert "paused" not in after["spec"]
    assert identity.ON_TRIAL not in place.need(DEPLOYMENTS)["metadata"]["annotations"]
    for kind in (DEPLOYMENTS, SERVICES, cluster_objects.CONFIG_MAPS):
        assert len(place.deployer().list_objects(kind, cluster_objects.OURS)) == 1


# --- back and down


def test_a_model_goes_back_to_the_version_that_answered_before(place: Place) -> None:
    first = place.deploy("1")
    place.deploy("2", replicas=2)
    with shell_server(SERVE.format(ready_after=0)):
        result = rollback.Rollback(place.deployer(), "delay").run(0, 60)
    now = place.need(DEPLOYMENTS)
    assert now["spec"]["template"] == first["spec"]["template"] and now["spec"]["replicas"] == 2
    assert (result.data["from"]["model_version"], result.data["to"]["model_version"]) == ("2", "1")
    ours = [entry for entry in now["metadata"]["managedFields"] if entry["manager"] == "flexcore"]
    assert [entry["operation"] for entry in ours] == ["Apply"]


def test_all_that_was_made_is_counted_and_gone_and_nothing_else(place: Place) -> None:
    place.deploy("1", replicas=2, scaling=autoscaler.Scaling(2, max_replicas=3))
    deployer = place.deployer()
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs"}, "data": {}}
    place.kubernetes.create(
        deployer.path(cluster_objects.CONFIG_MAPS), theirs, deployer.call("create", cluster_objects.CONFIG_MAPS)
    )
    maps = deployer.list_objects(cluster_objects.CONFIG_MAPS, "")
    before = {item["metadata"]["name"] for item in maps if not cluster_objects.is_ours(item)}
    result = undeployment.Undeployment(deployer, "delay").run(60)
    kinds = sorted(item["kind"] for item in result.data["objects"])
    scaling = ["HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget"]
    assert kinds == ["ConfigMap", "Deployment", *scaling, "Service", "ServiceAccount"]
    left = {item["metadata"]["name"] for item in deployer.list_objects(cluster_objects.CONFIG_MAPS, "")}
    assert left == before
    path = f"/api/v1/namespaces/{place.namespace}/pods"
    assert place.kubernetes.list(path, {}, api_errors.Call("list", "pods"))["items"] == []


def test_a_finalizer_that_hangs_is_named_with_what_to_do(place: Place) -> None:
    place.deploy("1")
    place.patch(SERVICES, {"metadata": {"finalizers": ["example.com/never"]}}, "test")
    down = undeployment.Undeployment(place.deployer(), "delay")
    with pytest.raises(errors.DeadlineExceeded, match="Service delay waits for its finalizer example") as caught:
        down.run(8)
    assert f"kubectl -n {place.namespace} patch service delay" in caught.value.remedy
    place.patch(SERVICES, {"metadata": {"finalizers": None}}, "test")
    assert undeployment.Undeployment(place.deployer(), "delay").run(60).success, "a repeat waits for the rest"


# --- KServe


@pytest.fixture
def kserve(place: Place) -> Iterator[Place]:
    """A cluster that serves KServe's API and has a controller that does the part of it which is asked for here. The
    controller is the test's own: what KServe itself does with the object is not seen."""
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    name = "inferenceservices.serving.kserve.io"
    call = api_errors.Call("create", "customresourcedefinitions", "", name)
    if place.kubernetes.get(f"{path}/{name}", call):
        pytest.skip("KServe is there")
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1beta1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    version["subresources"] = {"status": {}}
    names = {"kind": "InferenceService", "plural": "inferenceservices", "singular": "inferenceservice"}
    spec = {"group": "serving.kserve.io", "scope": "Namespaced", "names": names, "versions": [version]}
    crd = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": name}}
    created = place.kubernetes.create(path, {**crd, "spec": spec}, call)
    assert created is not None
    stop = threading.Event()
    controller = threading.Thread(target=control, args=(place, stop), daemon=True)
    try:
        wait_for(lambda: place.deployer().serves(cluster_objects.INFERENCE_SERVICES), 30)
        time.sleep(1)
        controller.start()
        yield place
    finally:
        stop.set()
        if controller.ident:
            controller.join(10)
        place.kubernetes.delete(f"{path}/{name}", created["metadata"]["uid"], call)


def control(place: Place, stop: threading.Event) -> None:
    """Makes the Deployment and Service of each InferenceService, and writes its conditions."""
    kubernetes = connection.connect(place.resource, place.namespace).kubernetes
    here = cluster_objects.Namespace(kubernetes, place.namespace)
    done: dict[str, int] = {}
    while not stop.wait(0.5):
        try:
            items = here.list_objects(cluster_objects.INFERENCE_SERVICES, "")
        except errors.FlexcoreError:
            continue
        for item in items:
            if item["metadata"].get("deletionTimestamp"):
                continue
            if done.get(item["metadata"]["uid"]) != item["metadata"]["generation"]:
                done[item["metadata"]["uid"]] = item["metadata"]["generation"]
                make_predictor(here, item)
            deployment = here.get(DEPLOYMENTS, f"{item['metadata']['name']}-predictor")
            ready = "True" if deployment and is_settled(deployment) else "False"
            conditions = [{"type": kind, "status": ready} for kind in ("PredictorReady", "Ready")]
            path = f"{here.path(cluster_objects.INFERENCE_SERVICES, item['metadata']['name'])}/status"
            call = here.call("patch", cluster_objects.INFERENCE_SERVICES)
            kubernetes._request("PATCH", path, {}, {"status": {"conditions": conditions}}, call, 0)


def make_predictor(here: cluster_objects.Namespace, item: Object) -> None:
    metadata, predictor = item["metadata"], dict(item["spec"]["predictor"])
    labels, notes = predictor.pop("labels"), predictor.pop("annotations")
    strategy, replicas = predictor.pop("deploymentStrategy"), predictor.pop("minReplicas")
    for name in ("maxReplicas", "scaleMetric", "scaleTarget", "canaryTrafficPercent"):
        predictor.pop(name, None)
    name = f"{metadata['name']}-predictor"
    app = {"app": f"isvc.{name}"}
    owner = {"apiVersion": item["apiVersion"], "kind": item["kind"], "name": metadata["name"], "uid": metadata["uid"]}
    owned = {"name": name, "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}]}
    template = {"metadata": {"labels": {**labels, **app}, "annotations": notes}, "spec": predictor}
    spec = {"replicas": replicas, "selector": {"matchLabels": app}, "strategy": strategy, "template": template}
    bodies = [
        (DEPLOYMENTS, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": owned, "spec": spec}),
        (
            SERVICES,
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": owned,
                "spec": {"selector": app, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
            },
        ),
    ]
    for kind, body in bodies:
        query: client.Query = {"fieldManager": "kserve-controller-manager", "force": True}
        code, payload = here.kubernetes._request(
            "PATCH", here.path(kind, name), query, body, here.call("patch", kind), 0
        )
        assert code in (200, 201), payload


def test_kserve_is_given_one_object_an_update_that_fails_is_put_back_and_all_is_taken_down(kserve: Place) -> None:
    place = kserve
    deployer = kserve_deployer.KServeDeployer(place.by_deploy, place.namespace)
    serving = make_serving(place.namespace, place.image, "1", mode="kserve")
    with shell_server(SERVE.format(ready_after=0)):
        item, service = deployer.deploy(serving, lambda *objects: objects)
    assert service["metadata"]["name"] == "delay-predictor" and item["kind"] == "InferenceService"
    weight = {"spec": {"predictor": {"canaryTrafficPercent": 20}}}
    place.patch(cluster_objects.INFERENCE_SERVICES, weight, "canary")
    good = place.need(cluster_objects.INFERENCE_SERVICES)
    broken = make_serving(place.namespace, "registry.invalid/nosuch:1", "2", mode="kserve")
    with shell_server(SERVE.format(ready_after=0)), pytest.raises(errors.FlexcoreError, match="rolled back") as caught:
        deployer.deploy(broken, lambda *objects: objects)
    assert caught.value.category.startswith("image_")
    after = place.need(cluster_objects.INFERENCE_SERVICES)
    assert after["spec"] == good["spec"], "the weight, which is the canary's, among it"
    made = undeployment.Undeployment(place.deployer(), "delay").run(60).data["objects"]
    kinds = sorted(item["kind"] for item in made)
    assert kinds == ["ConfigMap", "InferenceService", "NetworkPolicy", "ServiceAccount"]
    assert place.get(DEPLOYMENTS, "delay-predictor") is None
