# requirements: flexcore_kubernetes
"""Whether nodes would take the copies of a pod: the answer for each node, and how many copies find room. Pure."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from f.flexcore.lib.kubernetes import plan_nodes, plan_pod, plan_pod_rules

Object = Mapping[str, Any]

LIKELY, WILL_NOT = "likely", "will not"
# Beyond these, more copies and more rows say nothing new.
MAX_COPIES = 100
MAX_NODES_SHOWN = 50
MAX_REASONS_SHOWN = 5
MAX_VICTIMS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class NodeAnswer:
    """obstacles: none where the pod would likely run; victims: the pods that would have to go for it."""

    node: str
    obstacles: Sequence[plan_nodes.Obstacle]
    victims: Sequence[str] = ()

    @property
    def verdict(self) -> str:
        return WILL_NOT if self.obstacles and not self.victims else LIKELY

    def plain(self) -> dict[str, Any]:
        shown = {"node": self.node, "verdict": self.verdict, "reasons": [item.text for item in self.obstacles]}
        return {**shown, "preempts": list(self.victims[:MAX_VICTIMS_SHOWN])} if self.victims else shown


@dataclass(frozen=True, slots=True)
class Placement:
    """copies: asked for, at most MAX_COPIES; placed: those that find room at once, without preemption."""

    answers: Sequence[NodeAnswer]
    copies: int
    placed: int
    notes: list[str] = field(default_factory=list)

    @property
    def is_likely(self) -> bool:
        return any(answer.verdict == LIKELY for answer in self.answers)

    @property
    def may_pass(self) -> bool:
        """Whether some node would take the pod once others have ended."""
        return any(all(item.may_pass for item in answer.obstacles) for answer in self.answers)

    def closest(self) -> plan_nodes.Obstacle | None:
        """What to change first: the obstacle of the node that has fewest of the lasting ones."""
        blocked = [answer for answer in self.answers if answer.obstacles]
        nearest = min(blocked, key=lambda item: _distance(item.obstacles), default=None)
        return nearest.obstacles[0] if nearest else None

    def summarize(self) -> str:
        """`0 of 3 nodes: a lacks the label disk=ssd; b and 1 other has no nvidia.com/gpu`"""
        likely = sum(answer.verdict == LIKELY for answer in self.answers)
        groups: dict[str, list[str]] = {}
        for answer in self.answers:
            if answer.verdict == WILL_NOT:
                groups.setdefault(answer.obstacles[0].text, []).append(answer.node)
        told = "; ".join(f"{_join_nodes(names)} {text}" for text, names in list(groups.items())[:MAX_REASONS_SHOWN])
        return f"{likely} of {len(self.answers)} nodes" + (f": {told}" if told else "")

    def plain(self) -> list[dict[str, Any]]:
        return [answer.plain() for answer in self.answers[:MAX_NODES_SHOWN]]


def _distance(obstacles: Sequence[plan_nodes.Obstacle]) -> tuple[int, int]:
    return sum(not item.may_pass for item in obstacles), len(obstacles)


def _join_nodes(names: Sequence[str]) -> str:
    more = len(names) - 1
    return names[0] if not more else f"{names[0]} and {more} other{'s' if more > 1 else ''}:"


def place(
    shape: plan_nodes.Shape, nodes: Sequence[plan_nodes.Node], copies: int, checks: Sequence[plan_nodes.Check] = ()
) -> Placement:
    """checks: beside those of other pods, which change with each copy. The nodes are left as they are."""
    rules = plan_pod_rules.make_checks(shape.pod, nodes)
    answers = []
    for node in nodes:
        obstacles = plan_nodes.list_obstacles(shape, node, [*checks, *rules])
        victims = plan_nodes.find_victims(shape, node, obstacles) if obstacles else None
        answers.append(NodeAnswer(node.name, obstacles, victims or ()))
    wanted = min(copies, MAX_COPIES)
    placed = _count_placed(shape, [copy.copy(node) for node in nodes], wanted, checks)
    return Placement(sorted(answers, key=lambda item: (item.verdict, _distance(item.obstacles))), wanted, placed)


def _count_placed(
    shape: plan_nodes.Shape, nodes: Sequence[plan_nodes.Node], copies: int, checks: Sequence[plan_nodes.Check]
) -> int:
    """How many copies find room one after the other, each on the node with most of it."""
    for node in nodes:
        node.used, node.resident, node.pods = dict(node.used), dict(node.resident), list(node.pods)
    with_rules = plan_pod_rules.has_rules(shape.pod)
    rules = plan_pod_rules.make_checks(shape.pod, nodes)
    for number in range(copies):
        if number and with_rules:
            rules = plan_pod_rules.make_checks(shape.pod, nodes)
        open_nodes = [node for node in nodes if not plan_nodes.list_obstacles(shape, node, [*checks, *rules])]
        if not open_nodes:
            return number
        chosen = max(open_nodes, key=lambda node: (node.free("cpu"), node.free("memory")))
        chosen.hold(shape.pod, {name: amount for name, amount in shape.requests.items() if name != plan_nodes.PODS})
    return copies


def count_waiting(pods: Sequence[Object], priority: int) -> int:
    """Pods that no node has taken yet and that go first or are equal."""
    return sum(
        not (pod.get("spec") or {}).get("nodeName")
        and not plan_pod.has_ended(pod)
        and any(
            item.get("type") == "PodScheduled" and item.get("reason") == "Unschedulable"
            for item in (pod.get("status") or {}).get("conditions") or ()
        )
        and plan_nodes.read_priority(pod) >= priority
        for pod in pods
    )
