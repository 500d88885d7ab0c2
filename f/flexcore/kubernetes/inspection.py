# requirements: flexcore_kubernetes
# py: ==3.11.*
"""Looks a cluster over before work is sent to it. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from f.flexcore.core.contracts import StepResult
from f.flexcore.core.errors import FlexcoreError, Forbidden, NotFound
from f.flexcore.core.identity import ExecutionKey
from f.flexcore.kubernetes.client import Kubernetes, ready
from f.flexcore.kubernetes.failures import RIGHTS, Call
from f.flexcore.kubernetes.preflight import HELPFUL, NEEDED, Right, capacity, quotas, schedulable

# Several questions at once: a distant API server answers each after 50 ms or more.
AT_ONCE = 6
# A list of all pods of a large cluster is a burden for its API server; beyond this the free amounts are not measured.
MOST_PODS = 2000
NOT_MEASURED = dict.fromkeys(("nodes", "cpu", "memory_bytes", "free_cpu", "free_memory_bytes"))
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


def inspect_cluster(kubernetes: Kubernetes, namespace: str, operation: str, key: ExecutionKey) -> StepResult:
    """Raises Unreachable, Forbidden (naming the missing rights) or NotFound (namespace)."""
    version = ready(kubernetes).get("gitVersion")
    exists = namespace_exists(kubernetes, namespace)
    missing = missing_rights(kubernetes, namespace, operation)
    return StepResult(
        success=True,
        runtime="kubernetes",
        execution_key=key.value,
        attempt=1,
        data={
            "version": version,
            "namespace": namespace,
            "namespace_exists": exists,
            "operation": operation,
            "missing_rights": missing,
            "quotas": allowances(kubernetes, namespace),
        },
        metrics=nodes(kubernetes) or NOT_MEASURED,
    )


def missing_rights(kubernetes: Kubernetes, namespace: str, operation: str) -> list[str]:
    """The helpful ones that are missing. Raises Forbidden when a needed one is."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        rights = [*NEEDED[operation], *HELPFUL[operation]]
        answers = dict(zip(rights, pool.map(lambda right: allowed(kubernetes, right, namespace), rights), strict=True))
    missing = [right for right in NEEDED[operation] if not answers[right]]
    if missing:
        raise Forbidden(
            f"Not allowed in namespace {namespace}: {', '.join(map(str, missing))}",
            subject=str(missing[0]),
            remedy=RIGHTS,
            missing=[str(right) for right in missing],
        )
    return [str(right) for right in HELPFUL[operation] if not answers[right]]


def allowances(kubernetes: Kubernetes, namespace: str) -> list[dict[str, Any]] | None:
    """What the namespace's quotas still allow; None when they may not be seen."""
    call = Call("list", "resourcequotas", namespace)
    limits = visible(kubernetes, f"/api/v1/namespaces/{namespace}/resourcequotas", call)
    return None if limits is None else quotas(limits)


def namespace_exists(kubernetes: Kubernetes, namespace: str) -> bool | None:
    """True, or None when the credentials may not look. Raises NotFound."""
    try:
        found = kubernetes.get(f"/api/v1/namespaces/{namespace}", Call("get", "namespaces", "", namespace))
    except Forbidden as error:
        if error.category == "credentials":
            raise
        return None
    if found is None:
        raise NotFound(
            f"Namespace {namespace} does not exist",
            subject="namespace",
            remedy=f"Create it (kubectl create namespace {namespace}) or choose another.",
        )
    return True


def allowed(kubernetes: Kubernetes, right: Right, namespace: str) -> bool:
    answer = kubernetes.review(REVIEWS, right.question(namespace), Call("create", "selfsubjectaccessreviews"))
    return bool((answer.get("status") or {}).get("allowed"))


def nodes(kubernetes: Kubernetes) -> Mapping[str, float | int | None] | None:
    """Capacity, or None when nodes may not be seen."""
    found = visible(kubernetes, "/api/v1/nodes", Call("list", "nodes"))
    if found is None:
        return None
    query: dict[str, str | int] = {"fieldSelector": "status.phase!=Succeeded,status.phase!=Failed", "limit": MOST_PODS}
    return capacity(schedulable(found), visible(kubernetes, "/api/v1/pods", Call("list", "pods"), query))


def visible(
    kubernetes: Kubernetes, path: str, call: Call, query: Mapping[str, str | int] | None = None
) -> list[dict[str, Any]] | None:
    """The whole list; None when it may not be read or does not end at its limit."""
    try:
        page = kubernetes.list(path, query or {}, call)
    except FlexcoreError:
        return None
    return None if (page.get("metadata") or {}).get("continue") else list(page.get("items") or [])
