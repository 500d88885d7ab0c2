# requirements: flexcore_kubernetes
"""What a namespace's LimitRanges make of a pod: the requests and limits that they add, and what they refuse. Pure.

The API server does it when a pod is made; a pod that may not be tried there is worked out here.
Source: plugin/pkg/admission/limitranger/admission.go
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from f.flexcore.lib.kubernetes import plan_pod

Object = Mapping[str, Any]


def apply_limit_ranges(pod: Object, ranges: Sequence[Object]) -> tuple[dict[str, Any], list[str]]:
    """A copy of the pod with what the LimitRanges add, and a note on each addition."""
    result = copy.deepcopy(dict(pod))
    notes: list[str] = []
    for limit_range in ranges:
        name = limit_range["metadata"]["name"]
        for item in (limit_range.get("spec") or {}).get("limits") or ():
            if item.get("type") == "Container":
                for container in plan_pod.iterate_containers(result):
                    notes += _fill_container(container, item, str(name))
    return result, notes


def _fill_container(container: Any, item: Object, limit_range: str) -> Iterator[str]:
    resources = {name: dict(value) for name, value in (container.get("resources") or {}).items() if value}
    added = []
    for field, defaults in (("limits", item.get("default")), ("requests", item.get("defaultRequest"))):
        for resource, amount in (defaults or {}).items():
            said = resources.get(field) or {}
            # A limit that is written without a request is the request.
            is_said = resource in said or (
                field == "requests" and resource in (container.get("resources") or {}).get("limits", {})
            )
            if not is_said:
                resources.setdefault(field, {})[resource] = amount
                added.append(f"{field}.{resource} {amount}")
    if added:
        container["resources"] = resources
        yield f"container {container['name']} gets {', '.join(added)} by LimitRange {limit_range}"


def list_violations(pod: Object, ranges: Sequence[Object]) -> list[str]:
    """What the LimitRanges refuse of a pod that has their defaults."""
    return [
        text
        for limit_range in ranges
        for item in (limit_range.get("spec") or {}).get("limits") or ()
        for text in _iterate_violations(pod, item, str(limit_range["metadata"]["name"]))
    ] + _list_impossible(pod)


def _iterate_violations(pod: Object, item: Object, limit_range: str) -> Iterator[str]:
    if item.get("type") == "Container":
        for container in plan_pod.iterate_containers(pod):
            said = container.get("resources") or {}
            requests = plan_pod.read_amounts(said.get("requests") or said.get("limits"))
            limits = plan_pod.read_amounts(said.get("limits"))
            yield from _compare(f"container {container['name']}", requests, limits, item, limit_range)
    elif item.get("type") == "Pod":
        yield from _compare("the pod", plan_pod.sum_requests(pod), plan_pod.sum_limits(pod), item, limit_range)


def _compare(
    what: str, requests: Mapping[str, float], limits: Mapping[str, float], item: Object, limit_range: str
) -> Iterator[str]:
    for resource, bound in plan_pod.read_amounts(item.get("max")).items():
        limit = limits.get(resource)
        shown = plan_pod.format_amount(resource, bound)
        if limit is None:
            yield f"LimitRange {limit_range} allows at most {shown} {resource}, and {what} has no limit"
        elif limit > bound:
            asked = plan_pod.format_amount(resource, limit)
            yield f"LimitRange {limit_range} allows at most {shown} {resource}, and {what} has the limit {asked}"
    for resource, bound in plan_pod.read_amounts(item.get("min")).items():
        if requests.get(resource, 0.0) < bound:
            shown, asked = (plan_pod.format_amount(resource, value) for value in (bound, requests.get(resource, 0.0)))
            yield f"LimitRange {limit_range} asks for at least {shown} {resource}, and {what} requests {asked}"
    for resource, ratio in plan_pod.read_amounts(item.get("maxLimitRequestRatio")).items():
        request, limit = requests.get(resource), limits.get(resource)
        if not request or limit is None or limit / request > ratio:
            most = f"at most {ratio:g} times its request of {resource}"
            yield f"LimitRange {limit_range} allows a limit of {most}, and {what} has another"


def _list_impossible(pod: Object) -> list[str]:
    """A request above a limit that was added to it."""
    found = []
    for container in plan_pod.iterate_containers(pod):
        said = container.get("resources") or {}
        limits = plan_pod.read_amounts(said.get("limits"))
        for resource, amount in plan_pod.read_amounts(said.get("requests")).items():
            if resource in limits and amount > limits[resource]:
                asked, limit = (plan_pod.format_amount(resource, value) for value in (amount, limits[resource]))
                found.append(f"container {container['name']} requests {asked} {resource} above its limit of {limit}")
    return found
