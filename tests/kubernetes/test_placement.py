"""The choice among clusters: pure, by tables."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from f.flexcore.lib.core.errors import InvalidInput
from f.flexcore.lib.core.resources import KubernetesCluster, Settings
from f.flexcore.lib.kubernetes.cluster_contact import find_node_capabilities, group_nodes, read_quota
from f.flexcore.lib.kubernetes.placement import GIB, Cluster, Node, Shape, choose, rank_candidates, read_egress_prices
from f.flexcore.lib.kubernetes.placement_request import PlacementRequest, make_shape, shape_pods, sum_requests

ROOMY = (Node(3, 8, 32 * GIB, 0, 6, 24 * GIB, 0),)
EAST = Cluster(
    "east",
    cloud="aws",
    region="eu",
    cpu_hour_usd=0.04,
    memory_gib_hour_usd=0.005,
    gpu_hour_usd=2.0,
    egress_gib_usd=0.09,
    capabilities=frozenset({"eu-only"}),
    data_location="frankfurt",
    latency="low",
    nodes=ROOMY,
)
WEST = replace(EAST, name="west", region="us", cpu_hour_usd=0.03, data_location="oregon", latency="medium")
OLD = Cluster("old")
SHAPE = Shape(cpu=2, memory_bytes=4 * GIB, hours=10)


def order(shape: Shape, *clusters: Cluster, **more: Any) -> list[str]:
    return [item.cluster for item in choose(shape, clusters, {}, **more).candidates if item.verdict == "likely"]


def reason(shape: Shape, cluster: Cluster) -> str:
    (found,) = rank_candidates(shape, [cluster], {})
    assert found.verdict == "will not"
    return found.reason


@pytest.mark.parametrize(
    "shape, clusters, expected",
    [
        (SHAPE, [EAST, WEST], ["west", "east"]),
        (replace(SHAPE, prefer="latency"), [WEST, EAST], ["east", "west"]),
        (
            replace(SHAPE, prefer="headroom"),
            [WEST, replace(EAST, nodes=(Node(1, 64, 256 * GIB, 0, 60, 250 * GIB, 0),))],
            ["east", "west"],
        ),
        # What has room goes before what is cheap and full, and before what is not measured.
        (SHAPE, [replace(WEST, nodes=(Node(3, 8, 32 * GIB, 0, 1, GIB, 0),)), EAST], ["east", "west"]),
        (SHAPE, [replace(WEST, nodes=None), EAST], ["east", "west"]),
        # An unknown price is not a price of nothing.
        (SHAPE, [replace(WEST, cpu_hour_usd=None), EAST], ["east", "west"]),
        (SHAPE, [replace(WEST, cpu_hour_usd=0.0, memory_gib_hour_usd=0.0), EAST], ["west", "east"]),
        (replace(SHAPE, hours=None), [WEST, EAST], ["east", "west"]),
        (SHAPE, [OLD, EAST], ["east", "old"]),
    ],
)
def test_the_best_cluster_for_what_is_asked_comes_first(
    shape: Shape, clusters: list[Cluster], expected: list[str]
) -> None:
    assert order(shape, *clusters) == expected


def test_moving_data_can_cost_more_than_a_cheaper_cluster_saves() -> None:
    shape = replace(SHAPE, data_location="frankfurt", data_gib=100)
    prices = read_egress_prices([EAST, WEST], {})
    assert prices == {"frankfurt": 0.09, "oregon": 0.09}
    first, second = choose(shape, [WEST, EAST], prices).candidates
    assert first.cluster == "east" and first.egress_usd == 0
    assert second.egress_usd == pytest.approx(9.0) and "9 of it for moving data" in second.reason
    # The settings' price counts where they name one; without any the whole is not known.
    assert read_egress_prices([EAST], {"frankfurt": 0.01}) == {"frankfurt": 0.01}
    assert choose(shape, [WEST], {}).candidates[0].usd is None


def test_what_is_written_back_is_paid_to_the_cluster_that_it_leaves() -> None:
    shape = replace(SHAPE, data_location="frankfurt", output_gib=10)
    (only,) = choose(shape, [WEST], {}).candidates
    assert only.egress_usd == pytest.approx(0.9)


def test_the_price_counts_cpu_memory_gpus_copies_and_hours() -> None:
    shape = Shape(cpu=2, memory_bytes=4 * GIB, gpus=1, copies=3, hours=10)
    (only,) = choose(shape, [replace(EAST, nodes=None)], {}).candidates
    assert only.usd == pytest.approx((2 * 0.04 + 4 * 0.005 + 2.0) * 3 * 10)


@pytest.mark.parametrize(
    "shape, cluster, expected",
    [
        (replace(SHAPE, cpu=16), EAST, "no node has 16 cores: the largest has 8"),
        (replace(SHAPE, memory_bytes=64 * GIB), EAST, "no node has 64 GiB of memory: the largest has 32"),
        (replace(SHAPE, gpus=1), EAST, "no node has 1 GPUs: the largest has 0"),
        (
            Shape(cpu=8, gpus=1),
            replace(EAST, nodes=(Node(1, 8, GIB, 0), Node(1, 4, GIB, 1))),
            "no node has all that a copy asks for together",
        ),
        (SHAPE, replace(EAST, nodes=()), "it has no node that takes pods"),
        (
            SHAPE,
            replace(EAST, quota={"requests.cpu": (1.0, 1.0)}),
            "the quota of its namespace allows 1 of requests.cpu, and 2 is asked for",
        ),
        (replace(SHAPE, capabilities=frozenset({"kueue", "spot"})), EAST, "it lacks kueue, spot"),
        (replace(SHAPE, clouds=frozenset({"gcp"})), EAST, "its cloud is aws, not gcp"),
        (replace(SHAPE, regions=frozenset({"us"})), OLD, "its region is not said, not us"),
        (replace(SHAPE, max_latency="low"), WEST, "its latency is medium, and at most low is asked for"),
        (replace(SHAPE, max_latency="low"), OLD, "its latency is not said, and at most low is asked for"),
        (replace(SHAPE, excluded=frozenset({"east"})), EAST, "it is excluded"),
        (SHAPE, replace(EAST, problem="it does not answer"), "it does not answer"),
    ],
)
def test_a_cluster_that_cannot_take_it_says_why(shape: Shape, cluster: Cluster, expected: str) -> None:
    assert reason(shape, cluster) == expected


def test_a_cluster_that_adds_nodes_by_itself_is_not_refused_for_those_it_has_now() -> None:
    growing = replace(EAST, nodes=(), capabilities=frozenset({"autoscaling"}))
    (only,) = choose(SHAPE, [growing], {}).candidates
    assert only.verdict == "likely" and only.reason.startswith("room now for 0 of 1, the rest would wait")


def test_no_candidate_is_ever_said_to_fit() -> None:
    found = choose(SHAPE, [EAST, WEST, OLD, replace(EAST, name="gone", problem="it does not answer")], {})
    assert {item.verdict for item in found.candidates} == {"likely", "will not"}
    assert not any("fit" in item.reason for item in found.candidates)


def test_room_is_counted_node_by_node_and_within_the_quota() -> None:
    # 3 nodes with 6 free cores each take 3 copies of 2 cores each; 24 GiB allow 6.
    (only,) = choose(replace(SHAPE, copies=20), [EAST], {}).candidates
    assert only.room == 9 and only.reason.startswith("room now for 9 of 20, the rest would wait")
    short = replace(EAST, quota={"requests.cpu": (100.0, 5.0)})
    assert choose(replace(SHAPE, copies=20), [short], {}).candidates[0].room == 2


def test_spread_takes_other_places_before_other_clusters_of_the_same_one() -> None:
    near = replace(EAST, name="east-2", cpu_hour_usd=0.01)
    found = choose(SHAPE, [EAST, near, WEST], {}, "spread", 2)
    assert found.clusters == ("east-2", "west")
    assert choose(SHAPE, [EAST, near, WEST], {}, "failover", 3).clusters == ("east-2", "west", "east")
    assert choose(SHAPE, [EAST, near, WEST], {}, "one", 3).clusters == ("east-2",)


def test_fewer_clusters_than_asked_for_are_noted() -> None:
    found = choose(SHAPE, [EAST, replace(WEST, problem="x")], {}, "failover", 2)
    assert found.clusters == ("east",) and found.notes == ("count: 2 clusters were asked for and 1 can be used",)
    assert [row["rank"] for row in found.rows()] == [1, None]


# --- forms and answers


def test_a_cluster_resource_of_an_earlier_version_is_read_and_knows_no_price() -> None:
    old = KubernetesCluster.model_validate({"mode": "token", "server": "https://x", "token": "t", "namespace": "work"})
    assert old.cpu_hour_usd is None and old.capabilities == [] and old.latency == ""


@pytest.mark.parametrize(
    "field, value", [("cpu_hour_usd", -1), ("gpu_hour_usd", float("nan")), ("capabilities", ["Not A Word"])]
)
def test_a_wrong_field_of_a_cluster_resource_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=field):
        KubernetesCluster.model_validate({field: value})


def test_no_cluster_and_a_cluster_named_twice_are_refused() -> None:
    with pytest.raises(InvalidInput, match="clusters is empty: name at least one"):
        PlacementRequest().paths(Settings())
    twice = PlacementRequest(clusters=["f/a", "$res:f/a"])
    with pytest.raises(InvalidInput, match="clusters names f/a more than once"):
        twice.paths(Settings())
    assert PlacementRequest().paths(Settings(kubernetes_clusters=["$res:f/a"])) == ["f/a"]


def test_a_wrong_quantity_is_named() -> None:
    with pytest.raises(InvalidInput, match="memory"):
        make_shape(PlacementRequest(), "1", "4GB")


def test_a_pod_reserves_its_containers_and_sidecars_or_what_starts_before_them() -> None:
    def container(cpu: str, memory: str, **more: Any) -> dict[str, Any]:
        return {"resources": {"requests": {"cpu": cpu, "memory": memory}}, **more}

    limited = {"resources": {"limits": {"cpu": "1", "nvidia.com/gpu": "2"}}}
    spec = {
        "containers": [container("500m", "1Gi"), limited],
        "initContainers": [container("100m", "1Gi", restartPolicy="Always"), container("4", "1Gi")],
        "overhead": {"cpu": "100m"},
    }
    assert sum_requests(spec) == pytest.approx((4.2, 2 * GIB, 2.0))
    assert shape_pods(PlacementRequest(), {"containers": [{}]}, 2).cpu is None


def test_nodes_that_are_alike_are_one_kind_and_pods_take_from_them() -> None:
    amounts = {"cpu": "4", "memory": "8Gi", "nvidia.com/gpu": "1"}
    labels = {"kubernetes.io/arch": "arm64"}
    nodes = [{"metadata": {"name": n, "labels": labels}, "status": {"allocatable": amounts}} for n in ("a", "b", "c")]
    spec = {"nodeName": "c", "containers": [{"resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}]}
    found = group_nodes(nodes, [{"spec": spec}, {"spec": {"containers": []}}])
    assert found == (Node(2, 4, 8 * GIB, 1, 4, 8 * GIB, 1), Node(1, 4, 8 * GIB, 1, 3, 7 * GIB, 1))
    assert group_nodes(nodes, None) == (Node(3, 4, 8 * GIB, 1, None, None, None),)
    assert find_node_capabilities(nodes) == {"gpu", "arm64"}


def test_of_several_quotas_the_narrowest_counts_and_one_with_scopes_does_not() -> None:
    quotas: list[dict[str, Any]] = [
        {"status": {"hard": {"cpu": "4", "pods": "10"}, "used": {"cpu": "1"}}},
        {"status": {"hard": {"requests.cpu": "8"}, "used": {"requests.cpu": "7"}}},
        {"spec": {"scopes": ["BestEffort"]}, "status": {"hard": {"pods": "1"}}},
    ]
    assert read_quota(quotas) == {"requests.cpu": (4.0, 1.0), "pods": (10.0, 10.0)}
