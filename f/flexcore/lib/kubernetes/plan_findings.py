# requirements: flexcore_kubernetes
"""Why a planned object's pods would not start, and what is to be said of it: quotas, nodes, preemption. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from f.flexcore.lib.kubernetes import (
    plan_admission,
    plan_nodes,
    plan_objects,
    plan_placement,
    plan_pod,
    plan_quota,
    plan_reads,
    plan_reasons,
)
from f.flexcore.lib.kubernetes_api import categories

QUOTA, UNSCHEDULABLE = categories.Category.QUOTA_EXCEEDED, categories.Category.UNSCHEDULABLE


@dataclass(frozen=True, slots=True)
class Demand:
    """copies: pods at a time; added: those that come beside the ones that are there; needs_all: whether fewer copies
    are no success."""

    copies: int
    added: int
    needs_all: bool


@dataclass(slots=True)
class Findings:
    """placement: None where nodes may not be seen."""

    reasons: list[plan_reasons.Reason] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    placement: plan_placement.Placement | None = None

    def add_first(self, reasons: Sequence[plan_reasons.Reason]) -> None:
        """What the API server says goes before what was worked out; of a quota, the other way round: it says more."""
        is_counted = any(reason.category == QUOTA for reason in self.reasons)
        self.reasons[:0] = [reason for reason in reasons if not (is_counted and reason.category == QUOTA)]

    @property
    def verdict(self) -> str:
        return plan_placement.WILL_NOT if self.reasons else plan_placement.LIKELY

    @property
    def is_possible(self) -> bool:
        """Whether it runs, at once or when what it waits for has ended."""
        return all(reason.waits for reason in self.reasons)

    @property
    def is_certain(self) -> bool:
        """Whether it is refused for good, whatever nodes there are."""
        return any(reason.is_certain and not reason.waits for reason in self.reasons)


def find(
    snapshot: plan_reads.Snapshot,
    tried: Sequence[plan_objects.Tried],
    shape: plan_nodes.Shape,
    demand: Demand,
    checks: Sequence[plan_nodes.Check],
    autoscaler: str,
) -> Findings:
    findings = Findings()
    if demand.added:
        _judge_quotas(findings, snapshot, tried, shape, demand)
        _judge_nodes(findings, snapshot, shape, demand, checks, autoscaler)
    return findings


# --- quotas


def _judge_quotas(
    findings: Findings,
    snapshot: plan_reads.Snapshot,
    tried: Sequence[plan_objects.Tried],
    shape: plan_nodes.Shape,
    demand: Demand,
) -> None:
    made = [{**item.wanted.body, "plural": item.wanted.plural} for item in tried if item.wanted.stored is None]
    asked = plan_quota.Demand([(shape.pod, demand.added)], plan_quota.count_objects(made))
    for item in plan_quota.list_shortfalls(snapshot.items("quotas"), asked):
        if item.possible and not demand.needs_all:
            findings.notes.append(f"{item.text}: {item.possible} of {demand.added} pods can run at a time")
            continue
        findings.reasons.append(_explain_shortfall(item, demand))


def _explain_shortfall(item: plan_quota.Shortfall, demand: Demand) -> plan_reasons.Reason:
    name = item.resource.removeprefix("requests.").removeprefix("limits.")
    subject = {"cpu": "cpu", "memory": "memory", "nvidia.com/gpu": "gpus"}.get(name, "namespace")
    some = f" ({item.possible} of {demand.added} pods fit)" if item.possible else ""
    remedy = "Ask for less, or have the quota raised." if item.is_final else categories.ACTIONS[QUOTA][1]
    return plan_reasons.Reason(
        QUOTA, subject, f"{item.text[:1].upper()}{item.text[1:]}{some}", remedy, not item.is_final
    )


# --- nodes


def _judge_nodes(
    findings: Findings,
    snapshot: plan_reads.Snapshot,
    shape: plan_nodes.Shape,
    demand: Demand,
    checks: Sequence[plan_nodes.Check],
    autoscaler: str,
) -> None:
    if not snapshot.is_seen("nodes"):
        findings.notes.append("Nodes may not be seen, so that nothing is known of their room")
        return
    pods = snapshot.items("pods")
    nodes = plan_nodes.read_nodes(snapshot.items("nodes"), pods)
    placement = plan_placement.place(shape, nodes, demand.added, checks)
    findings.placement = placement
    if not placement.is_likely:
        findings.reasons.append(_explain_nodes(placement, autoscaler))
    elif placement.placed < placement.copies:
        _judge_copies(findings, placement, demand, autoscaler)
    _note_nodes(findings, snapshot, shape, nodes, pods)


def _explain_nodes(placement: plan_placement.Placement, autoscaler: str) -> plan_reasons.Reason:
    if not placement.answers:
        # Nodes of their own kind may be added when a pod asks for them.
        text, remedy = "There are no nodes yet", "Add nodes that take pods, unless the cluster adds them by itself."
        return plan_reasons.Reason(UNSCHEDULABLE, "cluster", text, remedy, waits=True, is_certain=False)
    closest = placement.closest()
    subject, remedy = (closest.subject, closest.remedy) if closest else ("cluster", "Add nodes that take pods.")
    waits = placement.may_pass or bool(autoscaler)
    added = f"; {autoscaler} may add one" if autoscaler else ""
    text = f"No node would take the pod now: {placement.summarize()}{added}"
    return plan_reasons.Reason(UNSCHEDULABLE, subject, text, remedy, waits, is_certain=False)


def _judge_copies(findings: Findings, placement: plan_placement.Placement, demand: Demand, autoscaler: str) -> None:
    victims = [answer for answer in placement.answers if answer.victims]
    count = f"{placement.placed} of {placement.copies} copies"
    if victims:
        findings.notes.append(f"Without preemption there is room for {count}")
    elif demand.needs_all:
        text = f"There is room for {count}"
        remedy = "Ask for fewer copies or less for each, wait until others have ended, or add nodes."
        waits = bool(autoscaler) or placement.placed > 0
        reason = plan_reasons.Reason(
            categories.Category.UNSCHEDULABLE, "replicas", text, remedy, waits, is_certain=False
        )
        findings.reasons.append(reason)
    else:
        findings.notes.append(f"There is room for {count} at a time; the others wait")


def _note_nodes(
    findings: Findings,
    snapshot: plan_reads.Snapshot,
    shape: plan_nodes.Shape,
    nodes: Sequence[plan_nodes.Node],
    pods: Sequence[Any],
) -> None:
    if not snapshot.is_seen("pods"):
        findings.notes.append("Pods of other namespaces may not be seen, so that all of each node counts as free")
    if waiting := plan_placement.count_waiting(pods, plan_nodes.read_priority(shape.pod)):
        findings.notes.append(f"{waiting} pods of the same or a higher priority wait for a node already")
    placement = findings.placement
    for answer in placement.answers if placement else ():
        if answer.victims:
            shown = ", ".join(answer.victims[: plan_placement.MAX_VICTIMS_SHOWN])
            findings.notes.append(f"On {answer.node} it would preempt {len(answer.victims)} pods: {shown}")
            break
    open_nodes = {answer.node for answer in placement.answers if not answer.obstacles} if placement else set()
    findings.notes += plan_admission.note_architectures(shape.pod, [node for node in nodes if node.name in open_nodes])
    if shape.requests.get("cpu") is None or shape.requests.get("memory") is None:
        lacking = " and ".join(name for name in plan_pod.POD_LEVEL if name not in shape.requests)
        findings.notes.append(f"The pod asks for no {lacking}, so that nodes may take more than they can hold")
