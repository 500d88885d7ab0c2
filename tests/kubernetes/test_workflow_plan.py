"""A workflow of containers before anything starts, and between its levels."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from f.flexcore.kubernetes.plan_workflow import main as plan_workflow
from f.flexcore.lib.core.errors import DataError, InvalidInput
from f.flexcore.lib.kubernetes import workflow_state
from f.flexcore.lib.kubernetes.workflow_plan import Node, find_circle, order_levels

Object = dict[str, Any]


def node(name: str, *needs: str, **more: Any) -> Object:
    return {"name": name, "image": "i", "needs": list(needs), **more}


def graph(**needs: str) -> list[Node]:
    return [Node(name=name, needs=text.split()) for name, text in needs.items()]


@pytest.mark.parametrize(
    ("nodes", "levels"),
    [
        (graph(a=""), [["a"]]),
        (graph(b="a", a=""), [["a"], ["b"]]),
        (graph(d="b c", b="a", c="a", a="", e=""), [["a", "e"], ["b", "c"], ["d"]]),
        (graph(c="a b", b="a", a=""), [["a"], ["b"], ["c"]]),
    ],
)
def test_each_stands_after_all_that_it_needs_and_as_early_as_it_can(nodes: list[Node], levels: list[list[str]]) -> None:
    assert order_levels(nodes) == levels


@pytest.mark.parametrize(
    ("nodes", "circle"),
    [
        (graph(a="a"), ["a", "a"]),
        (graph(a="b", b="a"), ["a", "b", "a"]),
        (graph(x="", a="x b", b="c", c="a", d="c"), ["a", "b", "c", "a"]),
        (graph(d="c", c="b", b="c"), ["c", "b", "c"]),
        (graph(a="b c", b="c", c=""), []),
    ],
)
def test_a_circle_is_found_with_its_path(nodes: list[Node], circle: list[str]) -> None:
    assert find_circle(nodes) == circle
    if circle:
        with pytest.raises(InvalidInput, match=" → ".join(circle)) as caught:
            order_levels(nodes)
        assert caught.value.subject == f"nodes.{circle[0]}.needs" and circle[1] in caught.value.remedy


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sets(st.integers(0, 11)), min_size=1, max_size=12))
def test_of_any_graph_there_is_an_order_or_a_circle(edges: list[set[int]]) -> None:
    nodes = [
        Node(name=f"n{index}", needs=[f"n{other}" for other in sorted(needs) if other < len(edges)])
        for index, needs in enumerate(edges)
    ]
    circle = find_circle(nodes)
    needs = {item.name: item.needs for item in nodes}
    if circle:
        assert circle[0] == circle[-1] and len(set(circle)) == len(circle) - 1
        assert all(later in needs[earlier] for earlier, later in itertools.pairwise(circle))
        return
    done: set[str] = set()
    for level in order_levels(nodes):
        assert all(need in done for name in level for need in needs[name])
        done |= set(level)
    assert done == set(needs)


@pytest.mark.parametrize(
    ("nodes", "subject", "words"),
    [
        ([], "nodes", "is empty"),
        ([node("a"), node("a")], "nodes.a.name", "another container's name"),
        ([node("a", "nosuch")], "nodes.a.needs", "there is no container 'nosuch'"),
        ([node("a"), node("b", "a", "a")], "nodes.b.needs", "twice"),
        ([node("Bad Name")], "nodes.Bad Name.name", "not a Kubernetes name"),
        ([node("1st")], "nodes.1st.name", "begins with a digit"),
        ([node("a", memory="500m")], "nodes.a.memory", "memory"),
        ([node("a", image="")], "nodes.a.image", "is empty"),
        ([node("a", options={"indexed": True})], "nodes.a.options.completions", "is missing beside indexed"),
        ([node("a", "a")], "nodes.a.needs", "a → a is a circle"),
        ([node("a", nosuch=1)], "nodes.a.nosuch", "nosuch"),
        ([node("a", inputs={"x": {}})], "nodes.a.inputs", "what its needs hand on"),
        ([{"image": "i"}], "nodes.0.name", "name"),
        ([node(f"n{index}") for index in range(201)], "nodes", "has 201 containers"),
        ("nodes", "nodes", "nodes"),
    ],
)
def test_a_wrong_container_is_named_with_its_field(nodes: Any, subject: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        plan_workflow(nodes)
    assert caught.value.subject == subject and words in str(caught.value)


def test_what_all_share_is_in_each_request_unless_it_says_more() -> None:
    planned = plan_workflow([node("a"), node("b", timeout_s=7)], namespace="work", timeout_s=60, ttl_s=99)
    first, second = (item["request"] for item in planned["nodes"])
    assert first == {"image": "i", "namespace": "work", "timeout_s": 60, "ttl_s": 99}
    assert second["timeout_s"] == 7 and planned["levels"] == [["a", "b"]]


def test_how_long_it_may_take_does_not_decide_what_a_container_hands_on() -> None:
    digests = [
        plan_workflow([node("a", **more)])["nodes"][0]["digest"] for more in ({}, {"timeout_s": 9}, {"env": ["A=1"]})
    ]
    assert digests[0] == digests[1] != digests[2]


def test_the_state_of_another_workflow_around_this_one_is_not_taken_for_its_own() -> None:
    plan, other = plan_workflow([node("a")]), plan_workflow([node("b")])
    foreign = workflow_state.WorkflowState(plan=other["id"], skipped={"b": "x"}).plain()
    ready = workflow_state.select(plan, ["a"], foreign)
    assert ready["state"]["skipped"] == {} and [item["name"] for item in ready["nodes"]] == ["a"]


def test_results_that_do_not_belong_to_the_containers_are_refused() -> None:
    plan = plan_workflow([node("a")])
    ready = workflow_state.select(plan, ["a"], None)
    with pytest.raises(DataError, match="0 results came of 1 containers"):
        workflow_state.collect(plan, ready, [])
    state = workflow_state.collect(plan, ready, ["nonsense"])
    assert state["failed"]["a"]["message"] == "it has no result"
