# requirements: flexcore_kubernetes
"""Our objects in a cluster: the Jobs and Deployments that carry our labels, and how one is deleted for good.

Deleted is what was seen: by uid, its pods first, and found to be gone.

A Deployment is kept once it has answered; until then it is on trial, and goes when its owner has ended half-way.

All namespaces are looked at where the credentials may, else the resource's own. A finished Job is deleted by the
cluster itself (ttlSecondsAfterFinished).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from f.flexcore.lib.core import errors, remote_objects
from f.flexcore.lib.kubernetes import api_errors, client, connection, job_status

Object = dict[str, Any]
PAGE_SIZE = 500
# More of ours than that in one cluster is a fault of its own; the next pass sees the rest.
MAX_PAGES = 10
# Pods get up to 30 s to end by themselves; then Kubernetes kills them.
DELETION_TIMEOUT_S = 45.0
POLL_INTERVAL_S = 0.25
# Giving up must not be given up because of one lost answer.
RETRY_S = 20.0
OURS = f"{remote_objects.MANAGED_BY}=flexcore"
# A label of what is kept when its run has ended.
OUTLIVES_RUN = "flexcore/outlives-run"
# An annotation of a Deployment that has never answered yet: until then it is kept no longer than its owner lives.
ON_TRIAL = "flexcore/on-trial"
# Kind → (API, collection, how rights name it).
KINDS = {
    "Job": ("/apis/batch/v1", "jobs", "jobs.batch"),
    "Deployment": ("/apis/apps/v1", "deployments", "deployments.apps"),
}


class KubernetesObjects:
    """`place` is the resource's path. Raises the errors of Kubernetes."""

    def __init__(self, place: str, resource: Any, namespace: str = "") -> None:
        self.place = place
        session = connection.connect(resource, "", {"namespace": namespace} if namespace else None)
        self.kubernetes, self.namespace = session.kubernetes, session.namespace

    def find(self) -> list[remote_objects.RemoteObject]:
        return [
            to_remote_object(self.place, kind, item) for kind, where in KINDS.items() for item in self._list(*where)
        ]

    def stop(self, item: remote_objects.RemoteObject) -> str:
        """What became of it. Its pods go first."""
        prefix, plural, resource = KINDS[item.kind]
        path = f"{prefix}/namespaces/{item.namespace}/{plural}/{item.name}"
        stored = self.kubernetes.get(path, api_errors.Call("get", resource, item.namespace, item.name))
        now = to_remote_object(self.place, item.kind, stored) if stored else None
        if now is None or (now.uid, now.owner) != (item.uid, item.owner):
            return "had gone"
        if now.state != "running":
            return f"was {now.state} already"
        self.kubernetes.delete(path, item.uid, api_errors.Call("delete", resource, item.namespace, item.name))
        return "deleted"

    def delete(self, item: remote_objects.RemoteObject) -> str:
        return "is left to the cluster"

    def _list(self, prefix: str, plural: str, resource: str) -> list[Object]:
        try:
            return self._pages(f"{prefix}/{plural}", api_errors.Call("list", resource))
        except errors.Forbidden as error:
            if error.category == "credentials":
                raise
        path = f"{prefix}/namespaces/{self.namespace}/{plural}"
        return self._pages(path, api_errors.Call("list", resource, self.namespace))

    def _pages(self, path: str, call: api_errors.Call) -> list[Object]:
        query: dict[str, str | int] = {"labelSelector": OURS, "limit": PAGE_SIZE}
        items: list[Object] = []
        for _ in range(MAX_PAGES):
            page = self.kubernetes.list(path, query, call)
            items += page.get("items") or []
            if not (more := (page.get("metadata") or {}).get("continue")):
                break
            query["continue"] = more
        return items


def to_remote_object(place: str, kind: str, item: Object) -> remote_objects.RemoteObject:
    metadata = item["metadata"]
    return remote_objects.RemoteObject(
        runtime="kubernetes",
        place=place,
        kind=kind,
        name=metadata["name"],
        uid=metadata["uid"],
        state=find_state(kind, item),
        labels=metadata.get("labels") or {},
        namespace=metadata["namespace"],
    )


def find_state(kind: str, item: Object) -> remote_objects.State:
    metadata = item["metadata"]
    if metadata.get("deletionTimestamp"):
        return "leaving"
    if kind == "Deployment":
        return "running" if ON_TRIAL in (metadata.get("annotations") or {}) else "kept"
    if (metadata.get("labels") or {}).get(OUTLIVES_RUN) == "true":
        return "kept"
    return "finished" if job_status.find_verdict(item) else "running"


# --- deletion


def delete_object(
    kubernetes: client.Kubernetes,
    path: str,
    uid: str,
    call: api_errors.Call,
    *,
    timeout_s: float = DELETION_TIMEOUT_S,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """True once the object with this uid is gone; False when it is marked for deletion but still ends its pods,
    or when the cluster could not be asked or refused."""
    try:
        kubernetes.delete(path, uid, api_errors.Call("delete", call.resource, call.namespace, call.name), RETRY_S)
    except errors.FlexcoreError:
        # Why it is given up matters more than that it stays: its own deadline ends it.
        return False
    return wait_until_gone(kubernetes, path, uid, call, timeout_s=timeout_s, clock=clock, sleep=sleep)


def wait_until_gone(
    kubernetes: client.Kubernetes,
    path: str,
    uid: str,
    call: api_errors.Call,
    *,
    timeout_s: float = DELETION_TIMEOUT_S,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Whether an object that is being deleted was seen to be gone in time."""
    until = clock() + timeout_s
    while clock() < until:
        try:
            stored = kubernetes.get(path, call, retry_s=0)
        except errors.TransientError:
            sleep(POLL_INTERVAL_S)
            continue
        if stored is None or stored["metadata"]["uid"] != uid:
            return True
        sleep(POLL_INTERVAL_S)
    return False
