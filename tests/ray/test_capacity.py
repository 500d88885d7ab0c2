from __future__ import annotations

from typing import Any

import pytest

from f.flexcore.lib.ray.cluster import Needs, find_shortage

FIXED = "node_" + "3074764900d71b2330f4f037d06b388f05557c96aeaf255e4f88605e"


def status(nodes: list[dict[str, Any]], kind: str = FIXED) -> dict[str, Any]:
    return {
        "autoscalerReport": {"activeNodes": {kind.replace("_", ""): len(nodes)}, "nodeTypeMapping": {"a": kind}},
        "loadMetricsReport": {"usageByNode": {str(index): node for index, node in enumerate(nodes)}},
    }


FOUR, EIGHT_GPU = {"CPU": [4.0, 4.0]}, {"CPU": [0.0, 8.0], "GPU": [0.0, 1.0]}


@pytest.mark.parametrize(
    ("nodes", "needs"),
    [
        ([FOUR], Needs()),
        ([FOUR], Needs(cpus=4)),
        ([FOUR], Needs(count=8, cpus=0.5)),
        ([FOUR, EIGHT_GPU], Needs(count=3, cpus=4)),
        ([FOUR, EIGHT_GPU], Needs(cpus=1, gpus=1)),
    ],
)
def test_what_fits_on_the_nodes_may_wait_for_its_turn(nodes: list[dict[str, Any]], needs: Needs) -> None:
    assert find_shortage(status(nodes), needs) == ""


@pytest.mark.parametrize(
    ("nodes", "needs", "text"),
    [
        ([FOUR], Needs(cpus=8), "never give 8 CPUs: its nodes have 4 CPUs"),
        ([FOUR, EIGHT_GPU], Needs(cpus=12), "4 CPUs; 8 CPUs"),
        ([FOUR], Needs(count=5, cpus=1), "5 times 1 CPUs"),
        ([FOUR], Needs(cpus=1, gpus=1), "4 CPUs, 0 GPUs"),
        ([{"memory": [0, 1]}], Needs(cpus=1), "0 CPUs"),
    ],
)
def test_what_can_never_fit_is_told_at_once(nodes: list[dict[str, Any]], needs: Needs, text: str) -> None:
    assert text in find_shortage(status(nodes), needs)


def test_with_an_autoscaler_anything_may_come() -> None:
    assert find_shortage(status([FOUR], "worker-group"), Needs(cpus=64)) == ""


@pytest.mark.parametrize("told", [{}, {"loadMetricsReport": {}}, {"loadMetricsReport": {"usageByNode": {"a": FOUR}}}])
def test_a_cluster_that_does_not_tell_is_not_refused(told: dict[str, Any]) -> None:
    assert find_shortage(told, Needs(cpus=64)) == ""
