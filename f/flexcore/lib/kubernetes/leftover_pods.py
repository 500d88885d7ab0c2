# requirements: flexcore_kubernetes
"""Pods of an execution whose Job is gone or going: waited for before its next attempt, as two must not write at once.

`kubectl delete job` takes the Job away at once and its pods only after their grace period.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from f.flexcore.lib.core import errors, identity
from f.flexcore.lib.kubernetes_api import api_errors, client, job_status

Object = dict[str, Any]
POLL_INTERVAL_S = 0.5
# Beyond a pod's own grace period: the kubelet's, and that of the garbage collector which marks it.
EXTRA_GRACE_S = 15.0


def wait_until_ended(
    kubernetes: client.Kubernetes,
    namespace: str,
    key: identity.ExecutionKey,
    report: Callable[[str], None],
    *,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> None:
    """Returns at once when there are none. Raises Unavailable when one does not end in its time."""
    since, reported = clock(), ""
    while left := _list_left(kubernetes, namespace, key):
        names = ", ".join(job_status.object_name(pod) for pod in left[:3])
        if names != reported:
            reported = names
            report(f"Pods of an earlier attempt still end ({names}); waiting until they have")
        grace = max((pod["spec"].get("terminationGracePeriodSeconds") or 0) for pod in left)
        if clock() - since >= grace + EXTRA_GRACE_S:
            raise errors.Unavailable(
                f"Pods of an earlier attempt have not ended ({names}), and two must not work at the same time",
                subject=names,
                category="pods_left",
                remedy="Run again when they are gone; see their node, which may not answer.",
            )
        sleep(POLL_INTERVAL_S)


def _list_left(kubernetes: client.Kubernetes, namespace: str, key: identity.ExecutionKey) -> list[Object]:
    call = api_errors.Call("list", "pods", namespace)
    page = kubernetes.list(f"/api/v1/namespaces/{namespace}/pods", {"labelSelector": f"flexcore/key={key.value}"}, call)
    pods = [
        pod
        for pod in page.get("items") or []
        if (pod.get("status") or {}).get("phase") not in job_status.TERMINAL_PHASES
    ]
    return [pod for pod in pods if pod["metadata"].get("deletionTimestamp") or not _has_job(kubernetes, namespace, pod)]


def _has_job(kubernetes: client.Kubernetes, namespace: str, pod: Object) -> bool:
    """Whether its Job is there and stays; then another copy of this step has just made it."""
    owner = next((item for item in pod["metadata"].get("ownerReferences") or () if item.get("kind") == "Job"), None)
    if owner is None:
        return False
    call = api_errors.Call("get", "jobs.batch", namespace, owner["name"])
    job = kubernetes.get(job_status.jobs_path(namespace, owner["name"]), call)
    return bool(job and job["metadata"]["uid"] == owner["uid"] and not job["metadata"].get("deletionTimestamp"))
