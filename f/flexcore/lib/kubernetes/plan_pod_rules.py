# requirements: flexcore_kubernetes
"""Where other pods let a pod go: affinity, anti-affinity and topology spread, as checks of a node. Pure.

Each rule is worked out once for all nodes: the values of its topology key that are taken, wanted or too full.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from f.flexcore.lib.kubernetes import plan_nodes, plan_selectors

Object = Mapping[str, Any]

AFFINITY, SPREAD = f"{plan_nodes.POD}.affinity", f"{plan_nodes.POD}.topologySpreadConstraints"


def make_checks(pod: Object, nodes: Sequence[plan_nodes.Node]) -> list[plan_nodes.Check]:
    """The rules that the pod's own spec and the pods on these nodes set."""
    return [
        *_make_anti_affinity_checks(pod, nodes),
        *_make_affinity_checks(pod, nodes),
        *_make_spread_checks(pod, nodes),
    ]


def has_rules(pod: Object) -> bool:
    """Whether a second copy of the pod may be kept away by the first."""
    spec = pod.get("spec") or {}
    kinds = ("podAffinity", "podAntiAffinity")
    return any(plan_selectors.required_terms(pod, kind) for kind in kinds) or bool(
        spec.get("topologySpreadConstraints")
    )


def _iterate_pods(nodes: Sequence[plan_nodes.Node]) -> Iterator[tuple[plan_nodes.Node, Object]]:
    for node in nodes:
        for pod in node.pods:
            yield node, pod


# --- anti-affinity, in both directions


def _make_anti_affinity_checks(pod: Object, nodes: Sequence[plan_nodes.Node]) -> Iterator[plan_nodes.Check]:
    taken: dict[tuple[str, str], str] = {}
    own = plan_selectors.required_terms(pod, "podAntiAffinity")
    for node, other in _iterate_pods(nodes):
        name = str(other["metadata"]["name"])
        for term in own:
            if plan_selectors.selects_pod(term, pod, other):
                _take(taken, term, node, f"pod {name} is there, which the pod's anti-affinity avoids")
        for term in plan_selectors.required_terms(other, "podAntiAffinity"):
            if plan_selectors.selects_pod(term, other, pod):
                _take(taken, term, node, f"pod {name} is there, whose anti-affinity avoids this pod")
    if taken:
        yield lambda node: _find_taken(taken, node)


def _take(taken: dict[tuple[str, str], str], term: Object, node: plan_nodes.Node, reason: str) -> None:
    key = str(term.get("topologyKey"))
    if key in node.labels:
        taken.setdefault((key, node.labels[key]), reason)


def _find_taken(taken: Mapping[tuple[str, str], str], node: plan_nodes.Node) -> plan_nodes.Obstacle | None:
    for (key, value), reason in taken.items():
        if node.labels.get(key) == value:
            where = "" if key == "kubernetes.io/hostname" else f"is in {key}={value}: "
            remedy = "Loosen the pod anti-affinity rule, or add nodes."
            return plan_nodes.Obstacle(plan_nodes.Kind.OTHER_PODS, f"{where}{reason}", AFFINITY, remedy)
    return None


# --- affinity


def _make_affinity_checks(pod: Object, nodes: Sequence[plan_nodes.Node]) -> Iterator[plan_nodes.Check]:
    terms = plan_selectors.required_terms(pod, "podAffinity")
    if not terms:
        return
    companions = [
        node for node, other in _iterate_pods(nodes) if all(plan_selectors.selects_pod(t, pod, other) for t in terms)
    ]
    # The first of a group that wants to be together may go anywhere.
    is_first = not companions and all(plan_selectors.selects_pod(term, pod, pod) for term in terms)
    for term in terms:
        key = str(term.get("topologyKey"))
        wanted = {node.labels.get(key) for node in (nodes if is_first else companions)} - {None}
        yield _make_affinity_check(key, wanted, bool(companions) or is_first)


def _make_affinity_check(key: str, wanted: set[str | None], is_anywhere: bool) -> plan_nodes.Check:
    def check(node: plan_nodes.Node) -> plan_nodes.Obstacle | None:
        if node.labels.get(key) in wanted:
            return None
        text = "" if is_anywhere else ", nor is any other node"
        remedy = "Correct the pod affinity rule, or start what it asks for first."
        text = f"is not where the pods of the pod's affinity are ({key}){text}"
        return plan_nodes.Obstacle(plan_nodes.Kind.OTHER_PODS, text, AFFINITY, remedy)

    return check


# --- topology spread


def _make_spread_checks(pod: Object, nodes: Sequence[plan_nodes.Node]) -> Iterator[plan_nodes.Check]:
    for constraint in (pod.get("spec") or {}).get("topologySpreadConstraints") or ():
        if constraint.get("whenUnsatisfiable", "DoNotSchedule") == "DoNotSchedule":
            yield _make_spread_check(constraint, pod, nodes)


def _make_spread_check(constraint: Object, pod: Object, nodes: Sequence[plan_nodes.Node]) -> plan_nodes.Check:
    key, skew = str(constraint.get("topologyKey")), int(constraint.get("maxSkew") or 1)
    selector = _with_label_keys(constraint, pod)
    counts: Counter[str] = Counter()
    for node in nodes:
        if key in node.labels and _counts_node(constraint, pod, node):
            counts[node.labels[key]] += sum(_is_counted(other, pod, selector) for other in node.pods)
    least = min(counts.values(), default=0)
    if len(counts) < int(constraint.get("minDomains") or 1):
        least = 0
    own = int(plan_selectors.matches_labels(selector, (pod.get("metadata") or {}).get("labels") or {}))

    def check(node: plan_nodes.Node) -> plan_nodes.Obstacle | None:
        value = node.labels.get(key)
        if value is None:
            text = f"lacks the label {key}, by which the pods are spread"
        elif counts[value] + own - least > skew:
            text = f"has {counts[value]} such pods in {key}={value}, {least} are where fewest are (maxSkew {skew})"
        else:
            return None
        remedy = f"Loosen the constraint (whenUnsatisfiable: ScheduleAnyway), or label the nodes with {key}."
        kind = plan_nodes.Kind.SELECTOR if value is None else plan_nodes.Kind.OTHER_PODS
        return plan_nodes.Obstacle(kind, text, SPREAD, remedy)

    return check


def _with_label_keys(constraint: Object, pod: Object) -> Object:
    labels = (pod.get("metadata") or {}).get("labels") or {}
    selector = dict(constraint.get("labelSelector") or {})
    keys = {key: labels[key] for key in constraint.get("matchLabelKeys") or () if key in labels}
    return {**selector, "matchLabels": {**(selector.get("matchLabels") or {}), **keys}}


def _counts_node(constraint: Object, pod: Object, node: plan_nodes.Node) -> bool:
    """Whether the node's domain counts: by default, nodes that the pod's selectors let through, tainted or not."""
    spec = pod.get("spec") or {}
    if constraint.get("nodeAffinityPolicy", "Honor") == "Honor":
        selected = all(node.labels.get(name) == value for name, value in (spec.get("nodeSelector") or {}).items())
        affinity = plan_selectors.node_affinity(pod)
        if not selected or not plan_selectors.matches_node_selector(affinity, node.name, node.labels):
            return False
    if constraint.get("nodeTaintsPolicy", "Ignore") == "Honor":
        return not plan_selectors.find_untolerated(node.taints, spec.get("tolerations") or ())
    return True


def _is_counted(other: Object, pod: Object, selector: Object) -> bool:
    metadata = other.get("metadata") or {}
    is_here = metadata.get("namespace") == (pod.get("metadata") or {}).get("namespace")
    is_staying = not metadata.get("deletionTimestamp")
    return is_here and is_staying and plan_selectors.matches_labels(selector, metadata.get("labels") or {})
