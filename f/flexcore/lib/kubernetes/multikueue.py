# requirements: flexcore_kubernetes
"""Finds out whether a Job's queue sends it to other clusters, and hands it over: Kueue then starts it, and nobody else.

    Job's label queue-name → LocalQueue → ClusterQueue → AdmissionChecks → controllerName kueue.x-k8s.io/multikueue
A Job with managedBy is left alone by the Job controller of the cluster that it is created in. Kueue's webhook writes it
where it serves the namespace; without the webhook the Job would start here and there.
Source: kueue 0.17, pkg/controller/jobframework/defaults.go
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from f.flexcore.lib.kubernetes_api import api_errors, client, job_status, kueue_api

Object = dict[str, Any]
CONTROLLER = "kueue.x-k8s.io/multikueue"


def find_queue(job: Mapping[str, Any]) -> str:
    """The name of its LocalQueue; "" without one."""
    labels = (job.get("metadata") or {}).get("labels") or {}
    return next((str(labels[name]) for name in job_status.QUEUE_LABELS if labels.get(name)), "")


def is_dispatcher(kubernetes: client.Kubernetes, namespace: str, queue: str) -> bool:
    """Whether the queue sends its jobs to other clusters. False, too, where it cannot be told: without Kueue, or
    without the right to see queues. Raises what says that contact is lost."""
    version = kueue_api.find_version(kubernetes)
    if not version:
        return False
    read = partial(_read, kubernetes, version)
    local = read("localqueues", queue, namespace)
    name = ((local or {}).get("spec") or {}).get("clusterQueue")
    cluster_queue = read("clusterqueues", name) if name else None
    return any(
        ((read("admissionchecks", check) or {}).get("spec") or {}).get("controllerName") == CONTROLLER
        for check in list_checks(cluster_queue or {})
    )


def list_checks(cluster_queue: Mapping[str, Any]) -> list[str]:
    """The names of its AdmissionChecks, in either way that versions of Kueue write them."""
    spec = cluster_queue.get("spec") or {}
    named = [item.get("name") for item in (spec.get("admissionChecksStrategy") or {}).get("admissionChecks") or ()]
    return [str(name) for name in [*(spec.get("admissionChecks") or ()), *named] if name]


def hand_over(kubernetes: client.Kubernetes, namespace: str, job: Object) -> Object:
    """The Job as it is to be created: managed by MultiKueue where its queue dispatches, and suspended, as Kueue asks.
    Costs nothing without a queue."""
    queue = find_queue(job)
    if not queue or job["spec"].get("managedBy") or not is_dispatcher(kubernetes, namespace, queue):
        return job
    return {**job, "spec": {**job["spec"], "managedBy": CONTROLLER, "suspend": True}}


def _read(kubernetes: client.Kubernetes, version: str, plural: str, name: str, namespace: str = "") -> Object | None:
    where = f"/namespaces/{namespace}" if namespace else ""
    call = api_errors.Call("get", f"{plural}.kueue.x-k8s.io", namespace, name)
    code, payload = kubernetes.request_raw("GET", f"{kueue_api.GROUP}/{version}{where}/{plural}/{name}", None, call)
    if code == 429 or code >= 500:
        raise api_errors.to_error(code, payload, call)
    return payload if code == 200 and isinstance(payload, dict) else None
