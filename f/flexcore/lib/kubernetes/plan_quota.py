# requirements: flexcore_kubernetes
"""What a namespace's ResourceQuotas leave, by scope and by count, for the objects that are to be made. Pure.

A quota counts a pod when all its scopes hold for it; what it counts is `used` until the object is gone.
Source: pkg/quota/v1/evaluator/core/{pods,services}.go, pkg/quota/v1/generic
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from f.flexcore.lib.kubernetes import plan_pod, plan_selectors

Object = Mapping[str, Any]

# What a pod must say where a quota limits it. The others count as nothing when they are left out.
COMPUTE = ("cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory")
EPSILON = 1e-6


@dataclass(frozen=True, slots=True)
class Demand:
    """What is to be made. pods: (pod, number of it) of each kind of pod; counts: objects by `plural` or
    `plural.group`, and services by type."""

    pods: Sequence[tuple[Object, int]] = ()
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shortfall:
    """One resource of a quota that is not enough. possible: how many pods it would take, None when it is not pods that
    it counts; is_final: whether the quota could not even take one when nothing else was there."""

    quota: str
    resource: str
    text: str
    is_final: bool
    possible: int | None = None


def list_shortfalls(quotas: Sequence[Object], demand: Demand) -> list[Shortfall]:
    return [item for quota in quotas for item in _iterate_shortfalls(quota, demand)]


def _iterate_shortfalls(quota: Object, demand: Demand) -> Iterator[Shortfall]:
    status = quota.get("status") or {}
    # A quota that was just made has no status yet.
    hard = plan_pod.read_amounts(status.get("hard") or (quota.get("spec") or {}).get("hard"))
    used = plan_pod.read_amounts(status.get("used"))
    name = str(quota["metadata"]["name"])
    pods = [(pod, number) for pod, number in demand.pods if counts_pod(quota, pod)]
    for resource, limit in sorted(hard.items()):
        each = _count_object(resource, demand.counts) if not _is_scoped(quota) else 0.0
        taken = used.get(resource, 0.0)
        if each and taken + each > limit + EPSILON:
            yield _describe(name, resource, each, taken, limit, None)
        for pod, number in pods:
            if missing := _missing_amounts(resource, pod):
                text = f"quota {name} counts {resource}: every container must say it ({missing} does not)"
                yield Shortfall(name, resource, text, True, 0)
                continue
            asked = _count_pod(resource, pod)
            if asked and taken + asked * number > limit + EPSILON:
                possible = max(int((limit - taken + EPSILON) // asked), 0)
                yield _describe(name, resource, asked * number, taken, limit, min(possible, number), asked)


def _describe(
    quota: str, resource: str, asked: float, used: float, limit: float, possible: int | None, each: float | None = None
) -> Shortfall:
    show = partial(plan_pod.format_amount, resource)
    text = f"quota {quota} allows {show(limit)} {resource}, {show(used)} are used, {show(asked)} more are needed"
    return Shortfall(quota, resource, text, (asked if each is None else each) > limit + EPSILON, possible)


# --- scopes


def counts_pod(quota: Object, pod: Object) -> bool:
    spec = quota.get("spec") or {}
    plain = all(_in_scope({"scopeName": name, "operator": "Exists"}, pod) for name in spec.get("scopes") or ())
    expressions = (spec.get("scopeSelector") or {}).get("matchExpressions") or ()
    return plain and all(_in_scope(item, pod) for item in expressions)


def _is_scoped(quota: Object) -> bool:
    """A quota with scopes counts pods alone (and claims, by their class)."""
    spec = quota.get("spec") or {}
    return bool(spec.get("scopes") or spec.get("scopeSelector"))


def _in_scope(expression: Object, pod: Object) -> bool:
    scope, spec = expression.get("scopeName"), pod.get("spec") or {}
    if scope == "Terminating":
        return spec.get("activeDeadlineSeconds") is not None
    if scope == "NotTerminating":
        return spec.get("activeDeadlineSeconds") is None
    if scope == "BestEffort":
        return plan_pod.is_best_effort(pod)
    if scope == "NotBestEffort":
        return not plan_pod.is_best_effort(pod)
    if scope == "CrossNamespacePodAffinity":
        return _reaches_other_namespaces(pod)
    if scope == "PriorityClass":
        name = spec.get("priorityClassName")
        labels = {"PriorityClass": str(name)} if name else {}
        return plan_selectors.matches_expression({**expression, "key": "PriorityClass"}, labels)
    return False


def _reaches_other_namespaces(pod: Object) -> bool:
    affinity = (pod.get("spec") or {}).get("affinity") or {}
    for kind in ("podAffinity", "podAntiAffinity"):
        rules = affinity.get(kind) or {}
        terms = list(rules.get("requiredDuringSchedulingIgnoredDuringExecution") or ())
        preferred = rules.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        terms += [item.get("podAffinityTerm") or {} for item in preferred]
        if any(term.get("namespaces") or term.get("namespaceSelector") is not None for term in terms):
            return True
    return False


# --- amounts


def _count_pod(resource: str, pod: Object) -> float:
    """What one pod adds to a resource of a quota."""
    if resource in ("pods", "count/pods"):
        return 1.0
    if resource.startswith("limits."):
        return plan_pod.sum_limits(pod).get(resource.removeprefix("limits."), 0.0)
    if "/" in resource and not resource.startswith("requests."):
        return 0.0
    return plan_pod.sum_requests(pod).get(resource.removeprefix("requests."), 0.0)


def _count_object(resource: str, counts: Mapping[str, int]) -> float:
    if resource.startswith("count/"):
        name = resource.removeprefix("count/")
        return 0.0 if name == "pods" else float(counts.get(name, 0))
    # services.loadbalancers, services.nodeports, secrets, configmaps, …
    return float(counts.get(resource, 0)) if resource not in ("pods", *COMPUTE) else 0.0


def _missing_amounts(resource: str, pod: Object) -> str:
    """The first container that leaves out what the quota makes it say."""
    if resource not in COMPUTE:
        return ""
    spec = pod.get("spec") or {}
    field = plan_pod.LIMITS if resource.startswith("limits.") else plan_pod.REQUESTS
    name = resource.rpartition(".")[2]
    whole = (spec.get("resources") or {}).get(field) or {}
    if name in whole:
        return ""
    for container in plan_pod.iterate_containers(pod):
        said = container.get("resources") or {}
        is_said = name in (said.get(field) or {}) or (field == plan_pod.REQUESTS and name in (said.get("limits") or {}))
        if not is_said:
            return f"container {container.get('name')}"
    return ""


def count_objects(objects: Sequence[Object]) -> dict[str, int]:
    """Objects to be made, as quotas count them. Each has `plural` beside the body's own fields."""
    counts: dict[str, int] = {}
    for item in objects:
        group = str(item["apiVersion"]).rpartition("/")[0]
        names = [f"{item['plural']}.{group}" if group else item["plural"]]
        if item["plural"] == "services":
            kind = (item.get("spec") or {}).get("type") or "ClusterIP"
            names += ["services.loadbalancers"] if kind == "LoadBalancer" else []
            names += ["services.nodeports"] if kind in ("NodePort", "LoadBalancer") else []
        for name in names:
            counts[name] = counts.get(name, 0) + 1
    return counts
