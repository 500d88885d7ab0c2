"""kubernetes/check_cluster against a Kubernetes API on loopback, and the rights that it asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from f.flexcore.kubernetes.check_cluster import main
from f.flexcore.lib.core.errors import Forbidden, InvalidInput, NotFound, Unreachable
from f.flexcore.lib.kubernetes.connection import connect
from f.flexcore.lib.kubernetes.health import HELPFUL, NEEDED, Right, measure_capacity, schedulable_nodes
from tests.kubernetes.fake_cluster import FakeCluster, Fault

READY = [{"type": "Ready", "status": "True"}]


def test_a_usable_cluster_shows_version_quotas_and_what_is_free(cluster: FakeCluster) -> None:
    quota = {"metadata": {"name": "q", "namespace": "work"}, "status": {"hard": {"pods": "4"}, "used": {"pods": "1"}}}
    cluster.do(cluster.api.keep("v1/resourcequotas", quota))
    node = {"metadata": {"name": "n"}, "status": {"allocatable": {"cpu": "2", "memory": "4Gi"}, "conditions": READY}}
    cluster.do(cluster.api.keep("v1/nodes", node))
    result = main(cluster.resource, operation="deploy")
    assert result["data"]["namespace_exists"] is True and result["data"]["missing_rights"] == []
    assert result["data"]["quotas"] == [{"name": "q", "resource": "pods", "hard": "4", "used": "1"}]
    assert result["metrics"] == {
        "nodes": 1,
        "cpu": 2.0,
        "memory_bytes": 4 * 2.0**30,
        "free_cpu": 2.0,
        "free_memory_bytes": 4 * 2.0**30,
    }


def test_missing_rights_are_all_named_and_nothing_is_changed(cluster: FakeCluster) -> None:
    cluster.api.denied = {"create jobs", "watch pods"}
    with pytest.raises(Forbidden, match=r"create jobs\.batch, watch pods") as caught:
        main(cluster.resource)
    assert caught.value.details["missing"] == ["create jobs.batch", "watch pods"]
    assert not [
        item for item in cluster.api._requests if "selfsubject" not in str(item.url) and item.method.value != "GET"
    ]


def test_what_may_not_be_seen_is_not_measured(cluster: FakeCluster) -> None:
    cluster.api.denied = {"nodes", "namespaces", "resourcequotas", "events"}
    result = main(cluster.resource)
    assert result["data"]["namespace_exists"] is None and result["data"]["quotas"] is None
    assert result["data"]["missing_rights"] == ["list events"]
    assert set(result["metrics"].values()) == {None}


def test_a_namespace_that_does_not_exist_is_named(cluster: FakeCluster) -> None:
    with pytest.raises(NotFound, match="Namespace nowhere does not exist"):
        main(cluster.resource, namespace="nowhere")


def test_an_unknown_operation_is_refused_before_the_cluster_is_asked(cluster: FakeCluster) -> None:
    with pytest.raises(InvalidInput, match="operation"):
        main(cluster.resource, operation="dance")  # type: ignore[arg-type]
    assert not cluster.api._requests


def test_something_else_than_a_kubernetes_api_is_reported_as_such(cluster: FakeCluster) -> None:
    cluster.api.faults = [Fault(method="GET", path="/version", status=404, body={"detail": "Not Found"})]
    with pytest.raises(Unreachable, match="not a Kubernetes API"):
        main(cluster.resource)


def test_what_pods_reserve_is_taken_from_what_their_nodes_offer() -> None:
    allocatable = {"cpu": "4", "memory": "8Gi"}
    nodes = [
        {"metadata": {"name": "a"}, "status": {"allocatable": allocatable, "conditions": READY}},
        {"metadata": {"name": "b"}, "spec": {"unschedulable": True}, "status": {"allocatable": allocatable}},
        {"metadata": {"name": "c"}, "status": {"allocatable": allocatable, "conditions": []}},
    ]
    ask = {"resources": {"requests": {"cpu": "500m", "memory": "1Gi"}}}
    pods = [{"spec": {"nodeName": name, "containers": [ask, ask], "initContainers": [ask]}} for name in ("a", "b")]
    usable = schedulable_nodes(nodes)
    assert [node["metadata"]["name"] for node in usable] == ["a"]
    assert measure_capacity(usable, pods) | {} == {
        "nodes": 1,
        "cpu": 4.0,
        "memory_bytes": 8 * 2.0**30,
        "free_cpu": 3.0,
        "free_memory_bytes": 6 * 2.0**30,
    }
    assert measure_capacity(usable, None)["free_cpu"] is None


@pytest.mark.parametrize("operation", ["job", "deploy"])
def test_the_role_that_we_ship_grants_exactly_what_the_steps_ask_for(operation: str) -> None:
    documents = list(yaml.safe_load_all(Path("resources/kubernetes/rbac.yaml").read_text()))
    role = next(
        item for item in documents if item["kind"] == "Role" and item["metadata"]["name"] == f"flexcore-{operation}"
    )
    granted = set()
    for rule in role["rules"]:
        (group,) = rule["apiGroups"]
        for resource in rule["resources"]:
            plural, _, subresource = resource.partition("/")
            granted |= {str(Right(verb, group, plural, subresource)) for verb in rule["verbs"]}
    assert granted == {str(right) for right in [*NEEDED[operation], *HELPFUL[operation]]}


@pytest.mark.parametrize("namespace", [True, 7, ["work"], "Work", "work_1"])
def test_what_is_no_name_of_a_namespace_is_refused_as_such(cluster: FakeCluster, namespace: Any) -> None:
    with pytest.raises(InvalidInput, match="namespace"):
        connect(cluster.resource, namespace)
