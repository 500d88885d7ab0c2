"""What a plan says of quotas, by scope and count, and of LimitRanges and queues."""

from __future__ import annotations

from typing import Any

import pytest

from f.flexcore.lib.kubernetes import plan_limits, plan_queue, plan_quota
from tests.kubernetes.test_plan_nodes import container, make_pod

Object = dict[str, Any]


def quota(hard: Object, used: Object | None = None, **spec: Any) -> Object:
    return {"metadata": {"name": "q"}, "spec": spec, "status": {"hard": hard, "used": used or {}}}


def shortfalls(item: Object, pod: Object, copies: int = 1, **counts: int) -> list[plan_quota.Shortfall]:
    named = {name.replace("__", "."): number for name, number in counts.items()}
    return plan_quota.list_shortfalls([item], plan_quota.Demand([(pod, copies)], named))


BOTH = {"resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "1Gi"}}}
POD = make_pod({"name": "main", **BOTH})
LATE = make_pod({"name": "main", **BOTH}, activeDeadlineSeconds=60)
IMPORTANT = make_pod({"name": "main", **BOTH}, priorityClassName="high")
NOTHING = make_pod({"name": "main"})
FAR = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "z", "namespaces": ["b"]}]}}


@pytest.mark.parametrize(
    ("hard", "used", "copies", "text", "is_final", "possible"),
    [
        (
            {"requests.cpu": "4"},
            {"requests.cpu": "3500m"},
            1,
            "allows 4 requests.cpu, 3500m are used, 1 more",
            False,
            0,
        ),
        ({"cpu": "500m"}, {}, 1, "allows 500m cpu, 0 are used, 1 more are needed", True, 0),
        ({"limits.cpu": "3"}, {}, 2, "allows 3 limits.cpu, 0 are used, 4 more", False, 1),
        ({"memory": "2Gi"}, {"memory": "1Gi"}, 3, "3Gi more are needed", False, 1),
        ({"pods": "2"}, {"pods": "2"}, 1, "allows 2 pods, 2 are used, 1 more", False, 0),
        ({"count/pods": "0"}, {}, 1, "allows 0 count/pods", True, 0),
        ({"requests.cpu": "4", "pods": "9"}, {"requests.cpu": "1"}, 2, None, False, None),
    ],
)
def test_a_quota_is_told_with_what_it_allows_and_what_is_used(
    hard: Object, used: Object, copies: int, text: str | None, is_final: bool, possible: int | None
) -> None:
    found = shortfalls(quota(hard, used), POD, copies)
    if text is None:
        assert found == []
        return
    (item,) = found
    assert text in item.text and item.is_final is is_final and item.possible == possible


@pytest.mark.parametrize(
    ("spec", "counted", "passed"),
    [
        ({"scopes": ["Terminating"]}, LATE, POD),
        ({"scopes": ["NotTerminating"]}, POD, LATE),
        ({"scopes": ["BestEffort"]}, NOTHING, POD),
        ({"scopes": ["NotBestEffort"]}, POD, NOTHING),
        ({"scopes": ["NotBestEffort", "Terminating"]}, LATE, POD),
        (
            {
                "scopeSelector": {
                    "matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]
                }
            },
            IMPORTANT,
            POD,
        ),
        (
            {"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "DoesNotExist"}]}},
            POD,
            IMPORTANT,
        ),
        (
            {"scopeSelector": {"matchExpressions": [{"scopeName": "CrossNamespacePodAffinity", "operator": "Exists"}]}},
            make_pod(affinity=FAR),
            make_pod(affinity={"podAffinity": {}}),
        ),
    ],
)
def test_a_quota_counts_the_pods_of_its_scopes_alone(spec: Object, counted: Object, passed: Object) -> None:
    full = quota({"pods": "0"}, **spec)
    assert len(shortfalls(full, counted)) == 1 and shortfalls(full, passed) == []


def test_a_quota_on_limits_makes_every_container_say_its_own() -> None:
    pod = make_pod({"name": "main", **BOTH}, {"name": "side", "resources": {"requests": {"cpu": "1"}}})
    (item,) = shortfalls(quota({"limits.cpu": "100"}), pod)
    assert "every container must say it (container side does not)" in item.text and item.is_final
    assert shortfalls(quota({"requests.cpu": "100"}), pod) == []
    assert "container main" in shortfalls(quota({"cpu": "1"}), NOTHING)[0].text


def test_objects_are_counted_beside_pods() -> None:
    service = {"apiVersion": "v1", "plural": "services", "spec": {"type": "LoadBalancer"}}
    made: list[Object] = [
        service,
        {"apiVersion": "apps/v1", "plural": "deployments"},
        {"apiVersion": "v1", "plural": "secrets"},
    ]
    counts = plan_quota.count_objects(made)
    assert counts == {
        "services": 1,
        "services.loadbalancers": 1,
        "services.nodeports": 1,
        "deployments.apps": 1,
        "secrets": 1,
    }
    for resource in ("services.loadbalancers", "count/deployments.apps", "secrets", "count/secrets"):
        (item,) = plan_quota.list_shortfalls([quota({resource: "0"})], plan_quota.Demand((), counts))
        assert item.resource == resource and item.possible is None
    assert plan_quota.list_shortfalls([quota({"count/jobs.batch": "0"})], plan_quota.Demand((), counts)) == []
    # A quota with a scope counts no such objects.
    assert (
        plan_quota.list_shortfalls([quota({"secrets": "0"}, scopes=["BestEffort"])], plan_quota.Demand((), counts))
        == []
    )


def test_gpus_are_counted_by_their_requests() -> None:
    pod = make_pod({"name": "m", "resources": {"limits": {"nvidia.com/gpu": 2}}})
    (item,) = shortfalls(quota({"requests.nvidia.com/gpu": "1"}), pod)
    assert "allows 1 requests.nvidia.com/gpu, 0 are used, 2 more" in item.text and item.is_final


# --- LimitRanges


def limit_range(**item: Any) -> Object:
    return {"metadata": {"name": "lr"}, "spec": {"limits": [{"type": "Container", **item}]}}


def test_defaults_of_a_limit_range_are_added_and_told() -> None:
    ranges = [
        limit_range(default={"cpu": "500m", "memory": "256Mi"}, defaultRequest={"cpu": "100m", "memory": "128Mi"})
    ]
    written = make_pod(container("200m"), {"name": "other", "resources": {"limits": {"cpu": "1"}}})
    pod, notes = plan_limits.apply_limit_ranges(written, ranges)
    main, other = (item["resources"] for item in pod["spec"]["containers"])
    assert main == {
        "requests": {"cpu": "200m", "memory": "128Mi"},
        "limits": {"cpu": "500m", "memory": "256Mi"},
    }
    # Its limit is its request; only the memory is added.
    assert other == {"limits": {"cpu": "1", "memory": "256Mi"}, "requests": {"memory": "128Mi"}}
    assert "container main gets limits.cpu 500m, limits.memory 256Mi, requests.memory 128Mi by LimitRange lr" in notes
    assert written["spec"]["containers"][1]["resources"] == {"limits": {"cpu": "1"}}


@pytest.mark.parametrize(
    ("item", "said", "text"),
    [
        ({"max": {"cpu": "1"}}, {"limits": {"cpu": "2"}}, "at most 1 cpu, and container main has the limit 2"),
        ({"max": {"cpu": "1"}}, {"requests": {"cpu": "500m"}}, "container main has no limit"),
        (
            {"min": {"memory": "64Mi"}},
            {"requests": {"memory": "32Mi"}},
            "at least 64Mi memory, and container main requests 32Mi",
        ),
        ({"maxLimitRequestRatio": {"cpu": "2"}}, {"requests": {"cpu": "1"}, "limits": {"cpu": "4"}}, "at most 2 times"),
        ({}, {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}, "requests 2 cpu above its limit of 1"),
        ({"type": "Pod", "max": {"cpu": "1"}}, {"limits": {"cpu": "2"}}, "the pod has the limit 2"),
        ({"max": {"cpu": "2"}, "min": {"cpu": "100m"}}, {"limits": {"cpu": "1"}}, None),
    ],
)
def test_what_a_limit_range_refuses_is_told(item: Object, said: Object, text: str | None) -> None:
    found = plan_limits.list_violations(make_pod({"name": "main", "resources": said}), [limit_range(**item)])
    assert found == [] if text is None else text in found[0]


# --- Kueue


def cluster_queue(cpu: str = "2", borrow: str | None = None, **spec: Any) -> Object:
    resource = {"name": "cpu", "nominalQuota": cpu, **({"borrowingLimit": borrow} if borrow else {})}
    flavors = [{"name": "f", "resources": [resource]}]
    return {"resourceGroups": [{"coveredResources": ["cpu"], "flavors": flavors}], **spec}


@pytest.mark.parametrize(
    ("spec", "demand", "text"),
    [
        (cluster_queue(), {"cpu": 2.0}, None),
        (cluster_queue(), {"cpu": 3.0}, "ClusterQueue cq can give at most 2 cpu, and the Job asks for 3"),
        (cluster_queue(borrow="2", cohort="c"), {"cpu": 4.0}, None),
        (cluster_queue(borrow="2", cohortName="c"), {"cpu": 5.0}, "at most 4 cpu"),
        # Without a limit it may borrow all that its cohort has.
        (cluster_queue(cohort="c"), {"cpu": 50.0}, None),
        (cluster_queue(borrow="2"), {"cpu": 3.0}, "at most 2 cpu"),
        (cluster_queue(), {"cpu": 1.0, "memory": 1.0}, "ClusterQueue cq has no memory"),
    ],
)
def test_a_queue_that_can_never_give_so_much_is_told(spec: Object, demand: Any, text: str | None) -> None:
    found = plan_queue.check_capacity("cq", spec, demand)
    assert found == [] if text is None else text in found[0].text
