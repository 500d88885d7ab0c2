"""Plans on a real cluster, in namespaces that are made for them and removed afterwards: what they say is compared with
what API server, scheduler and Kueue then do, and they change nothing.

KUBECONFIG            a cluster in which the tests may create namespaces; its first node is tainted for a moment
FLEXCORE_LIVE_IMAGE   an image with a shell (busybox)
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from f.flexcore.kubernetes.plan_work import main as plan_work
from f.flexcore.lib.core import contracts, errors, identity
from f.flexcore.lib.kubernetes import cluster_objects, connection, model_delivery, plan_tools, serving_manifests
from f.flexcore.lib.kubernetes_api import api_errors, client
from tests.live.conftest import needed

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("live")]
Object = dict[str, Any]
ROOT = Path(__file__).parent.parent.parent
CALL = api_errors.Call("test", "objects")
STORE = {"storage_uri": "s3://store", "storage_access_key": "AKIDEXAMPLE", "storage_secret_key": "sesame-store-9"}
LISTS = {
    "/api/v1": ["pods", "services", "configmaps", "secrets", "resourcequotas", "serviceaccounts", "events"],
    "/apis/batch/v1": ["jobs"],
    "/apis/apps/v1": ["deployments", "replicasets"],
    "/apis/autoscaling/v2": ["horizontalpodautoscalers"],
    "/apis/policy/v1": ["poddisruptionbudgets"],
    "/apis/networking.k8s.io/v1": ["networkpolicies"],
}


class Place:
    """A namespace of the test's own. made: objects outside it, to be removed as well."""

    def __init__(self, **labels: str) -> None:
        self.resource = {"kubeconfig": Path(needed("KUBECONFIG")).read_text(), "cpu_hour_usd": 0.04}
        self.image = needed("FLEXCORE_LIVE_IMAGE")
        self.namespace = f"r16-plan-{uuid.uuid4().hex[:6]}"
        self.kubernetes: client.Kubernetes = connection.connect(self.resource, self.namespace).kubernetes
        self.made: list[tuple[str, str]] = []
        metadata = {"name": self.namespace, "labels": labels}
        self.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})

    def create(self, path: str, body: Object) -> Object:
        created = self.kubernetes.create(path, body, CALL)
        assert created is not None
        if f"/namespaces/{self.namespace}" not in path:
            self.made.append((f"{path}/{created['metadata']['name']}", created["metadata"]["uid"]))
        return created

    def add(self, prefix: str, plural: str, kind: str, name: str, **fields: Any) -> Object:
        version = prefix.removeprefix("/apis/").removeprefix("/api/")
        body = {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **fields}
        return self.create(f"{prefix}/namespaces/{self.namespace}/{plural}", body)

    def close(self) -> None:
        for path, uid in reversed(self.made):
            self.kubernetes.delete(path, uid, CALL)

    def plan(self, operation: str = "job", settings: Any = STORE, **fields: Any) -> Object:
        short = {"image": self.image, "command": ["true"], "cpu": "100m", "memory": "32Mi"}
        request = {**(short if operation == "job" and "manifest" not in fields else {}), **fields}
        return plan_work(self.resource, operation, {"namespace": self.namespace, **request}, settings)  # type: ignore[arg-type]

    def versions(self) -> dict[tuple[str, str], str]:
        """The resource version of every object of the namespace, by its address."""
        found = {}
        for prefix, plurals in LISTS.items():
            for plural in plurals:
                page = self.kubernetes.list(f"{prefix}/namespaces/{self.namespace}/{plural}", {}, CALL)
                for item in page["items"]:
                    found[plural, item["metadata"]["name"]] = item["metadata"]["resourceVersion"]
        return found

    def run_pod(self, spec: Object, labels: Object | None = None) -> str | None:
        """The scheduler's own answer to a pod, which stays: None once it has a node, else the scheduler's message."""
        name = f"p-{uuid.uuid4().hex[:8]}"
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels or {}}, "spec": spec}
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        self.create(path, pod)
        for _ in range(100):
            item = self.kubernetes.get(f"{path}/{name}", api_errors.Call("get", "pods", self.namespace, name))
            assert item is not None
            for condition in item.get("status", {}).get("conditions") or ():
                if condition["type"] == "PodScheduled":
                    return None if condition["status"] == "True" else str(condition.get("message"))
            time.sleep(0.1)
        raise AssertionError(f"the scheduler says nothing of {name}")


@pytest.fixture
def place() -> Iterator[Place]:
    yield from opened(Place())


@pytest.fixture
def restricted() -> Iterator[Place]:
    yield from opened(Place(**{"pod-security.kubernetes.io/enforce": "restricted"}))


def opened(made: Place) -> Iterator[Place]:
    try:
        yield made
    finally:
        made.close()


def reasons(result: Object) -> list[str]:
    return [reason["text"] for reason in result["data"]["reasons"]]


def test_a_plan_changes_nothing_whatever_it_says(place: Place) -> None:
    place.add("/api/v1", "resourcequotas", "ResourceQuota", "q", spec={"hard": {"pods": "1", "requests.cpu": "1"}})
    time.sleep(1)
    before = place.versions()
    results = [
        place.plan(),
        place.plan(cpu="3", gpus=1),
        place.plan(secrets={"TOKEN": "sesame-open-77"}),
        place.plan("deploy_model", name="iris", cpu="100m", memory="64Mi"),
        place.plan("deploy_model", name="iris", replicas=3, cpu="1", max_replicas=4),
    ]
    assert place.versions() == before
    assert [result["data"]["verdict"] for result in results] == ["likely", "will not", "likely", "likely", "will not"]
    assert "sesame-open-77" not in str(results) and "sesame-store-9" not in str(results)


def test_a_quota_decides_by_what_is_left_and_by_its_scope(place: Place) -> None:
    hard = {"requests.cpu": "300m", "requests.memory": "1Gi"}
    place.add("/api/v1", "resourcequotas", "ResourceQuota", "small", spec={"hard": hard})
    late = {"hard": {"pods": "0"}, "scopes": ["Terminating"]}
    place.add("/api/v1", "resourcequotas", "ResourceQuota", "late", spec=late)
    none = {"hard": {"count/jobs.batch": "5", "count/deployments.apps": "0"}}
    place.add("/api/v1", "resourcequotas", "ResourceQuota", "none", spec=none)
    time.sleep(1)
    assert place.plan()["data"]["verdict"] == "likely"
    never = place.plan(cpu="500m")
    assert "Quota small allows 300m requests.cpu" in reasons(never)[0] and never["data"]["is_refused"]
    container = {"name": "m", "image": place.image, "command": ["sleep", "60"]}
    held = {**container, "resources": {"requests": {"cpu": "250m", "memory": "16Mi"}}, "securityContext": {}}
    assert place.run_pod({"containers": [held], "terminationGracePeriodSeconds": 0}) is None
    time.sleep(0.5)
    full = place.plan()
    assert full["success"] and full["data"]["reasons"][0]["waits"] and "250m are used" in reasons(full)[0]
    refused = place.plan("deploy_model", name="iris", cpu="10m", memory="16Mi")
    assert any("count/deployments.apps" in text for text in reasons(refused))


def test_a_namespace_that_enforces_restricted_takes_our_job_and_not_one_of_root(restricted: Place) -> None:
    assert restricted.plan()["data"]["verdict"] == "likely"
    root = restricted.plan(run_as_user=0)
    assert root["data"]["verdict"] == "will not" and root["data"]["is_refused"]
    assert "violates PodSecurity" in reasons(root)[0]
    # The Job itself would be taken: only its pods are refused, later.
    assert root["data"]["objects"][0]["action"] == "create"


def test_what_a_limit_range_adds_and_refuses_is_told(place: Place) -> None:
    item = {
        "type": "Container",
        "default": {"cpu": "200m"},
        "defaultRequest": {"cpu": "50m"},
        "max": {"memory": "64Mi"},
    }
    item |= {"default": {"cpu": "200m", "memory": "48Mi"}, "defaultRequest": {"cpu": "50m", "memory": "24Mi"}}
    place.add("/api/v1", "limitranges", "LimitRange", "lr", spec={"limits": [item]})
    result = place.plan(cpu="", memory="")
    assert result["data"]["pod"]["requests"] == {"cpu": "50m", "memory": "24Mi"}
    assert result["data"]["pod"]["limits"] == {"cpu": "200m", "memory": "48Mi"}
    notes = " ".join(result["data"]["notes"])
    assert "container main gets" in notes and "limits.cpu 200m" in notes and "by LimitRange lr" in notes
    large = place.plan(memory="128Mi")
    assert large["data"]["verdict"] == "will not" and "maximum memory usage per Container is 64Mi" in reasons(large)[0]


def test_no_node_with_a_gpu_is_told_with_each_node(place: Place) -> None:
    result = place.plan(gpus=1)
    (reason,) = result["data"]["reasons"]
    assert reason["subject"] == "gpus" and "has no nvidia.com/gpu" in reason["text"] and not result["success"]
    assert all(node["verdict"] == "will not" for node in result["data"]["nodes"])


def test_a_taint_is_told_while_it_is_there(place: Place) -> None:
    node = place.kubernetes.list("/api/v1/nodes", {}, CALL)["items"][0]
    path, name = f"/api/v1/nodes/{node['metadata']['name']}", node["metadata"]["name"]
    taints = list(node["spec"].get("taints") or ())
    # For less than a second: nothing that runs minds, and what is to be scheduled comes a moment later.
    place.kubernetes.patch(path, {"spec": {"taints": [*taints, {"key": "r16", "effect": "NoSchedule"}]}}, CALL)
    try:
        result = place.plan()
    finally:
        place.kubernetes.patch(path, {"spec": {"taints": taints or None}}, CALL)
    assert any(f"{name} has the taint r16:NoSchedule" in text for text in reasons(result))
    assert result["data"]["reasons"][0]["remedy"].startswith("Tolerate the taint r16:NoSchedule")
    assert place.plan()["data"]["verdict"] == "likely"


def affinity(kind: str, app: str, key: str = "kubernetes.io/hostname") -> Object:
    term = {"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}}
    return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def node_affinity(key: str, operator: str, *values: str) -> Object:
    terms = [{"matchExpressions": [{"key": key, "operator": operator, **({"values": list(values)} if values else {})}]}]
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}


def spread(key: str) -> Object:
    rule = {"topologyKey": key, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}
    return {"topologySpreadConstraints": [{**rule, "labelSelector": {"matchLabels": {"app": "one"}}}]}


SHAPES: dict[str, Object] = {
    "plain": {},
    "selector": {"nodeSelector": {"disk": "ssd"}},
    "architecture": {"nodeSelector": {"kubernetes.io/arch": "arm64"}},
    "host": {"affinity": node_affinity("kubernetes.io/hostname", "Exists")},
    "no host": {"affinity": node_affinity("kubernetes.io/hostname", "DoesNotExist")},
    "many cores": {"affinity": node_affinity("cores", "Gt", "4")},
    "too large": {"cpu": "64"},
    "anti": {"affinity": affinity("podAntiAffinity", "one")},
    "anti of nobody": {"affinity": affinity("podAntiAffinity", "nobody")},
    "with": {"affinity": affinity("podAffinity", "one")},
    "with nobody": {"affinity": affinity("podAffinity", "nobody")},
    "spread": spread("kubernetes.io/hostname"),
    "spread by what nobody has": spread("rack"),
    "port": {"port": 31789},
    "port again": {"port": 31789},
    "device": {"claim": 1},
    "devices": {"claim": 2},
    "class": {"claim": 1, "class": "absent"},
}


def make_spec(place: Place, shape: Object, classes: Object) -> Object:
    requests = {"cpu": shape.get("cpu", "10m"), "memory": "16Mi"}
    container: Object = {
        "name": "m",
        "image": place.image,
        "command": ["sleep", "90"],
        "resources": {"requests": requests},
    }
    if port := shape.get("port"):
        container["ports"] = [{"containerPort": 80, "hostPort": port}]
    spec: Object = {"containers": [container], "terminationGracePeriodSeconds": 0, "restartPolicy": "Never"}
    spec |= {name: shape[name] for name in ("nodeSelector", "affinity", "topologySpreadConstraints") if name in shape}
    if count := shape.get("claim"):
        name = f"c-{uuid.uuid4().hex[:6]}"
        exactly = {"deviceClassName": classes.get(shape.get("class", "class"), "absent"), "count": count}
        devices = {"requests": [{"name": "r", "exactly": {**exactly, "allocationMode": "ExactCount"}}]}
        add = ("/apis/resource.k8s.io/v1", "resourceclaimtemplates", "ResourceClaimTemplate", name)
        place.add(*add, spec={"spec": {"devices": devices}})
        spec["resourceClaims"] = [{"name": "dev", "resourceClaimTemplateName": name}]
        container["resources"]["claims"] = [{"name": "dev"}]
    return spec


def test_what_a_plan_says_of_nodes_is_what_the_scheduler_does(place: Place) -> None:
    driver = f"{place.namespace}.example.com"
    where = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "Exists"}]}]}
    pool = {"name": driver, "generation": 1, "resourceSliceCount": 1}
    root, version = "/apis/resource.k8s.io/v1", "resource.k8s.io/v1"
    slice_spec = {"driver": driver, "pool": pool, "nodeSelector": where, "devices": [{"name": "d0"}, {"name": "d1"}]}
    expression = {"cel": {"expression": f'device.driver == "{driver}"'}}
    for plural, kind, spec in (
        ("deviceclasses", "DeviceClass", {"selectors": [expression]}),
        ("resourceslices", "ResourceSlice", slice_spec),
    ):
        body = {"apiVersion": version, "kind": kind, "metadata": {"name": driver}, "spec": spec}
        place.create(f"{root}/{plural}", body)
    plain = {"containers": [{"name": "m", "image": place.image, "command": ["sleep", "90"]}]}
    assert place.run_pod({**plain, "terminationGracePeriodSeconds": 0}, {"app": "one"}) is None
    differences = {}
    for name, shape in SHAPES.items():
        spec = make_spec(place, shape, {"class": driver})
        template = {"metadata": {"labels": {"app": "planned"}}, "spec": spec}
        manifest = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {}, "spec": {"template": template}}
        result = place.plan(manifest=manifest)
        told = reasons(result)
        message = place.run_pod(spec, {"app": "planned"})
        print(f"{name}: {result['data']['verdict']} {told}; scheduler: {message}")
        if (result["data"]["verdict"] == "likely") != (message is None):
            differences[name] = (told, message)
    assert not differences


def make_serving(place: Place, image: str) -> serving_manifests.Serving:
    file = contracts.File(path="model.joblib", bytes=1, checksum=f"sha256:{'0' * 64}")
    column = contracts.Column(name="x", datatype="FP64")
    model = contracts.ModelManifest(
        uri="s3://store/models/iris",
        format="sklearn-joblib",
        checksum=contracts.compute_checksum([file]),
        name="iris",
        version="1",
        algorithm="forest",
        target="y",
        framework=contracts.Framework(name="scikit-learn", version="1.9.1"),
        signature=contracts.Signature(inputs=[column], outputs=[column]),
        metrics={},
        files=[file],
    )
    delivery = model_delivery.Delivery("image", {"plan.json": "{}", "fetch_model.py": ""})
    key = identity.execution_key({"WM_JOB_ID": "j", "WM_WORKSPACE": "dev"})
    options = {"image": image, "cpu": "10m", "memory": "16Mi", "replicas": 1}
    return serving_manifests.Serving(model, delivery, "iris", place.namespace, key, **options)  # type: ignore[arg-type]


def test_changes_of_a_deployment_are_told_and_what_others_hold_is_refused(place: Place) -> None:
    own = cluster_objects.Namespace(place.kubernetes, place.namespace)
    serving = make_serving(place, place.image)
    body = serving_manifests.make_deployment(serving)
    body["spec"]["paused"] = True
    own.store(cluster_objects.DEPLOYMENTS, body)
    model = serving.model.plain()
    before = place.versions()
    asked = {"name": "iris", "model": model, "cpu": "10m", "memory": "16Mi", "model_source": "image"}
    result = place.plan("deploy_model", image="localhost/python:3.11", **asked)
    (deployment,) = [item for item in result["data"]["objects"] if item["kind"] == "Deployment"]
    images = [change for change in deployment["changes"] if change["path"].endswith("[model-server].image")]
    assert deployment["action"] == "update" and images[0]["before"] == place.image
    assert images[0]["after"] == "localhost/python:3.11"
    assert not any(change["path"].startswith("metadata.managedFields") for change in deployment["changes"])
    after = place.versions()
    assert {key: after[key] for key in before if key[0] != "events"} == {
        key: before[key] for key in before if key[0] != "events"
    }
    # Somebody else sets the image: their hold is shown.
    path = own.path(cluster_objects.DEPLOYMENTS, "iris")
    containers = [{"name": "model-server", "image": "other:1"}]
    theirs: Object = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "iris"}}
    theirs["spec"] = {"template": {"spec": {"containers": containers}}}
    query: client.Query = {"fieldManager": "somebody", "force": True}
    code, _ = place.kubernetes._request("PATCH", path, query, theirs, CALL, 0)
    assert code == 200
    refused = place.plan("deploy_model", image="localhost/python:3.11", **asked)
    assert not refused["success"] and any("somebody" in text for text in reasons(refused))
    service = {"ports": [{"port": 80}], "selector": {"a": "b"}}
    place.add("/api/v1", "services", "Service", "iris", spec=service)
    both = place.plan("deploy_model", image="localhost/python:3.11", **asked)
    assert any("services iris exists" in text and "not made by flexcore" in text for text in reasons(both))


def test_kueue_queues_that_cannot_take_the_job_are_told(place: Place) -> None:
    apis = plan_tools.read_discovery(place.kubernetes.list("/apis", {}, CALL))
    if "kueue.x-k8s.io" not in apis:
        pytest.skip("no Kueue")
    root, version = "/apis/kueue.x-k8s.io/v1beta2", "kueue.x-k8s.io/v1beta2"
    name = place.namespace
    place.create(
        f"{root}/resourceflavors", {"apiVersion": version, "kind": "ResourceFlavor", "metadata": {"name": name}}
    )
    resources = [{"name": "cpu", "nominalQuota": "1"}, {"name": "memory", "nominalQuota": "1Gi"}]
    group = {"coveredResources": ["cpu", "memory"], "flavors": [{"name": name, "resources": resources}]}
    spec = {"namespaceSelector": {}, "resourceGroups": [group]}
    body = {"apiVersion": version, "kind": "ClusterQueue", "metadata": {"name": name}, "spec": spec}
    place.create(f"{root}/clusterqueues", body)
    place.add(root, "localqueues", "LocalQueue", "mine", spec={"clusterQueue": name})

    def plan_queued(cpu: str = "100m", **labels: str) -> Object:
        container: Object = {"name": "m", "image": place.image, "command": ["true"]}
        container |= {"resources": {"requests": {"cpu": cpu, "memory": "16Mi"}}}
        template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
        marks = {f"kueue.x-k8s.io/{key.replace('_', '-')}": value for key, value in labels.items()}
        metadata = {"name": "x", "labels": marks}
        manifest = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": template}}
        return place.plan(manifest=manifest)

    good = plan_queued(queue_name="mine")
    assert good["data"]["verdict"] == "likely" and good["data"]["queue"]["cluster_queue"] == name
    assert "There is no LocalQueue absent" in reasons(plan_queued(queue_name="absent"))[0]
    assert "can give at most 1 cpu" in reasons(plan_queued(cpu="1500m", queue_name="mine"))[0]
    unknown = plan_queued(queue_name="mine", priority_class="absent")
    assert "There is no WorkloadPriorityClass absent" in reasons(unknown)[0] and unknown["data"]["is_refused"]


def test_the_roles_of_a_plan_show_all_that_an_admin_sees(place: Place) -> None:
    for name in ("rbac.yaml", "rbac-plan.yaml"):
        for document in yaml.safe_load_all((ROOT / "resources/kubernetes" / name).read_text()):
            kind, plural = document["kind"], f"{document['kind'].lower()}s"
            if kind == "ClusterRole":
                document["metadata"]["name"] = place.namespace
                place.create("/apis/rbac.authorization.k8s.io/v1/clusterroles", document)
            elif kind == "ServiceAccount":
                place.create(f"/api/v1/namespaces/{place.namespace}/serviceaccounts", document)
            else:
                place.create(f"/apis/rbac.authorization.k8s.io/v1/namespaces/{place.namespace}/{plural}", document)
    subject = {"kind": "ServiceAccount", "name": "flexcore", "namespace": place.namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": place.namespace}
    binding: Object = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "subjects": [subject],
    }
    binding |= {"metadata": {"name": place.namespace}, "roleRef": role}
    path = f"/api/v1/namespaces/{place.namespace}/serviceaccounts/flexcore/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = place.kubernetes.review(path, request, CALL)["status"]["token"]
    access = place.kubernetes.access
    place.resource = {"mode": "token", "server": access.server, "token": token, "ca_certificate": access.ca}
    narrow = place.plan()
    assert narrow["data"]["verdict"] == "likely" and {"nodes", "pods", "leases"} <= set(narrow["data"]["unseen"])
    assert "pods (dry run)" not in narrow["data"]["unseen"]
    place.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
    time.sleep(1)
    for operation, fields in (("job", {"gpus": 1}), ("deploy_model", {"name": "iris", "cpu": "10m"})):
        wide = place.plan(operation, **fields)
        assert wide["data"]["unseen"] == [] and wide["data"]["nodes"] and wide["data"]["missing_rights"] == []
    place.resource |= {"token": token[:-8] + "AAAAAAAA"}
    with pytest.raises(errors.Forbidden, match="does not accept the credentials"):
        place.plan()
