"""Releases through a real Windmill: a canary with its approval, jobs and models on several clusters, resizing, and a
field that somebody else holds.

The variables of test_traffic.py and test_many_clusters.py; Windmill's workers must reach the clusters' proxies on this
machine's loopback.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from f.flexcore.lib.kubernetes.connection import connect
from f.flexcore.lib.kubernetes_api.api_errors import Call
from tests.live.conftest import Windmill, needed
from tests.live.places import make_namespace, read_resource
from tests.live.test_kubernetes import model  # noqa: F401
from tests.live.test_many_clusters import Clusters
from tests.live.test_traffic import GATEWAY_API, GATEWAY_URL
from tests.live.versions import Versions
from tests.ray.models import stored_model

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("live")]
Json = dict[str, Any]
CANARY, KUBERNETES = "f/flexcore/kubernetes/canary_release", "f/flexcore/kubernetes"
RECONCILE = "f/flexcore/operations/reconcile"
PATIENCE_S = 300.0


def run(windmill: Windmill, path: str, **arguments: Any) -> Json:
    """The result of a step that succeeds."""
    success, result = windmill.finished(windmill.call("POST", f"jobs/run/p/{path}", arguments))
    assert success, result
    return dict(result)


def until(question: Any, patience_s: float = PATIENCE_S) -> None:
    end = time.monotonic() + patience_s
    while not question():
        assert time.monotonic() < end, "it did not come to pass in time"
        time.sleep(0.5)


class Resources:
    """Resources of the workspace, as long as a test lasts."""

    def __init__(self, windmill: Windmill, made: ExitStack) -> None:
        self.windmill, self.made = windmill, made

    def add(self, value: Json) -> str:
        path = f"u/admin/live_{uuid.uuid4().hex[:8]}"
        body = {"path": path, "value": value, "resource_type": "c_kubernetes_cluster"}
        self.windmill.call("POST", "resources/create", body)
        self.made.callback(self.windmill.call, "DELETE", f"resources/delete/{path}")
        return path


@pytest.fixture
def resources(pushed: Windmill) -> Iterator[Resources]:
    with ExitStack() as made:
        yield Resources(pushed, made)


# --- a canary and its approval


class Release(Versions):
    """Two versions behind a Gateway, and the flow that moves the requests from one to the other."""

    windmill: Windmill
    resource: str
    settings: Json

    def start(self) -> str:
        form: Json = {"stable": "one", "candidate": "two", "route": "demo", "gateway": "web", "canary_weights": [50]}
        form |= {"host": f"demo.{self.namespace}", "namespace": self.namespace, "pause_s": 3, "min_requests": 3}
        limits: Json = {"measure": "probes", "probe_path": "/predict", "max_latency_ratio": 0, "max_error_rate": 0.01}
        form |= {"path": "/", "mode": "auto", "approve": True, "settings": self.settings, **limits}
        arguments = {"cluster": f"$res:{self.resource}", **form}
        return str(self.windmill.call("POST", f"jobs/run/f/{CANARY}", arguments))

    def wait_for_approval(self, flow: str) -> str:
        """The job that waits for it, which is a branch of the flow, with half of the requests moved."""
        until(lambda: find_suspended(self.windmill, flow))
        assert self.weights("demo") == {"one": 50, "two": 50}
        return find_suspended(self.windmill, flow)


def find_suspended(windmill: Windmill, flow: str) -> str:
    waiting = [job["id"] for job in windmill.call("GET", "jobs/queue/list?per_page=1000") if job.get("suspend")]
    return next((job for job in waiting if windmill.call("GET", f"jobs_u/get_root_job_id/{job}") == flow), "")


@pytest.fixture(scope="module")
def place() -> Iterator[Release]:
    kubernetes = connect(read_resource()).kubernetes
    if kubernetes.request_raw("GET", GATEWAY_API, None, Call("get", "gateways"))[0] != 200:
        pytest.skip("the cluster has no Gateway API")
    image = os.environ.get("FLEXCORE_LIVE_PYTHON_IMAGE", "localhost/python:3.11")
    with make_namespace(kubernetes, "flexcore-release-") as namespace:
        versions = Release(kubernetes, namespace, image)
        for name in ("one", "two"):
            versions.deploy(name)
        listener = {"name": "http", "protocol": "HTTP", "port": httpx.URL(GATEWAY_URL).port}
        spec = {"gatewayClassName": "traefik", "listeners": [listener]}
        versions.create(GATEWAY_API, "gateways", {"kind": "Gateway", "metadata": {"name": "web"}, "spec": spec})
        yield versions


@pytest.fixture
def release(place: Release, pushed: Windmill, resources: Resources, tmp_path: Path) -> Iterator[Release]:
    place.windmill = pushed
    place.resource = resources.add(read_resource(namespace=place.namespace))
    place.settings = {"storage_uri": f"file://{tmp_path}", "kubernetes_clusters": [place.resource]}
    yield place
    path = f"{GATEWAY_API}/namespaces/{place.namespace}/httproutes/demo"
    call = Call("delete", "httproutes", place.namespace, "demo")
    if stored := place.kubernetes.get(path, call):
        place.kubernetes.delete(path, stored["metadata"]["uid"], call)


def test_an_approved_canary_gets_all_requests(release: Release) -> None:
    flow = release.start()
    waiting = release.wait_for_approval(flow)
    release.windmill.call("POST", f"jobs/flow/resume/{waiting}", {})
    success, result = release.windmill.finished(flow)
    assert success and result["data"]["outcome"] == "promoted", result
    assert release.weights("demo") == {"one": 0, "two": 100}


def test_a_refused_canary_is_moved_back_by_reconcile(release: Release) -> None:
    flow = release.start()
    release.wait_for_approval(flow)
    assert run(release.windmill, RECONCILE, settings=release.settings)["table-row-object"]
    assert release.weights("demo") == {"one": 50, "two": 50}, "while its flow waits, it is left"
    release.windmill.call("POST", f"jobs_u/queue/cancel/{flow}", {"reason": "not good enough"})
    release.windmill.finished(flow)
    until(lambda: run(release.windmill, RECONCILE, settings=release.settings) and has_gone_back(release), 90)


def has_gone_back(release: Release) -> bool:
    return release.weights("demo") == {"one": 100, "two": 0}


# --- several clusters


@pytest.fixture
def clusters(tmp_path: Path) -> Iterator[Clusters]:
    needed("FLEXCORE_LIVE_IMAGE")
    two = Clusters(Path(needed("KUBECONFIG")).read_text(), tmp_path)
    yield two
    two.close()


@pytest.fixture
def paths(clusters: Clusters, resources: Resources) -> dict[str, str]:
    """Of the resources of east and west, of which east is cheaper."""
    return {name: resources.add(clusters.read(name)) for name in ("east", "west")}


def test_the_template_runs_its_job_on_the_cheaper_cluster(
    pushed: Windmill, clusters: Clusters, paths: dict[str, str]
) -> None:
    form: Json = {"image": needed("FLEXCORE_LIVE_IMAGE"), "command": ["echo", "done"], "clusters": [*paths.values()]}
    form |= {"size": "own", "cpu": "20m", "memory": "16Mi", "gpus": 0, "args": [], "env": [], "prefer": "price"}
    form |= {"safe_to_repeat": False, "capabilities": [], "regions": [], "data_location": "", "data_gib": 0}
    form |= {"expected_s": 60, "namespace": "", "secret_env": [], "service_account": "", "run_as_user": None}
    form |= {"timeout_s": 120, "queue_timeout_s": 60, "ttl_s": 600}
    settings = {**clusters.settings, "kubernetes_clusters": [*paths.values()]}
    success, result = pushed.run_flow("f/flexcore/templates/multi_cluster_job", {**form, "settings": settings})
    assert success, result
    assert result["data"]["cluster"] == f"$res:{paths['east']}" and result["log_tail"] == "done"
    assert len(clusters.jobs("east")) == 1 and clusters.jobs("west") == []


def test_a_model_is_placed_resized_moved_and_withdrawn_and_what_others_hold_is_told(
    pushed: Windmill,
    clusters: Clusters,
    paths: dict[str, str],
    model: tuple[Json, Json],  # noqa: F811
    tmp_path: Path,
) -> None:
    store = {**model[0], "storage_uri": f"s3://models/{uuid.uuid4().hex[:6]}"}
    settings = {**store, "kubernetes_clusters": [*paths.values()]}
    manifest = stored_model(tmp_path / "model", "delay", "1", store, joblib=True).plain()
    deployment: Json = {"model": manifest, "server": "flexcore", "image": needed("FLEXCORE_LIVE_MODEL_SERVER_IMAGE")}
    deployment |= {"cpu": "200m", "memory": "400Mi", "timeout_s": 180}
    placement = {"clusters": [*paths.values()], "expected_s": 60}
    placed = run(pushed, f"{KUBERNETES}/place_model", deployment=deployment, placement=placement, settings=settings)
    assert [(row["cluster"], row["state"]) for row in placed["data"]["clusters"]] == [(paths["east"], "deployed")]
    (stored,) = clusters.deployments("east")
    name, east = stored["metadata"]["name"], f"$res:{paths['east']}"

    resized = run(pushed, f"{KUBERNETES}/resize_model", cluster=east, name=name, cpu="150m", settings=settings)
    assert [row["state"] for row in resized["data"]["pods"]] == ["resized"]

    grace = {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 7}}}}
    path = f"/apis/apps/v1/namespaces/{clusters.namespaces['east']}/deployments/{name}?fieldManager=somebody"
    assert clusters.direct.request_raw("PATCH", path, grace, Call("patch", "deployments"))[0] == 200
    again = {**deployment, "cluster": east, "settings": settings, "memory": "420Mi"}
    job = pushed.call("POST", f"jobs/run/p/{KUBERNETES}/deploy_model", again)
    success, result = pushed.finished(job)
    error = result["error"]
    assert not success and error["name"] == "Conflict", result
    assert "terminationGracePeriodSeconds (held by somebody" in error["message"]
    assert error["extra"]["details"]["undone"] == "nothing was changed"

    clusters.lines["east"].cut()
    rows = run(pushed, f"{KUBERNETES}/move_models", settings=settings)["table-row-object"]
    (row,) = [item for item in rows if item["action"] == "move"]
    assert row["now_on"] == paths["west"] and len(clusters.deployments("west")) == 1
    clusters.lines["east"].mend()
    until(lambda: run(pushed, RECONCILE, settings=settings) and not clusters.deployments("east"), 120)
    run(pushed, f"{KUBERNETES}/withdraw_model", name=name, settings=settings)
    assert clusters.deployments("west") == []
