"""Changes of objects as a plan tells them, and the tools that a cluster has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from f.flexcore.lib.kubernetes import plan_diff, plan_tools

Object = dict[str, Any]
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


def deployment(image: str = "m:1", replicas: int = 1, **metadata: Any) -> Object:
    containers = [
        {"name": "server", "image": image, "env": [{"name": "A", "value": "1"}]},
        {"name": "side", "image": "s"},
    ]
    spec = {"replicas": replicas, "template": {"spec": {"containers": containers}}}
    return {"kind": "Deployment", "metadata": {"name": "iris", "labels": {"a": "b"}, **metadata}, "spec": spec}


def lines(before: Object, after: Object) -> list[str]:
    return [str(change) for change in plan_diff.list_changes(before, after)]


def test_a_change_is_told_by_its_path_with_the_name_of_the_entry() -> None:
    assert lines(deployment(), deployment("m:2", 3)) == [
        "spec.replicas: 1 → 3",
        "spec.template.spec.containers[server].image: m:1 → m:2",
    ]


def test_an_entry_that_moves_in_a_list_is_no_change_and_one_that_goes_is() -> None:
    other = deployment()
    other["spec"]["template"]["spec"]["containers"].reverse()
    assert lines(deployment(), other) == []
    other["spec"]["template"]["spec"]["containers"].pop(0)
    assert lines(deployment(), other) == ["spec.template.spec.containers[side]: - {name: side, image: s}"]


def test_what_the_server_owns_is_no_change() -> None:
    note = {"deployment.kubernetes.io/revision": "3"}
    stored = deployment(uid="u", resourceVersion="7", generation=4, managedFields=[{}], annotations=note)
    stored |= {"status": {"replicas": 1}, "apiVersion": "apps/v1"}
    assert lines(stored, deployment()) == []
    assert lines(stored, deployment(annotations={"team": "ml"})) == ["metadata.annotations.team: + ml"]


def test_values_of_a_secret_are_compared_and_never_told() -> None:
    before = {"kind": "Secret", "metadata": {}, "data": {"KEY": "c2VzYW1l", "SAME": "eA=="}}
    after = {"kind": "Secret", "metadata": {}, "data": {"KEY": "b3Blbg==", "SAME": "eA==", "NEW": "bmV3"}}
    told = lines(before, after)
    assert told == ["data.KEY: (not shown) → (not shown)", "data.NEW: + (not shown)"]
    assert "c2VzYW1l" not in repr(plan_diff.list_changes(before, after))


def test_long_texts_and_long_lists_of_changes_are_cut() -> None:
    many = {str(number): "x" for number in range(150)}
    changes = plan_diff.list_changes({"data": {}}, {"data": many})
    assert len(changes) == plan_diff.MAX_CHANGES + 1 and changes[-1].after == "further changes are not shown"
    (change,) = plan_diff.list_changes({"data": {"a": "x\ny"}}, {"data": {"a": "y" * 500}})
    assert change.before == "2 lines" and len(change.after or "") == plan_diff.MAX_VALUE_CHARACTERS


# --- tools


def served(group: str, *versions: str, plural: str = "", kind: str = "", stale: bool = False) -> Object:
    resources = [{"resource": plural, "responseKind": {"kind": kind}}] if plural else []
    items = [
        {"version": version, "resources": resources, "freshness": "Stale" if stale else "Current"}
        for version in versions
    ]
    return {"metadata": {"name": group}, "versions": items}


def lease(name: str, age_s: float, duration_s: int = 15) -> Object:
    renewed = (NOW - timedelta(seconds=age_s)).isoformat()
    return {"metadata": {"name": name}, "spec": {"renewTime": renewed, "leaseDurationSeconds": duration_s}}


APIS = plan_tools.read_discovery(
    {
        "items": [
            served("kueue.x-k8s.io", "v1beta2", "v1beta1", plural="localqueues", kind="LocalQueue"),
            served("serving.kserve.io", "v1alpha1", plural="inferenceservices", kind="InferenceService"),
            served("argoproj.io", "v1alpha1", plural="applications", kind="Application"),
            served("metrics.k8s.io", "v1beta1", plural="pods", kind="PodMetrics", stale=True),
            served("gateway.networking.k8s.io", "v1", plural="httproutes", kind="HTTPRoute"),
        ]
    }
)


def test_tools_are_known_by_the_apis_that_are_served() -> None:
    tools = plan_tools.describe_tools(APIS, [], [], NOW)
    assert tools["kueue"]["served"] and tools["kueue"]["versions"] == ["v1beta2", "v1beta1"]
    # Argo CD and Rollouts share a group.
    assert tools["argo_cd"]["served"] and not tools["argo_rollouts"]["served"] and not tools["istio"]["served"]
    assert tools["istio"]["controller"] is None


@pytest.mark.parametrize(
    ("leases", "state"),
    [
        ([lease("c1f6bfd2.kueue.x-k8s.io", 3)], "answers"),
        ([lease("c1f6bfd2.kueue.x-k8s.io", 300)], "does not answer"),
        ([lease("c1f6bfd2.kueue.x-k8s.io", 300), lease("c1f6bfd2.kueue.x-k8s.io-b", 1)], "answers"),
        ([lease("someone-else", 1)], "not known"),
        ([{"metadata": {"name": "c1f6bfd2.kueue.x-k8s.io"}, "spec": {"renewTime": "nonsense"}}], "not known"),
        (None, "not known"),
    ],
)
def test_a_controller_answers_while_it_renews_its_lease(leases: list[Object] | None, state: str) -> None:
    assert plan_tools.describe_tools(APIS, leases, None, NOW)["kueue"]["controller"] == state


def test_an_api_whose_server_is_stopped_does_not_answer_and_a_gateway_without_controller_neither() -> None:
    accepted = {"status": {"conditions": [{"type": "Accepted", "status": "True"}]}}
    tools = plan_tools.describe_tools(APIS, [], [{"status": {}}], NOW)
    assert tools["metrics"]["controller"] == "does not answer"
    assert tools["gateway_api"]["controller"] == "does not answer"
    assert plan_tools.describe_tools(APIS, [], [accepted], NOW)["gateway_api"]["controller"] == "not known"


def test_a_cluster_autoscaler_is_known_by_its_lease() -> None:
    tools = plan_tools.describe_tools(APIS, [], None, NOW)
    assert plan_tools.find_autoscaler(tools, [lease("cluster-autoscaler", 2)], NOW) == "cluster-autoscaler"
    assert plan_tools.find_autoscaler(tools, [lease("cluster-autoscaler", 900)], NOW) == ""
    assert plan_tools.find_autoscaler({"karpenter": {"served": True, "controller": "answers"}}, [], NOW) == "karpenter"


@pytest.mark.parametrize(
    ("version", "kind", "text"),
    [
        (
            "serving.kserve.io/v1beta1",
            "InferenceService",
            "serves InferenceService of serving.kserve.io as v1alpha1, not as v1beta1",
        ),
        ("keda.sh/v1alpha1", "ScaledObject", "does not serve ScaledObject of keda.sh"),
        ("kueue.x-k8s.io/v1beta1", "LocalQueue", ""),
        ("v1", "Service", ""),
    ],
)
def test_a_kind_that_is_absent_or_of_another_version_is_told(version: str, kind: str, text: str) -> None:
    told = plan_tools.explain_unserved(APIS, version, kind)
    assert text in told and bool(text) == bool(told)


def test_an_older_server_tells_groups_and_versions_alone() -> None:
    groups = {"groups": [{"name": "ray.io", "versions": [{"version": "v1"}]}]}
    apis = plan_tools.read_discovery(groups)
    assert plan_tools.describe_tools(apis, [], None, NOW)["kuberay"]["versions"] == ["v1"]
    assert plan_tools.explain_unserved(apis, "ray.io/v2", "RayCluster") == ""
