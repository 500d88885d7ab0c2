# requirements: flexcore_kubernetes
"""Requests and limits of containers that say none: a LimitRange of the namespace decides where it speaks of them, else
ours hold.

    short form without cpu or memory ─build→ our defaults ─settle→ the Job as it is to be created
What a form says itself has equal requests and limits, by which ours are told from it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes import pod_spec
from f.flexcore.lib.kubernetes_api import api_errors, client

Object = dict[str, Any]
# Of a LimitRange's item: each of them says something of a resource.
BOUNDS = ("default", "defaultRequest", "max", "min", "maxLimitRequestRatio")


def settle(kubernetes: client.Kubernetes, namespace: str, job: Object) -> Object:
    """The Job with the namespace's amounts in place of our defaults. Asks nothing where the form says all itself; a
    LimitRange that may not be seen counts as none."""
    containers = [container for _, container in pod_spec.iterate_containers(job["spec"])]
    if not any(list_defaults(container) for container in containers):
        return job
    call = api_errors.Call("list", "limitranges", namespace)
    try:
        ranges = kubernetes.list(f"/api/v1/namespaces/{namespace}/limitranges", {}, call).get("items") or []
    except (errors.Forbidden, errors.NotFound):
        return job
    return yield_to(job, ranges)


def yield_to(job: Object, ranges: Sequence[Mapping[str, Any]]) -> Object:
    """The Job without our defaults of what LimitRanges of containers speak of."""
    said = {
        resource
        for limit_range in ranges
        for item in (limit_range.get("spec") or {}).get("limits") or ()
        if item.get("type") == "Container"
        for bound in BOUNDS
        for resource in item.get(bound) or ()
    }
    if not said:
        return job
    job = copy.deepcopy(job)
    for _, container in pod_spec.iterate_containers(job["spec"]):
        for resource in said & set(list_defaults(container)):
            for amounts in container["resources"].values():
                del amounts[resource]
    return job


def list_defaults(container: Mapping[str, Any]) -> list[str]:
    """The resources of which it has our defaults."""
    amounts = container.get("resources") or {}
    requests, limits = amounts.get("requests") or {}, amounts.get("limits") or {}
    return [
        resource
        for resource, request in pod_spec.DEFAULT_REQUESTS.items()
        if (requests.get(resource), limits.get(resource)) == (request, pod_spec.DEFAULT_LIMITS[resource])
    ]
