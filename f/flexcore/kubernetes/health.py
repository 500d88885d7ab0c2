# requirements: flexcore_kubernetes
# py: ==3.11.*
"""How a Kubernetes cluster is, in the namespace of its resource."""

from __future__ import annotations

import os
from typing import Any

from f.flexcore.core.errors import Forbidden
from f.flexcore.core.health import Health
from f.flexcore.core.identity import execution_key
from f.flexcore.kubernetes.client import Kubernetes
from f.flexcore.kubernetes.diagnosis import verdict
from f.flexcore.kubernetes.failures import Call
from f.flexcore.kubernetes.inspection import inspect_cluster, visible
from f.flexcore.kubernetes.preflight import NEEDED
from f.flexcore.kubernetes.session import connect


def health(place: str, resource: Any, namespace: str = "") -> Health:
    """Raises FlexcoreError when it is down. Each operation's rights are asked for by SelfSubjectAccessReview."""
    session = connect(resource, "", {"namespace": namespace} if namespace else None)
    kubernetes, chosen, key = session.kubernetes, session.namespace, execution_key(os.environ)
    allowed, problems, data, metrics = [], [], {}, {}
    for operation in NEEDED:
        try:
            seen = inspect_cluster(kubernetes, chosen, operation, key)
        except Forbidden as error:
            if error.category == "credentials":
                raise
            problems.append(str(error))
            continue
        allowed.append(operation)
        data, metrics = seen.data, seen.metrics
        problems += [f"Helpful for {operation}: {right}" for right in seen.data["missing_rights"]]
    return Health(
        runtime="kubernetes",
        place=place,
        state="down" if not allowed else "limited" if problems else "ready",
        version=data.get("version"),
        cpus_free=metrics.get("free_cpu"),
        cpus_total=metrics.get("cpu"),
        memory_free=metrics.get("free_memory_bytes"),
        queue=unfinished(kubernetes, chosen),
        detail="; ".join(problems),
        capabilities={"namespace": chosen, "operations": allowed, "quotas": data.get("quotas")},
    )


def unfinished(kubernetes: Kubernetes, namespace: str) -> int | None:
    """Jobs in the namespace that have not ended; None when they may not be listed."""
    found = visible(kubernetes, f"/apis/batch/v1/namespaces/{namespace}/jobs", Call("list", "jobs.batch", namespace))
    return None if found is None else sum(not verdict(item) for item in found)
