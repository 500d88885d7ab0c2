# requirements: flexcore_kubernetes
"""What an operation needs of a cluster, and what the cluster says of itself. Pure.

`needed` without a right the operation fails; `helpful` only lessens what it can tell, or
allows what few ask for.
resources/kubernetes/rbac.yaml grants exactly these.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from f.flexcore.lib.core import dimensions, errors

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Right:
    verb: str
    group: str
    resource: str
    subresource: str = ""

    def __str__(self) -> str:
        name = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{self.verb} {name}{'/' + self.subresource if self.subresource else ''}"

    def question(self, namespace: str) -> dict[str, Any]:
        """The SelfSubjectAccessReview that asks for it."""
        asked = {"namespace": namespace, "verb": self.verb, "group": self.group, "resource": self.resource}
        attributes = asked | ({"subresource": self.subresource} if self.subresource else {})
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
        return {**review, "spec": {"resourceAttributes": attributes}}


def _rights(verbs: str, group: str, resource: str, subresource: str = "") -> list[Right]:
    return [Right(verb, group, resource, subresource) for verb in verbs.split()]


WATCHED = [*_rights("list watch", "", "pods")]
TOLD = [*_rights("get", "", "pods", "log"), *_rights("list", "", "events")]
NEEDED: dict[str, list[Right]] = {
    "job": [*_rights("get list watch create delete", "batch", "jobs"), *WATCHED],
    "deploy": [
        *_rights("get list watch create update delete", "apps", "deployments"),
        *_rights("list", "apps", "replicasets"),
        *_rights("get create update", "", "services"),
        *_rights("get list create delete", "", "configmaps"),
        *_rights("get create update", "", "secrets"),
        *WATCHED,
    ],
}
# A Job that is given `secrets` gets a Secret of its own, and a manifest's ConfigMaps and Secrets are created with it.
HELPFUL: dict[str, list[Right]] = {
    "job": [*TOLD, *_rights("create", "", "secrets"), *_rights("create", "", "configmaps")],
    "deploy": [*TOLD, *_rights("get create", "", "services", "proxy")],
}


def check_operation(operation: str) -> None:
    if operation not in NEEDED:
        raise errors.InvalidInput(
            f"operation: {operation!r} is none", subject="operation", remedy=f"Use one of: {', '.join(NEEDED)}."
        )


def amount(text: Any) -> float | None:
    """A quantity of a status: cores or bytes; None when it is in no form that we know."""
    return dimensions.parse_amount(str(text).strip())


def quotas(items: Iterable[Object]) -> list[dict[str, Any]]:
    """What each ResourceQuota still allows: {name, resource, hard, used}, as the cluster writes it."""
    found = []
    for item in items:
        status = item.get("status") or {}
        for resource, hard in sorted((status.get("hard") or {}).items()):
            used = (status.get("used") or {}).get(resource)
            found.append({"name": item["metadata"]["name"], "resource": resource, "hard": hard, "used": used})
    return found


def schedulable(nodes: Iterable[Object]) -> list[Object]:
    """Nodes that take new pods."""
    found = []
    for node in nodes:
        conditions = (node.get("status") or {}).get("conditions") or ()
        ready = any(entry.get("type") == "Ready" and entry.get("status") == "True" for entry in conditions)
        if ready and not (node.get("spec") or {}).get("unschedulable"):
            found.append(node)
    return found


def capacity(nodes: Sequence[Object], pods: Sequence[Object] | None) -> dict[str, float | int | None]:
    """Cores and bytes that these nodes offer, and what of it no pod reserves (pods None: not measured)."""
    names = {node["metadata"]["name"] for node in nodes}
    offered = [_sums((node.get("status") or {}).get("allocatable") or {}) for node in nodes]
    cpu, memory = sum(item[0] for item in offered), sum(item[1] for item in offered)
    measured: dict[str, float | int | None] = {"nodes": len(nodes), "cpu": cpu, "memory_bytes": memory}
    if pods is None:
        return {**measured, "free_cpu": None, "free_memory_bytes": None}
    mine = [pod for pod in pods if (pod.get("spec") or {}).get("nodeName") in names]
    asked = [_asked(pod) for pod in mine]
    free = (cpu - sum(item[0] for item in asked), memory - sum(item[1] for item in asked))
    return {**measured, "free_cpu": round(free[0], 3), "free_memory_bytes": free[1]}


def _asked(pod: Object) -> tuple[float, float]:
    """What a pod reserves: its containers together, or its greediest first container."""
    spec = pod["spec"]
    main = [_sums((item.get("resources") or {}).get("requests") or {}) for item in spec.get("containers") or ()]
    first = [_sums((item.get("resources") or {}).get("requests") or {}) for item in spec.get("initContainers") or ()]
    return (
        max([sum(item[0] for item in main), *(item[0] for item in first)]),
        max([sum(item[1] for item in main), *(item[1] for item in first)]),
    )


def _sums(resources: Object) -> tuple[float, float]:
    return amount(resources.get("cpu", 0)) or 0.0, amount(resources.get("memory", 0)) or 0.0
