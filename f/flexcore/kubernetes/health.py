# requirements: flexcore_kubernetes
# py: ==3.11.*
"""How a Kubernetes cluster is, in the namespace of its resource."""

from __future__ import annotations

from typing import Any

from f.flexcore.core.errors import Forbidden
from f.flexcore.core.health import Health
from f.flexcore.kubernetes.client import Kubernetes, ready
from f.flexcore.kubernetes.failures import Call
from f.flexcore.kubernetes.inspection import (
    NOT_MEASURED,
    allowances,
    missing_rights,
    namespace_exists,
    nodes,
    visible,
)
from f.flexcore.kubernetes.job_conditions import verdict
from f.flexcore.kubernetes.preflight import NEEDED
from f.flexcore.kubernetes.session import connect


def health(place: str, resource: Any, namespace: str = "") -> Health:
    """Raises FlexcoreError when it is down. Each operation's rights are asked for by SelfSubjectAccessReview."""
    session = connect(resource, "", {"namespace": namespace} if namespace else None)
    kubernetes, chosen = session.kubernetes, session.namespace
    version = ready(kubernetes).get("gitVersion")
    namespace_exists(kubernetes, chosen)
    allowed, problems = [], []
    for operation in NEEDED:
        try:
            missing = missing_rights(kubernetes, chosen, operation)
        except Forbidden as error:
            if error.category == "credentials":
                raise
            problems.append(str(error))
            continue
        allowed.append(operation)
        problems += [f"Helpful for {operation}: {right}" for right in missing]
    measured = nodes(kubernetes) or NOT_MEASURED
    return Health(
        runtime="kubernetes",
        place=place,
        state="down" if not allowed else "limited" if problems else "ready",
        version=version,
        cpus_free=measured["free_cpu"],
        cpus_total=measured["cpu"],
        memory_free=measured["free_memory_bytes"],
        queue=unfinished(kubernetes, chosen),
        detail="; ".join(problems),
        capabilities={"namespace": chosen, "operations": allowed, "quotas": allowances(kubernetes, chosen)},
    )


def unfinished(kubernetes: Kubernetes, namespace: str) -> int | None:
    """Jobs in the namespace that have not ended; None when they may not be listed."""
    found = visible(kubernetes, f"/apis/batch/v1/namespaces/{namespace}/jobs", Call("list", "jobs.batch", namespace))
    return None if found is None else sum(not verdict(item) for item in found)
