from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from f.flexcore.lib.core.errors import InvalidInput
from f.flexcore.lib.core.resources import RayCluster
from f.flexcore.lib.ray import labels, program_job
from f.flexcore.lib.ray.cluster import Needs, check_capacity, find_shortage
from f.flexcore.lib.ray.dashboard import RayApi

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


NODES = [{"zone": "a", "ray.io/node-id": "1"}, {"zone": "b", "gpu": "A100", "ray.io/node-id": "2"}]


@pytest.mark.parametrize(
    "selector",
    [
        {"zone": "a"},
        {"zone": "!a"},
        {"zone": "in(c, b)", "gpu": "A100"},
        {"zone": "!in(b,c)"},
        {"gpu": "!A100"},
    ],
)
def test_a_selector_chooses_the_nodes_that_ray_would_choose(selector: dict[str, str]) -> None:
    assert labels.check_selector(selector) == selector
    assert labels.find_problem(NODES, selector) == ""


@pytest.mark.parametrize(
    ("nodes", "selector", "text"),
    [
        (NODES, {"zone": "c"}, r"no node has the label zone: c \(zone is a, b\)"),
        (NODES, {"zone": "!in(a, b)"}, "zone is a, b"),
        (NODES, {"disk": "ssd"}, "the nodes have the labels gpu, zone"),
        (NODES, {"zone": "a", "gpu": "A100"}, "no single node has all of the labels zone: a, gpu: A100"),
        ([{"ray.io/node-id": "1"}], {"zone": "a"}, "the nodes have no labels"),
    ],
)
def test_labels_that_no_node_has_are_told_with_those_that_there_are(
    nodes: list[dict[str, str]], selector: dict[str, str], text: str
) -> None:
    assert re.search(text, labels.find_problem(nodes, selector))


@pytest.mark.parametrize("selector", [{"zone": "a b"}, {"zone": "in()"}, {"-zone": "a"}, {"zone": ""}, {"zone": "!!a"}])
def test_a_selector_that_ray_would_refuse_is_refused_by_the_form(selector: dict[str, str]) -> None:
    with pytest.raises(InvalidInput, match=r"label_selector"):
        program_job.RUN_PROGRAM.parse({"program": "pass", "label_selector": selector})


def test_our_reading_of_a_selector_is_that_of_ray() -> None:
    """The values that one accepts and the other does not would fail minutes later, or never be tried."""
    from ray._private.label_utils import validate_label_selector

    for wanted in ("a", "!a", "in(a)", "in(a, b)", "!in(a,b)", "in(a", "a,b", "!!a", "-a", "a" * 64, "in(a; b)"):
        ours = True
        try:
            labels.check_selector({"zone": wanted})
        except ValueError:
            ours = False
        assert ours == (validate_label_selector({"zone": wanted}) is None), wanted


def test_only_the_nodes_with_the_labels_count_for_what_is_asked() -> None:
    nodes = status([FOUR, EIGHT_GPU])
    assert find_shortage(nodes, Needs(cpus=6), {"1"}) == ""
    assert "its nodes with those labels have 4 CPUs" in find_shortage(nodes, Needs(cpus=6), {"0"})


def test_memory_that_no_node_has_is_told_in_gib() -> None:
    node = {"memory": [0.0, 4.0 * 2**30]}
    assert find_shortage(status([node]), Needs(memory_bytes=2**32)) == ""
    text = find_shortage(status([node]), Needs(memory_bytes=2**33))
    assert "never give 8 GiB of memory: its nodes have 4 GiB of memory" in text


@pytest.mark.parametrize(("gpus", "taken"), [(0.25, True), (1, True), (2, True), (1.5, False)])
def test_gpus_are_a_part_of_one_or_whole_ones(gpus: float, taken: bool) -> None:
    asked = {"program": "pass", "num_gpus": gpus}
    if taken:
        assert program_job.RUN_PROGRAM.parse(asked).num_gpus == gpus
    else:
        with pytest.raises(InvalidInput, match=r"num_gpus.*0\.5"):
            program_job.RUN_PROGRAM.parse(asked)


@pytest.mark.parametrize(("kind", "is_refused"), [(FIXED, True), ("worker-group", False)])
def test_a_label_that_no_node_has_is_told_before_the_job_is_submitted_unless_an_autoscaler_may_bring_one(
    kind: str, is_refused: bool
) -> None:
    node = {"node_id": "0", "state": "ALIVE", "labels": {"zone": "a"}}
    dead = {"node_id": "9", "state": "DEAD", "labels": {"zone": "b"}}

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/v0/nodes":
            return httpx.Response(200, json={"data": {"result": {"result": [node, dead]}}})
        return httpx.Response(200, json={"data": {"clusterStatus": status([FOUR], kind)}})

    with RayApi(RayCluster(), httpx.MockTransport(answer)) as api:
        check_capacity(api, Needs(label_selector={"zone": "a"}))
        if not is_refused:
            check_capacity(api, Needs(label_selector={"zone": "b"}))
            return
        with pytest.raises(InvalidInput, match="no node has the label zone: b") as caught:
            check_capacity(api, Needs(label_selector={"zone": "b"}))
        assert caught.value.subject == "label_selector"
