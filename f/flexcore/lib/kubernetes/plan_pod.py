# requirements: flexcore_kubernetes
"""What a pod asks of a node and of a quota, counted as scheduler and quota count it. Pure.

per resource: max(containers + sidecars, each init container + the sidecars before it), what the pod itself says in
place of it, plus the overhead of its RuntimeClass
Source: k8s.io/component-helpers/resource/helpers.go, pkg/quota/v1/evaluator/core/pods.go
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from f.flexcore.lib.core import dimensions

Object = Mapping[str, Any]
Amounts = dict[str, float]

REQUESTS, LIMITS = "requests", "limits"
ENDED = ("Succeeded", "Failed")
# Of these alone a pod may speak as a whole.
POD_LEVEL = ("cpu", "memory")


def sum_requests(pod: Object) -> Amounts:
    """Cores, bytes and devices that the pod reserves on its node. pod: with spec, and status where it runs."""
    return _sum(pod, REQUESTS)


def sum_limits(pod: Object) -> Amounts:
    return _sum(pod, LIMITS)


def _sum(pod: Object, field: str) -> Amounts:
    spec = pod.get("spec") or {}
    running = _running_amounts(pod) if field == REQUESTS else {}
    total: Amounts = {}
    for container in spec.get("containers") or ():
        add(total, _container_amounts(container, field, running))
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.get("initContainers") or ():
        amounts = _container_amounts(container, field, running)
        if container.get("restartPolicy") == "Always":
            add(sidecars, amounts)
            amounts = {}
        raise_to(peak, add(dict(amounts), sidecars))
    add(total, sidecars)
    raise_to(total, peak)
    whole = read_amounts((spec.get("resources") or {}).get(field))
    total |= {name: amount for name, amount in whole.items() if name in POD_LEVEL or name.startswith("hugepages-")}
    return add(total, read_amounts(spec.get("overhead")))


def _container_amounts(container: Object, field: str, running: Mapping[str, Amounts]) -> Amounts:
    """What the container says; a request that it leaves out is its limit."""
    said = container.get("resources") or {}
    amounts = read_amounts(said.get(field))
    if field == REQUESTS:
        amounts = {**read_amounts(said.get(LIMITS)), **amounts}
        # One that is being resized holds the larger of both.
        raise_to(amounts, running.get(str(container.get("name")), {}))
    return amounts


def _running_amounts(pod: Object) -> dict[str, Amounts]:
    status = pod.get("status") or {}
    items = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    return {
        str(item.get("name")): read_amounts(item["allocatedResources"])
        for item in items
        if item.get("allocatedResources")
    }


# --- amounts


def read_amounts(value: Object | None) -> Amounts:
    """Quantities as numbers; what is none is left out, since the API server tells it."""
    amounts = {name: parse_amount(str(item)) for name, item in (value or {}).items()}
    return {name: amount for name, amount in amounts.items() if amount is not None}


@lru_cache(maxsize=4096)
def parse_amount(text: str) -> float | None:
    return dimensions.parse_amount(text)


def add(total: Amounts, amounts: Mapping[str, float], times: float = 1) -> Amounts:
    for name, amount in amounts.items():
        total[name] = total.get(name, 0.0) + amount * times
    return total


def raise_to(total: Amounts, amounts: Mapping[str, float]) -> None:
    for name, amount in amounts.items():
        total[name] = max(total.get(name, 0.0), amount)


def format_amount(resource: str, amount: float) -> str:
    """`500m`, `2`, `512Mi`: as a manifest has it."""
    if resource == "cpu" or resource.endswith(".cpu"):
        return f"{amount:g}" if float(amount).is_integer() else f"{round(amount * 1000)}m"
    if is_bytes(resource):
        for unit in ("Gi", "Mi", "Ki"):
            if abs(amount) >= dimensions.BINARY[unit]:
                return f"{round(amount / dimensions.BINARY[unit], 1):g}{unit}"
    return f"{amount:g}"


def is_bytes(resource: str) -> bool:
    name = resource.removeprefix("requests.").removeprefix("limits.")
    return name in dimensions.BYTE_RESOURCES or name.startswith("hugepages-")


# --- other things of a pod that a scheduler or a quota looks at


def has_ended(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") in ENDED


def iterate_containers(pod: Object) -> Iterator[Object]:
    spec = pod.get("spec") or {}
    yield from spec.get("initContainers") or ()
    yield from spec.get("containers") or ()


def is_best_effort(pod: Object) -> bool:
    """Whether no container asks for processors or memory: such pods are evicted first."""
    said = [item.get("resources") or {} for item in iterate_containers(pod)]
    said.append((pod.get("spec") or {}).get("resources") or {})
    return not any(read_amounts(item.get(field)).keys() & {*POD_LEVEL} for item in said for field in (REQUESTS, LIMITS))


def list_host_ports(pod: Object) -> set[tuple[str, str, int]]:
    """(address, protocol, port) on the node."""
    network = bool((pod.get("spec") or {}).get("hostNetwork"))
    return {
        (
            str(port.get("hostIP") or "0.0.0.0"),
            str(port.get("protocol") or "TCP"),
            int(port.get("hostPort") or port["containerPort"]),
        )
        for container in iterate_containers(pod)
        for port in container.get("ports") or ()
        if port.get("hostPort") or (network and port.get("containerPort"))
    }


def conflicts(mine: set[tuple[str, str, int]], other: set[tuple[str, str, int]]) -> list[int]:
    """The ports that two pods of one node would both have; an address of 0.0.0.0 is every address."""
    return sorted(
        {
            port
            for address, protocol, port in mine
            for held, its_protocol, its_port in other
            if (protocol, port) == (its_protocol, its_port) and (address == held or "0.0.0.0" in (address, held))
        }
    )


def is_daemon(pod: Object) -> bool:
    """Of a DaemonSet or of the node itself: it is on every such node, and does not go away by itself."""
    owners = (pod.get("metadata") or {}).get("ownerReferences") or ()
    return any(owner.get("kind") in ("DaemonSet", "Node") for owner in owners)


def sum_all(pods: Sequence[Object]) -> Amounts:
    total: Amounts = {}
    for pod in pods:
        add(total, sum_requests(pod))
    return total
