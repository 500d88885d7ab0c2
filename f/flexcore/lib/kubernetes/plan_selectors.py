# requirements: flexcore_kubernetes
"""Selectors, taints and affinity terms, judged as the scheduler judges them. Pure.

Source: k8s.io/component-helpers/scheduling/corev1, pkg/scheduler/framework/plugins
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Object = Mapping[str, Any]

BLOCKING = ("NoSchedule", "NoExecute")


def matches_labels(selector: Object | None, labels: Mapping[str, str]) -> bool:
    """A LabelSelector; none at all selects nothing, an empty one everything."""
    if selector is None:
        return False
    exact = selector.get("matchLabels") or {}
    if any(labels.get(name) != value for name, value in exact.items()):
        return False
    return all(matches_expression(item, labels) for item in selector.get("matchExpressions") or ())


def matches_expression(expression: Object, labels: Mapping[str, str]) -> bool:
    key, operator = str(expression.get("key")), expression.get("operator")
    values = [str(value) for value in expression.get("values") or ()]
    if operator == "Exists":
        return key in labels
    if operator == "DoesNotExist":
        return key not in labels
    if operator == "NotIn":
        return labels.get(key) not in values
    if key not in labels:
        return False
    if operator == "In":
        return labels[key] in values
    if operator not in ("Gt", "Lt") or len(values) != 1:
        return False
    try:
        mine, bound = int(labels[key]), int(values[0])
    except ValueError:
        return False
    return mine > bound if operator == "Gt" else mine < bound


def matches_node_selector(selector: Object | None, name: str, labels: Mapping[str, str]) -> bool:
    """A NodeSelector, of which one term must hold; none at all lets every node through."""
    if not selector:
        return True
    return any(_matches_term(term, name, labels) for term in selector.get("nodeSelectorTerms") or ())


def _matches_term(term: Object, name: str, labels: Mapping[str, str]) -> bool:
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    by_label = all(matches_expression(item, labels) for item in expressions)
    return by_label and all(matches_expression(item, {"metadata.name": name}) for item in fields)


def describe_node_selector(selector: Object) -> str:
    """`zone In (a, b) or disk=ssd`, short."""
    terms = []
    for term in selector.get("nodeSelectorTerms") or ():
        items = [*(term.get("matchExpressions") or ()), *(term.get("matchFields") or ())]
        terms.append(" and ".join(_describe_expression(item) for item in items))
    return " or ".join(terms)


def _describe_expression(item: Object) -> str:
    values = ", ".join(str(value) for value in item.get("values") or ())
    return f"{item.get('key')} {item.get('operator')}" + (f" ({values})" if values else "")


def find_untolerated(taints: Sequence[Object], tolerations: Sequence[Object]) -> list[Object]:
    """The taints that keep a pod with these tolerations away."""
    return [
        taint
        for taint in taints
        if taint.get("effect") in BLOCKING and not any(tolerates(item, taint) for item in tolerations)
    ]


def tolerates(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    operator = toleration.get("operator") or "Equal"
    if operator == "Exists":
        return True
    # An empty key tolerates everything, with Exists alone.
    return bool(toleration.get("key")) and str(toleration.get("value") or "") == str(taint.get("value") or "")


def describe_taint(taint: Object) -> str:
    value = f"={taint['value']}" if taint.get("value") else ""
    return f"{taint.get('key')}{value}:{taint.get('effect')}"


# --- affinity between pods


def selects_pod(term: Object, owner: Object, other: Object) -> bool:
    """Whether an affinity term of `owner` means `other`. A namespaceSelector that is not empty is not judged: then the
    term means no pod."""
    metadata, its = owner.get("metadata") or {}, other.get("metadata") or {}
    spaces = term.get("namespaces") or []
    by_selector = term.get("namespaceSelector")
    everywhere = by_selector is not None and not by_selector
    if not spaces and by_selector is None:
        spaces = [metadata.get("namespace")]
    if not everywhere and its.get("namespace") not in spaces:
        return False
    labels = its.get("labels") or {}
    own = metadata.get("labels") or {}
    for key in term.get("matchLabelKeys") or ():
        if key in own and labels.get(key) != own[key]:
            return False
    for key in term.get("mismatchLabelKeys") or ():
        if key in own and labels.get(key) == own[key]:
            return False
    return matches_labels(term.get("labelSelector"), labels)


def required_terms(pod: Object, kind: str) -> Sequence[Object]:
    """kind: podAffinity or podAntiAffinity."""
    affinity = ((pod.get("spec") or {}).get("affinity") or {}).get(kind) or {}
    terms: Sequence[Object] = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
    return terms


def node_affinity(pod: Object) -> Object | None:
    """The required NodeSelector of a pod."""
    affinity = ((pod.get("spec") or {}).get("affinity") or {}).get("nodeAffinity") or {}
    selector: Object | None = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return selector
