"""Ray clusters that a real KubeRay operator makes: leased, used through their reference, scaled by Ray itself, gone;
and the flow that gets one, runs a program on it, and releases it, on the local engine.

KUBECONFIG                a cluster with KubeRay in which the tests may create namespaces
FLEXCORE_LIVE_RAY_IMAGE   an image with Ray 2.60, bash and wget (default localhost/ray:2.60.0)
"""

from __future__ import annotations

import base64
import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core import contracts, errors, resources
from f.flexcore.lib.kubernetes_api import api_errors, credentials, http_client
from f.flexcore.lib.operations import reconciler
from f.flexcore.lib.ray import connection, dashboard, leased_clusters
from f.flexcore.ray.describe_cluster import main as describe_cluster
from f.flexcore.ray.ensure_cluster import main as ensure_cluster
from f.flexcore.ray.release_cluster import main as release_cluster
from f.flexcore.ray.run_job import main as run_job
from f.flexcore.ray.scale_cluster import main as scale_cluster
from tests.live import rights
from tests.operations.fake_windmill import FakeWindmill
from wmlocal.engine import Engine
from wmlocal.engine.engine import default_home

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("live")]
Object = dict[str, Any]
ROOT = Path(__file__).parent.parent.parent
FLOW = "f/flexcore/ray/run_on_cluster"
# Before any test changes what it depends on.
ENVIRONMENTS = default_home() / "envs"
CALL = api_errors.Call("test", "objects")


class Live:
    def __init__(self, kubeconfig: str) -> None:
        self.resource = {"kubeconfig": Path(kubeconfig).read_text()}
        found = errors.validate(resources.KubernetesCluster, self.resource, "cluster")
        self.kubernetes = http_client.HttpKubernetes(credentials.resolve_access(found))
        # What the steps have: the shipped role alone.
        self.limited: Object = {}
        self.namespace = f"flexcore-ray-{uuid.uuid4().hex[:6]}"
        self.image = os.environ.get("FLEXCORE_LIVE_RAY_IMAGE", "localhost/ray:2.60.0")

    def spec(self, **fields: Any) -> Object:
        group = {"name": "workers", "cpu": "300m", "memory": "1Gi", "labels": {"zone": "a"}, **fields.pop("group", {})}
        small = {"head_cpu": "500m", "head_memory": "2Gi", "autoscaler_cpu": "100m", "idle_timeout_s": 15}
        return {"image": self.image, "groups": [group], **small, **fields}

    def listed(self, path: str, api: str = "/api/v1") -> list[Object]:
        return list(self.kubernetes.list(f"{api}/namespaces/{self.namespace}/{path}", {}, CALL)["items"])

    def ray_clusters(self) -> list[Object]:
        return self.listed("rayclusters", "/apis/ray.io/v1")

    def workers(self) -> int:
        pods = [pod["metadata"]["labels"].get("ray.io/node-type") for pod in self.listed("pods")]
        return pods.count("worker")


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    kubeconfig = os.environ.get("KUBECONFIG")
    if not kubeconfig:
        pytest.skip("no real cluster: KUBECONFIG not set")
    found = Live(kubeconfig)
    code, _ = found.kubernetes.request_raw("GET", "/apis/ray.io/v1", None, CALL)
    if code != 200:
        pytest.skip("the cluster has no KubeRay")
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": found.namespace, "labels": labels}}
    made = found.kubernetes.create("/api/v1/namespaces", namespace, CALL)
    assert made
    found.limited = rights.make_limited(found.kubernetes, found.namespace, "flexcore-ray")
    yield found
    found.kubernetes.delete(f"/api/v1/namespaces/{found.namespace}", made["metadata"]["uid"], CALL)


@pytest.fixture(autouse=True)
def windmill(live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeWindmill]:
    with FakeWindmill() as running:
        running.resources = {"f/x/k8s": live.limited}
        env = {"BASE_INTERNAL_URL": running.address, "WM_TOKEN": "token", "FLEXCORE_HOME": str(tmp_path)}
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        as_flow(monkeypatch, "one")
        yield running


def as_flow(monkeypatch: pytest.MonkeyPatch, flow: str, step: str = "ensure") -> None:
    env = {"WM_JOB_ID": f"{flow}-{step}", "WM_FLOW_JOB_ID": flow, "WM_FLOW_STEP_ID": step, "WM_ROOT_JOB_ID": flow}
    for name, value in {**env, "WM_WORKSPACE": "test"}.items():
        monkeypatch.setenv(name, value)


def wait_for(check: Any, timeout_s: float) -> float:
    began = time.monotonic()
    while not check():
        assert time.monotonic() - began < timeout_s, "not in time"
        time.sleep(1)
    return time.monotonic() - began


def test_a_cluster_is_made_used_scaled_shared_and_gone(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = {"kubernetes_cluster": "f/x/k8s", "namespace": live.namespace, "name": "ml"}
    first = ensure_cluster(cluster=cluster, spec=live.spec(), timeout_s=400)["data"]
    assert (first["created"], first["workers"]) == (True, 0)
    secret = live.kubernetes.get(f"/api/v1/namespaces/{live.namespace}/secrets/ml", CALL) or {}
    token = base64.b64decode(secret["data"]["auth_token"]).decode()
    assert token not in json.dumps(first)

    # Without the token, and with a wrong one, the head refuses.
    reference = errors.validate(resources.RayCluster, first["cluster"], "cluster")
    with dashboard.RayApi(reference) as api:
        for header in ({}, {connection.PROXIED_TOKEN_HEADER: "Bearer wrong"}):
            found = api._auth.connection
            kept = {name: value for name, value in found.headers.items() if name != connection.PROXIED_TOKEN_HEADER}
            api._auth.connection = connection.Connection(found.cluster, kept | header, found.verify)
            api._auth._renew = None
            with pytest.raises(errors.Forbidden):
                api.version()

    # A second flow joins.
    as_flow(monkeypatch, "two")
    second = ensure_cluster(cluster=cluster, spec=live.spec(), timeout_s=300)["data"]
    assert (second["created"], second["lease"]["token"]) == (False, 2)

    # A job that needs a worker: 0 → 1, on the node with the group's label, and back.
    as_flow(monkeypatch, "two", "job")
    program = (
        "import ray\nray.init()\nnode = ray.get_runtime_context().get_node_labels()\nresult = {'labels': dict(node)}"
    )
    result = run_job(cluster=second["cluster"], program=program, num_cpus=1, timeout_s=400)
    assert result["data"]["result"]["labels"]["zone"] == "a"
    assert token not in json.dumps(result)
    wait_for(lambda: live.workers() == 0, 180)

    scaled = scale_cluster(cluster=second["cluster"], min_workers=1, timeout_s=300)["data"]
    assert scaled["workers"] == 1
    described = describe_cluster(cluster=cluster)["data"]
    assert (described["ready"], described["workers"], len(described["leases"])) == (True, 1, 2)

    # The first flow dies: reconcile asks Windmill, and ends its lease alone.
    assert reconcile(live, {"one": "unknown", "two": "running"}) == []
    assert [row.reason for row in reconcile(live, {"one": "ended", "two": "running"})] == ["its owner has ended"]
    assert [held["owner_job"] for held in describe_cluster(cluster=cluster)["data"]["leases"]] == ["two"]

    # The second releases, and nothing stays.
    as_flow(monkeypatch, "two", "release")
    assert release_cluster(cluster=second["cluster"])["data"]["outcome"] == "deleted"
    assert live.ray_clusters() == []
    wait_for(lambda: not [pod for pod in live.listed("pods") if "ml" in pod["metadata"]["name"]], 60)
    wait_for(lambda: not [item for item in live.listed("secrets") if item["metadata"]["name"] == "ml"], 60)
    with pytest.raises(errors.NotFound, match="There is no RayCluster ml"):
        run_job(cluster=cluster, program="result = 1")


def test_an_image_that_cannot_be_pulled_is_named_within_seconds_and_nothing_stays(live: Live) -> None:
    cluster = {"kubernetes_cluster": "f/x/k8s", "namespace": live.namespace, "name": "no-image"}
    began = time.monotonic()
    with pytest.raises(errors.FlexcoreError) as caught:
        ensure_cluster(cluster=cluster, spec=live.spec(image="localhost/nothing:1"), timeout_s=200)
    assert caught.value.category.startswith("image_")
    assert time.monotonic() - began < 120
    assert live.ray_clusters() == []


def test_a_cluster_that_no_node_has_room_for_is_told_as_unschedulable(live: Live) -> None:
    cluster = {"kubernetes_cluster": "f/x/k8s", "namespace": live.namespace, "name": "too-large"}
    with pytest.raises(errors.FlexcoreError, match="Insufficient cpu") as caught:
        ensure_cluster(cluster=cluster, spec=live.spec(head_cpu="500"), timeout_s=200, pending_timeout_s=5)
    assert caught.value.category == "unschedulable"
    assert live.ray_clusters() == []


# --- the flow


@pytest.fixture
def engine(live: Live, tmp_path: Path) -> Iterator[Engine]:
    """Where flows run; its resources are the limited cluster's."""
    home = tmp_path / "engine"
    home.mkdir()
    ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
    (home / "envs").symlink_to(ENVIRONMENTS)
    with Engine(ROOT, home) as running:
        running.store.set_resource("f/x/k8s", live.limited, "c_kubernetes_cluster", "")
        yield running


@pytest.fixture
def form(live: Live, tmp_path: Path) -> Object:
    return {
        "cluster": {"kubernetes_cluster": "f/x/k8s", "namespace": live.namespace, "name": "flow"},
        "spec": live.spec(groups=[]),
        "settings": {"storage_uri": f"file://{tmp_path}/store"},
        "cluster_timeout_s": 400,
        "timeout_s": 200,
    }


def leases(form: Object) -> list[Object]:
    return list(describe_cluster(form["cluster"], form["settings"])["data"]["leases"])


KEEP_S = 45


def test_a_flow_gets_a_cluster_runs_its_program_and_releases_it_with_its_result_or_error(
    live: Live, engine: Engine, form: Object
) -> None:
    done = engine.run(FLOW, {**form, "program": "result = 6 * 7", "keep_idle_s": KEEP_S})
    assert done.success, done.result
    assert done.result["data"]["result"] == 42
    assert done.result["attempt"] == 1
    (first,) = live.ray_clusters()
    assert leases(form) == []

    # The next flow joins what is kept. Its program fails: so does the flow, with that error, and nothing holds the
    # cluster any more.
    failing = engine.run(FLOW, {**form, "program": "raise ValueError('no rows of May')"})
    assert not failing.success
    failure = contracts.FlowFailure.model_validate(failing.result)
    assert "no rows of May" in failure.error
    assert failure.kind == "ExecutionFailed"
    assert leases(form) == []
    (kept,) = live.ray_clusters()
    assert kept["metadata"]["uid"] == first["metadata"]["uid"]

    assert reconcile(live, {}) == [], "its time is not over"
    time.sleep(KEEP_S + 1)
    assert [row.reason for row in reconcile(live, {})] == ["its time to live is over"]
    # Its pods go first.
    wait_for(lambda: not live.ray_clusters() and not pods_of_flow(live), 120)


def test_a_flow_that_is_canceled_loses_its_job_and_its_cluster_to_reconcile(
    live: Live, engine: Engine, form: Object
) -> None:
    flow = engine.start(FLOW, {**form, "program": "import time\ntime.sleep(600)"})

    def runs() -> bool:
        with suppress(errors.FlexcoreError):
            held = leases(form)
            assert all(lease["owner_job"] == flow.id for lease in held)
            return bool(held) and any(job["status"] == "RUNNING" for job in jobs(form))
        return False

    wait_for(runs, 400)
    engine.cancel(flow.id, "by the test")
    assert not engine.wait(flow).success
    assert reconcile(live, {flow.id: "running"}, engine.workspace) == [], "its flow is said to live"
    assert reconcile(live, {flow.id: "ended"}) == [], "the flow of another workspace"
    rows = reconcile(live, {flow.id: "ended"}, engine.workspace)
    assert [(row.reason, row.outcome) for row in rows] == [("its owner has ended", "released, and the cluster deleted")]
    # Its pods go first.
    wait_for(lambda: not live.ray_clusters() and not pods_of_flow(live), 120)


def pods_of_flow(live: Live) -> list[Object]:
    return [pod for pod in live.listed("pods") if pod["metadata"]["name"].startswith("flow")]


def jobs(form: Object) -> list[Object]:
    with dashboard.RayApi(errors.validate(resources.RayCluster, form["cluster"], "cluster")) as api:
        return api.jobs()


def reconcile(live: Live, owners: dict[str, Any], workspace: str = "test") -> list[reconciler.ReconcileRow]:
    """What one pass over this namespace's leases acted upon."""
    objects = leased_clusters.KubeRayObjects("f/x/k8s", live.resource)
    ours = [item for item in objects.find() if item.namespace == live.namespace]

    class OfThisNamespace:
        stop, delete = objects.stop, objects.delete

        def find(self) -> Any:
            return ours

    rows = reconciler.ReconcilePass(Owners(owners, workspace), time.time(), 10).run([("f/x/k8s", OfThisNamespace())])
    return [row for row in rows if row.action != "leave"]


class Owners:
    def __init__(self, states: dict[str, Any], workspace: str) -> None:
        self.states, self.workspace = states, workspace

    def queued_jobs(self) -> dict[str, dict[str, Any]]:
        return {job: {} for job, state in self.states.items() if state == "running"}

    def look_up(self, ids: list[str]) -> dict[str, Any]:
        return {id: self.states[id] for id in ids}

    def resume(self, flow_job: str, payload: dict[str, Any]) -> str:
        return "resumed"

    def arguments(self, job: str) -> dict[str, Any]:
        return {}
