"""The hybrid pipeline asks every service that it will need before its first stage, on real local ports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core.errors import FlexcoreError, Forbidden, InvalidInput, NotFound, Unreachable
from f.flexcore.pipeline.prepare import main
from tests.kubernetes.fake_cluster import PLURALS, FakeCluster
from tests.kubernetes.test_plan_nodes import TAINT, make_node
from tests.ray.fake_dashboard import FakeDashboard

NOBODY = "http://127.0.0.1:9"
EXTRACTION = {"project": {"path": "/p"}, "taps": ["tap-csv"]}
NODE = "node_" + "a" * 48
REPORT = {"usageByNode": {NODE: {"CPU": [0.0, 4.0]}}}
FIXED_CLUSTER = {"loadMetricsReport": REPORT, "autoscalerReport": {"activeNodes": {NODE: 1}}}
Json = dict[str, Any]


@pytest.fixture
def ray() -> Iterator[FakeDashboard]:
    with FakeDashboard() as dashboard:
        yield dashboard


@pytest.fixture
def store(tmp_path: Path) -> Json:
    return {"storage_uri": tmp_path.as_uri()}


def prepare(ray: str, store: Json, deployment: Json | None = None, **ml: Any) -> Json:
    training = {"cluster": {"address": ray}, "target_column": "delay", **ml}
    return main(EXTRACTION, training, deployment or {"target": "ray"}, settings=store)


def on_kubernetes(cluster: FakeCluster, **changes: Any) -> Json:
    return {"target": "kubernetes", "cluster": cluster.resource, "model_source": "image", **changes}


def test_what_answers_is_asked_and_nothing_is_changed(ray: FakeDashboard, cluster: FakeCluster, store: Json) -> None:
    assert prepare(ray.address, store, on_kubernetes(cluster))["deployment"]["target"] == "kubernetes"
    assert "GET /api/version" in ray.requests and not [item for item in ray.requests if not item.startswith("GET")]
    changed = [item for item in cluster.api._requests if item.method.value != "GET"]
    tried = [item for item in changed if item.params.get("dryRun") == "All"]
    assert tried and all("selfsubjectaccessreviews" in str(item.url) or item in tried for item in changed)
    assert not any(cluster.api.all(kind) for kind in PLURALS)
    assert not [path for path in Path(store["storage_uri"].removeprefix("file://")).rglob("*") if path.is_file()]


def test_a_ray_cluster_that_nobody_answers_for_is_told_before_the_extraction(store: Json) -> None:
    with pytest.raises(Unreachable) as caught:
        prepare(NOBODY, store)
    assert caught.value.subject == "ml.cluster.address" and caught.value.retryable


def test_a_token_that_ray_refuses_is_told_before_the_extraction(ray: FakeDashboard, store: Json) -> None:
    ray.script = lambda method, path: (401, "no")
    with pytest.raises(Forbidden) as caught:
        prepare(ray.address, store)
    assert caught.value.subject == "ml.cluster.token"


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"cpus_per_worker": 8}, "ml.cpus_per_worker"),
        ({"num_workers": 5}, "ml.num_workers"),
        ({"use_gpu": True}, "ml.use_gpu"),
    ],
)
def test_what_no_node_can_ever_give_is_told_before_the_extraction(
    ray: FakeDashboard, store: Json, asked: Json, field: str
) -> None:
    status = {"data": {"clusterStatus": FIXED_CLUSTER}}
    ray.script = lambda method, path: (200, status) if path == "/api/cluster_status" else None
    with pytest.raises(InvalidInput, match="can never give") as caught:
        prepare(ray.address, store, **asked)
    assert caught.value.subject == field


def test_a_cluster_without_serve_is_told_before_the_extraction(ray: FakeDashboard, store: Json) -> None:
    ray.serve = (501, {})
    with pytest.raises(InvalidInput, match="Ray Serve is not installed"):
        prepare(ray.address, store)


@pytest.mark.parametrize(
    ("denied", "namespace", "kind", "text"),
    [
        ({"create deployments"}, "work", Forbidden, r"create deployments\.apps"),
        (set(), "nowhere", NotFound, "Namespace nowhere does not exist"),
    ],
)
def test_a_cluster_that_would_refuse_the_deployment_is_told_before_the_extraction(
    ray: FakeDashboard,
    cluster: FakeCluster,
    store: Json,
    denied: set[str],
    namespace: str,
    kind: type[FlexcoreError],
    text: str,
) -> None:
    cluster.api.denied = denied
    with pytest.raises(kind, match=text) as caught:
        prepare(ray.address, store, on_kubernetes(cluster, namespace=namespace))
    assert caught.value.subject.startswith("deployment.")


def test_of_several_refusals_all_are_named_and_one_that_no_retry_mends_decides(
    cluster: FakeCluster, store: Json
) -> None:
    cluster.api.denied = {"create deployments"}
    with pytest.raises(Forbidden) as caught:
        prepare(NOBODY, store, on_kubernetes(cluster))
    assert "create deployments.apps" in str(caught.value) and NOBODY in str(caught.value)


def test_a_store_that_cannot_be_written_is_told_before_the_extraction(ray: FakeDashboard, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FlexcoreError) as caught:
        prepare(ray.address, {"storage_uri": (tmp_path / "file/store").as_uri()})
    assert caught.value.subject == "settings.storage_uri"


def test_a_deployment_of_that_name_that_is_not_ours_is_told_before_the_extraction(
    ray: FakeDashboard, cluster: FakeCluster, store: Json
) -> None:
    template = {"metadata": {"labels": {"app": "theirs"}}, "spec": {"containers": [{"name": "web", "image": "web:1"}]}}
    theirs: Json = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "iris", "namespace": "work"}}
    theirs |= {"spec": {"template": template}}
    cluster.do(cluster.api.keep("apps/v1/deployments", theirs))
    with pytest.raises(InvalidInput, match="iris exists in namespace work and was not made by flexcore") as caught:
        prepare(ray.address, store, on_kubernetes(cluster, name="iris"))
    assert caught.value.subject == "deployment.name" and "Choose another name" in caught.value.remedy


def test_nodes_that_would_not_take_the_model_now_stop_no_pipeline(
    ray: FakeDashboard, cluster: FakeCluster, store: Json
) -> None:
    cluster.do(cluster.api.keep("v1/nodes", make_node(taints=[TAINT])))
    assert prepare(ray.address, store, on_kubernetes(cluster))["deployment"]["target"] == "kubernetes"
