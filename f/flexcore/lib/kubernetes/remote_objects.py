# requirements: flexcore_kubernetes
"""Our objects in a cluster: the Jobs, Deployments, InferenceServices and RayServices that carry our labels and that we
wrote.

Labels alone prove nothing: who copies a manifest copies them, and controllers hand them on to what they make. The
server itself notes who wrote an object (managedFields); one that we never wrote is not ours.

A Deployment, InferenceService or RayService is kept once it has answered; until then it is on trial, and goes when its
owner has ended half-way.

All namespaces are looked at where the credentials may, else the resource's own. A finished Job is deleted by the
cluster itself (ttlSecondsAfterFinished).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from f.flexcore.lib.core import errors, identity, remote_objects
from f.flexcore.lib.kubernetes import cluster_objects, connection
from f.flexcore.lib.kubernetes_api import api_errors, finalizers, job_status

Object = dict[str, Any]
PAGE_SIZE = 500
# More of ours than that in one cluster is a fault of its own; the next pass sees the rest.
MAX_PAGES = 10
OURS = f"{identity.MANAGED_BY}=flexcore"
KINDS = {
    kind.kind: kind
    for kind in (
        cluster_objects.Kind("/apis/batch/v1", "jobs", "jobs.batch", "Job"),
        cluster_objects.DEPLOYMENTS,
        cluster_objects.INFERENCE_SERVICES,
        cluster_objects.Kind("/apis/ray.io/v1", "rayservices", "rayservices.ray.io", "RayService"),
    )
}
# Of operators that need not be there.
OPTIONAL = ("InferenceService", "RayService")


class KubernetesObjects:
    """`place` is the resource's path. Raises the errors of Kubernetes."""

    def __init__(self, place: str, resource: Any, namespace: str = "") -> None:
        self.place = place
        session = connection.connect(resource, "", {"namespace": namespace} if namespace else None)
        self.kubernetes, self.namespace = session.kubernetes, session.namespace
        self.place_in_cluster = cluster_objects.Namespace(session.kubernetes, session.namespace)

    def find(self) -> list[remote_objects.RemoteObject]:
        # A server answers for an unknown API as if it were none of Kubernetes'.
        kinds = [name for name, kind in KINDS.items() if name not in OPTIONAL or self.place_in_cluster.serves(kind)]
        items = ((kind, item) for kind in kinds for item in self._find_kind(kind))
        return [to_remote_object(self.place, kind, item) for kind, item in items if is_written_by_us(item)]

    def _find_kind(self, kind: str) -> list[Object]:
        try:
            return self._list(KINDS[kind])
        except (errors.NotFound, errors.Forbidden):
            # Without the right to see them they are left alone: they are kept.
            if kind not in OPTIONAL:
                raise
            return []

    def stop(self, item: remote_objects.RemoteObject) -> str:
        """What became of it. Its pods go first."""
        kind = KINDS[item.kind]
        path = f"{kind.prefix}/namespaces/{item.namespace}/{kind.plural}/{item.name}"
        stored = self.kubernetes.get(path, api_errors.Call("get", kind.resource, item.namespace, item.name))
        now = to_remote_object(self.place, item.kind, stored) if stored and is_written_by_us(stored) else None
        if now is None or (now.uid, now.owner) != (item.uid, item.owner):
            return "had gone"
        if now.state != "running":
            return f"was {now.state} already"
        self.kubernetes.delete(path, item.uid, api_errors.Call("delete", kind.resource, item.namespace, item.name))
        claims = finalizers.list_claims(((stored or {}).get("spec") or {}).get("template", {}).get("spec") or {})
        return "deleted" + (f"; its claims stay: {', '.join(claims)}" if claims else "")

    def delete(self, item: remote_objects.RemoteObject) -> str:
        return "is left to the cluster"

    def _list(self, kind: cluster_objects.Kind) -> list[Object]:
        try:
            return self._pages(f"{kind.prefix}/{kind.plural}", api_errors.Call("list", kind.resource))
        except errors.Forbidden as error:
            if error.category == "credentials":
                raise
        path = f"{kind.prefix}/namespaces/{self.namespace}/{kind.plural}"
        return self._pages(path, api_errors.Call("list", kind.resource, self.namespace))

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
    created = job_status.parse_time(metadata.get("creationTimestamp"))
    return remote_objects.RemoteObject(
        runtime="kubernetes",
        place=place,
        kind=kind,
        name=metadata["name"],
        uid=metadata["uid"],
        state=find_state(kind, item),
        labels=metadata.get("labels") or {},
        namespace=metadata["namespace"],
        held_by=finalizers.describe_holds(finalizers.list_holds(item), datetime.now(UTC)),
        created_at=created.timestamp() if created else None,
    )


def is_written_by_us(item: Object) -> bool:
    """Whether we are among those who wrote the object; taken for granted of a server that does not say who did."""
    writers = {entry.get("manager") for entry in item["metadata"].get("managedFields") or ()}
    return not writers or identity.FIELD_MANAGER in writers


def find_state(kind: str, item: Object) -> remote_objects.State:
    metadata = item["metadata"]
    if metadata.get("deletionTimestamp"):
        return "leaving"
    if kind in ("Deployment", "InferenceService", "RayService"):
        return "running" if identity.ON_TRIAL in (metadata.get("annotations") or {}) else "kept"
    if (metadata.get("labels") or {}).get(identity.OUTLIVES_RUN) == "true":
        return "kept"
    return "finished" if job_status.find_verdict(item) else "running"
