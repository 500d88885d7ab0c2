# requirements: flexcore_kubernetes
"""Health of a cluster, and what may be done there: rights, quotas, free capacity. Changes nothing; what a certain Job
or deployment would meet there is in plan_*.

Without a needed right an operation fails; without a helpful one it can say less, or not do what few ask for.
resources/kubernetes/rbac.yaml grants exactly these.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from f.flexcore.lib.core import contracts, dimensions, errors, identity, operation
from f.flexcore.lib.kubernetes import connection, plan_pod
from f.flexcore.lib.kubernetes_api import api_errors, client, expiry, finalizers, job_status

Object = Mapping[str, Any]

# Several questions at once: a distant API server answers each after 50 ms or more.
MAX_CONCURRENT_REVIEWS = 6
# A list of all pods of a large cluster is a burden for its API server; beyond this the free amounts are not measured.
MAX_PODS = 2000
NOT_MEASURED = dict.fromkeys(("nodes", "cpu", "memory_bytes", "free_cpu", "free_memory_bytes"))
REVIEWS_PATH = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


# --- rights


@dataclass(frozen=True, slots=True)
class Right:
    verb: str
    group: str
    resource: str
    subresource: str = ""

    def __str__(self) -> str:
        name = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{self.verb} {name}{'/' + self.subresource if self.subresource else ''}"

    def to_review(self, namespace: str) -> dict[str, Any]:
        """The SelfSubjectAccessReview that asks for it."""
        attributes = {"namespace": namespace, "verb": self.verb, "group": self.group, "resource": self.resource}
        attributes |= {"subresource": self.subresource} if self.subresource else {}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
        return {**review, "spec": {"resourceAttributes": attributes}}


def _list_rights(verbs: str, group: str, resource: str, subresource: str = "") -> list[Right]:
    return [Right(verb, group, resource, subresource) for verb in verbs.split()]


WATCHING = [*_list_rights("list watch", "", "pods")]
EXPLAINING = [*_list_rights("get", "", "pods", "log"), *_list_rights("list", "", "events")]
NEEDED: dict[str, list[Right]] = {
    "job": [*_list_rights("get list watch create delete", "batch", "jobs"), *WATCHING],
    "deploy": [
        *_list_rights("get list watch create patch delete", "apps", "deployments"),
        *_list_rights("list", "apps", "replicasets"),
        *_list_rights("get create patch delete", "", "services"),
        *_list_rights("get list create delete", "", "configmaps"),
        *_list_rights("get create patch delete", "", "secrets"),
        *_list_rights("get create patch delete", "", "serviceaccounts"),
        *_list_rights("get create patch delete", "networking.k8s.io", "networkpolicies"),
        *WATCHING,
    ],
}
# A Job that is given `secrets` gets a Secret of its own, and a manifest's ConfigMaps and Secrets are created with it.
HELPFUL: dict[str, list[Right]] = {
    "job": [
        *EXPLAINING,
        *_list_rights("create", "", "secrets"),
        *_list_rights("create", "", "configmaps"),
        *_list_rights("list", "", "limitranges"),
        *_list_rights("list", "kueue.x-k8s.io", "workloads"),
        *_list_rights("get", "kueue.x-k8s.io", "localqueues"),
    ],
    "deploy": [
        *EXPLAINING,
        *_list_rights("get create", "", "services", "proxy"),
        *_list_rights("list", "", "services"),
        *_list_rights("get list create patch delete", "autoscaling", "horizontalpodautoscalers"),
        *_list_rights("get create patch delete", "policy", "poddisruptionbudgets"),
        *_list_rights("get list create patch delete", "serving.kserve.io", "inferenceservices"),
        *_list_rights("get create patch delete", "keda.sh", "scaledobjects"),
        *_list_rights("list", "argoproj.io", "rollouts"),
    ],
}


def check_cluster(cluster: Any, namespace: str, operation: str, settings: Any) -> dict[str, Any]:
    """The plain result of kubernetes/check_cluster. Raises InvalidInput, Unreachable, Forbidden or NotFound."""
    chosen = errors.check_value(str, operation or "job", "operation")
    if chosen not in NEEDED:
        raise errors.InvalidInput(
            f"operation: {chosen!r} is not known", subject="operation", remedy=f"Use one of {', '.join(NEEDED)}."
        )
    session = connection.connect(cluster, namespace, settings)
    key = identity.execution_key(os.environ)
    return inspect_cluster(session.kubernetes, session.namespace, chosen, key).plain()


# --- questions


def health(place: str, resource: Any, namespace: str = "") -> operation.Health:
    """Raises FlexcoreError when it is down. Each operation's rights are asked for by SelfSubjectAccessReview."""
    session = connection.connect(resource, "", {"namespace": namespace} if namespace else None)
    kubernetes, chosen = session.kubernetes, session.namespace
    version = client.read_version(kubernetes).get("gitVersion")
    check_namespace(kubernetes, chosen)
    allowed, problems = [], []
    for name in NEEDED:
        try:
            missing = find_missing_rights(kubernetes, chosen, name)
        except errors.Forbidden as error:
            if error.category == "credentials":
                raise
            problems.append(str(error))
            continue
        allowed.append(name)
        problems += [f"Helpful for {name}: {right}" for right in missing]
    problems += expiry.describe_credentials(kubernetes.access, kubernetes.now())["warnings"]
    measured = measure_nodes(kubernetes) or NOT_MEASURED
    return operation.Health(
        runtime="kubernetes",
        place=place,
        state="down" if not allowed else "limited" if problems else "ready",
        version=version,
        cpus_free=measured["free_cpu"],
        cpus_total=measured["cpu"],
        memory_free=measured["free_memory_bytes"],
        queue=count_unfinished_jobs(kubernetes, chosen),
        detail="; ".join(problems),
        capabilities={
            "namespace": chosen,
            "operations": allowed,
            "quotas": list_quotas(kubernetes, chosen),
        },
    )


def count_unfinished_jobs(kubernetes: client.Kubernetes, namespace: str) -> int | None:
    """Jobs in the namespace that have not ended; None when they may not be listed."""
    jobs = list_visible(
        kubernetes, f"/apis/batch/v1/namespaces/{namespace}/jobs", api_errors.Call("list", "jobs.batch", namespace)
    )
    return None if jobs is None else sum(not job_status.find_verdict(job) for job in jobs)


def inspect_cluster(
    kubernetes: client.Kubernetes, namespace: str, operation: str, key: identity.ExecutionKey
) -> contracts.StepResult:
    """Raises Unreachable, Forbidden (naming the missing rights) or NotFound (namespace)."""
    version = client.read_version(kubernetes).get("gitVersion")
    exists = check_namespace(kubernetes, namespace)
    missing = find_missing_rights(kubernetes, namespace, operation)
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
            "credentials": expiry.describe_credentials(kubernetes.access, kubernetes.now()),
            "quotas": list_quotas(kubernetes, namespace),
        },
        metrics=measure_nodes(kubernetes) or NOT_MEASURED,
    )


def find_missing_rights(kubernetes: client.Kubernetes, namespace: str, operation: str) -> list[str]:
    """The helpful ones that are missing. Raises Forbidden when a needed one is."""
    with ThreadPoolExecutor(MAX_CONCURRENT_REVIEWS) as pool:
        rights = list_rights(operation)
        answers = dict(
            zip(rights, pool.map(lambda right: is_allowed(kubernetes, right, namespace), rights), strict=True)
        )
    missing = judge_rights(answers, namespace, operation)
    return [str(right) for right in drop_unserved(missing, read_served(kubernetes) if missing else None)]


def list_rights(operation: str) -> list[Right]:
    return [*NEEDED[operation], *HELPFUL[operation]]


def judge_rights(answers: Mapping[Right, bool], namespace: str, operation: str) -> list[Right]:
    """The helpful rights that are missing. Raises Forbidden when a needed one is."""
    missing = [right for right in NEEDED[operation] if not answers[right]]
    if missing:
        raise errors.Forbidden(
            f"Not allowed in namespace {namespace}: {', '.join(map(str, missing))}",
            subject=str(missing[0]),
            remedy=api_errors.RIGHTS,
            missing=[str(right) for right in missing],
        )
    return [right for right in HELPFUL[operation] if not answers[right]]


def drop_unserved(rights: Iterable[Right], served: Container[str] | None) -> list[Right]:
    """Without those of operators that the cluster does not have. served: its API groups; None: not known."""
    return [right for right in rights if served is None or not right.group or right.group in served]


def read_served(kubernetes: client.Kubernetes) -> Container[str] | None:
    """The API groups; None where they may not be seen."""
    # Asked for where a right is missing, alone.
    from f.flexcore.lib.kubernetes_api import api_groups

    try:
        return api_groups.read_api_groups(kubernetes)
    except errors.UserError:
        return None


def list_quotas(kubernetes: client.Kubernetes, namespace: str) -> list[dict[str, Any]] | None:
    """What the namespace's quotas still allow; None when they may not be seen."""
    call = api_errors.Call("list", "resourcequotas", namespace)
    limits = list_visible(kubernetes, f"/api/v1/namespaces/{namespace}/resourcequotas", call)
    return None if limits is None else describe_quotas(limits)


def check_namespace(kubernetes: client.Kubernetes, namespace: str) -> bool | None:
    """True, or None when the credentials may not look. Raises NotFound, or Conflict for one that is being deleted."""
    try:
        stored = kubernetes.get(f"/api/v1/namespaces/{namespace}", api_errors.Call("get", "namespaces", "", namespace))
    except errors.Forbidden as error:
        if error.category == "credentials":
            raise
        return None
    if stored is None:
        raise errors.NotFound(
            f"Namespace {namespace} does not exist",
            subject="namespace",
            remedy=f"Create it (kubectl create namespace {namespace}) or choose another.",
        )
    if detail := finalizers.describe_terminating(stored):
        raise api_errors.to_terminating_error(namespace, detail)
    return True


def is_allowed(kubernetes: client.Kubernetes, right: Right, namespace: str) -> bool:
    answer = kubernetes.review(
        REVIEWS_PATH, right.to_review(namespace), api_errors.Call("create", "selfsubjectaccessreviews")
    )
    return bool((answer.get("status") or {}).get("allowed"))


def measure_nodes(kubernetes: client.Kubernetes) -> Mapping[str, float | int | None] | None:
    """Capacity, or None when nodes may not be seen."""
    nodes = list_visible(kubernetes, "/api/v1/nodes", api_errors.Call("list", "nodes"))
    if nodes is None:
        return None
    query: dict[str, str | int] = {"fieldSelector": "status.phase!=Succeeded,status.phase!=Failed", "limit": MAX_PODS}
    return measure_capacity(
        schedulable_nodes(nodes), list_visible(kubernetes, "/api/v1/pods", api_errors.Call("list", "pods"), query)
    )


def list_visible(
    kubernetes: client.Kubernetes, path: str, call: api_errors.Call, query: Mapping[str, str | int] | None = None
) -> list[dict[str, Any]] | None:
    """The whole list; None when it may not be read or does not end at its limit."""
    try:
        page = kubernetes.list(path, query or {}, call)
    except errors.FlexcoreError:
        return None
    return None if (page.get("metadata") or {}).get("continue") else list(page.get("items") or [])


# --- capacity


def describe_quotas(items: Iterable[Object]) -> list[dict[str, Any]]:
    """What each ResourceQuota still allows: {name, resource, hard, used}, as the cluster writes it."""
    quotas = []
    for item in items:
        status = item.get("status") or {}
        for resource, hard in sorted((status.get("hard") or {}).items()):
            used = (status.get("used") or {}).get(resource)
            quotas.append({"name": item["metadata"]["name"], "resource": resource, "hard": hard, "used": used})
    return quotas


def schedulable_nodes(nodes: Iterable[Object]) -> list[Object]:
    """Nodes that take new pods."""
    kept = []
    for node in nodes:
        conditions = (node.get("status") or {}).get("conditions") or ()
        ready = any(entry.get("type") == "Ready" and entry.get("status") == "True" for entry in conditions)
        if ready and not (node.get("spec") or {}).get("unschedulable"):
            kept.append(node)
    return kept


def measure_capacity(nodes: Sequence[Object], pods: Sequence[Object] | None) -> dict[str, float | int | None]:
    """Cores and bytes that these nodes offer, and what of it no pod reserves (pods None: not measured)."""
    names = {node["metadata"]["name"] for node in nodes}
    offered = [_cpu_and_memory((node.get("status") or {}).get("allocatable") or {}) for node in nodes]
    cpu, memory = sum(item[0] for item in offered), sum(item[1] for item in offered)
    measured: dict[str, float | int | None] = {"nodes": len(nodes), "cpu": cpu, "memory_bytes": memory}
    if pods is None:
        return {**measured, "free_cpu": None, "free_memory_bytes": None}
    mine = [pod for pod in pods if (pod.get("spec") or {}).get("nodeName") in names]
    held = plan_pod.sum_all(mine)
    free = cpu - held.get("cpu", 0.0), memory - held.get("memory", 0.0)
    return {**measured, "free_cpu": round(free[0], 3), "free_memory_bytes": free[1]}


def _cpu_and_memory(resources: Object) -> tuple[float, float]:
    return dimensions.parse_amount(resources.get("cpu", 0)) or 0.0, dimensions.parse_amount(
        resources.get("memory", 0)
    ) or 0.0
