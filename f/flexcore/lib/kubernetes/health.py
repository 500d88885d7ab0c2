# requirements: flexcore_kubernetes
"""How a Kubernetes cluster is, in the namespace of its resource."""

from __future__ import annotations

from typing import Any

from f.flexcore.lib.core import errors, runtime_health
from f.flexcore.lib.kubernetes import api_errors, client, cluster_info, connection, job_conditions, preflight


def health(place: str, resource: Any, namespace: str = "") -> runtime_health.Health:
    """Raises FlexcoreError when it is down. Each operation's rights are asked for by SelfSubjectAccessReview."""
    session = connection.connect(resource, "", {"namespace": namespace} if namespace else None)
    kubernetes, chosen = session.kubernetes, session.namespace
    version = client.ready(kubernetes).get("gitVersion")
    cluster_info.namespace_exists(kubernetes, chosen)
    allowed, problems = [], []
    for operation in preflight.NEEDED:
        try:
            missing = cluster_info.missing_rights(kubernetes, chosen, operation)
        except errors.Forbidden as error:
            if error.category == "credentials":
                raise
            problems.append(str(error))
            continue
        allowed.append(operation)
        problems += [f"Helpful for {operation}: {right}" for right in missing]
    measured = cluster_info.nodes(kubernetes) or cluster_info.NOT_MEASURED
    return runtime_health.Health(
        runtime="kubernetes",
        place=place,
        state="down" if not allowed else "limited" if problems else "ready",
        version=version,
        cpus_free=measured["free_cpu"],
        cpus_total=measured["cpu"],
        memory_free=measured["free_memory_bytes"],
        queue=unfinished(kubernetes, chosen),
        detail="; ".join(problems),
        capabilities={
            "namespace": chosen,
            "operations": allowed,
            "quotas": cluster_info.allowances(kubernetes, chosen),
        },
    )


def unfinished(kubernetes: client.Kubernetes, namespace: str) -> int | None:
    """Jobs in the namespace that have not ended; None when they may not be listed."""
    found = cluster_info.visible(
        kubernetes, f"/apis/batch/v1/namespaces/{namespace}/jobs", api_errors.Call("list", "jobs.batch", namespace)
    )
    return None if found is None else sum(not job_conditions.verdict(item) for item in found)
