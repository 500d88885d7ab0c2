# requirements: flexcore_kubernetes
"""Looks a cluster over before work is sent to it. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from f.flexcore.lib.core import contracts, errors, identity
from f.flexcore.lib.kubernetes import api_errors, client, preflight

# Several questions at once: a distant API server answers each after 50 ms or more.
AT_ONCE = 6
# A list of all pods of a large cluster is a burden for its API server; beyond this the free amounts are not measured.
MAX_PODS = 2000
NOT_MEASURED = dict.fromkeys(("nodes", "cpu", "memory_bytes", "free_cpu", "free_memory_bytes"))
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


def inspect_cluster(
    kubernetes: client.Kubernetes, namespace: str, operation: str, key: identity.ExecutionKey
) -> contracts.StepResult:
    """Raises Unreachable, Forbidden (naming the missing rights) or NotFound (namespace)."""
    version = client.ready(kubernetes).get("gitVersion")
    exists = namespace_exists(kubernetes, namespace)
    missing = missing_rights(kubernetes, namespace, operation)
    return contracts.StepResult(
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


def missing_rights(kubernetes: client.Kubernetes, namespace: str, operation: str) -> list[str]:
    """The helpful ones that are missing. Raises Forbidden when a needed one is."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        rights = [*preflight.NEEDED[operation], *preflight.HELPFUL[operation]]
        answers = dict(zip(rights, pool.map(lambda right: allowed(kubernetes, right, namespace), rights), strict=True))
    missing = [right for right in preflight.NEEDED[operation] if not answers[right]]
    if missing:
        raise errors.Forbidden(
            f"Not allowed in namespace {namespace}: {', '.join(map(str, missing))}",
            subject=str(missing[0]),
            remedy=api_errors.RIGHTS,
            missing=[str(right) for right in missing],
        )
    return [str(right) for right in preflight.HELPFUL[operation] if not answers[right]]


def allowances(kubernetes: client.Kubernetes, namespace: str) -> list[dict[str, Any]] | None:
    """What the namespace's quotas still allow; None when they may not be seen."""
    call = api_errors.Call("list", "resourcequotas", namespace)
    limits = visible(kubernetes, f"/api/v1/namespaces/{namespace}/resourcequotas", call)
    return None if limits is None else preflight.quotas(limits)


def namespace_exists(kubernetes: client.Kubernetes, namespace: str) -> bool | None:
    """True, or None when the credentials may not look. Raises NotFound."""
    try:
        found = kubernetes.get(f"/api/v1/namespaces/{namespace}", api_errors.Call("get", "namespaces", "", namespace))
    except errors.Forbidden as error:
        if error.category == "credentials":
            raise
        return None
    if found is None:
        raise errors.NotFound(
            f"Namespace {namespace} does not exist",
            subject="namespace",
            remedy=f"Create it (kubectl create namespace {namespace}) or choose another.",
        )
    return True


def allowed(kubernetes: client.Kubernetes, right: preflight.Right, namespace: str) -> bool:
    answer = kubernetes.review(
        REVIEWS, right.question(namespace), api_errors.Call("create", "selfsubjectaccessreviews")
    )
    return bool((answer.get("status") or {}).get("allowed"))


def nodes(kubernetes: client.Kubernetes) -> Mapping[str, float | int | None] | None:
    """Capacity, or None when nodes may not be seen."""
    found = visible(kubernetes, "/api/v1/nodes", api_errors.Call("list", "nodes"))
    if found is None:
        return None
    query: dict[str, str | int] = {"fieldSelector": "status.phase!=Succeeded,status.phase!=Failed", "limit": MAX_PODS}
    return preflight.capacity(
        preflight.schedulable(found), visible(kubernetes, "/api/v1/pods", api_errors.Call("list", "pods"), query)
    )


def visible(
    kubernetes: client.Kubernetes, path: str, call: api_errors.Call, query: Mapping[str, str | int] | None = None
) -> list[dict[str, Any]] | None:
    """The whole list; None when it may not be read or does not end at its limit."""
    try:
        page = kubernetes.list(path, query or {}, call)
    except errors.FlexcoreError:
        return None
    return None if (page.get("metadata") or {}).get("continue") else list(page.get("items") or [])
