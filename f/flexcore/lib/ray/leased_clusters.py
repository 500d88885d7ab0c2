# requirements: flexcore_base
"""Our leases and the clusters that they are about, as operations/reconcile sees them.

    lease     running until its deadline; stopped, it is released, and with the last one the cluster goes
    cluster   kept as long as somebody has a lease; then finished, and deleted when its idle time is over

KubeRayObjects looks into a Kubernetes cluster of the settings, StoredLeaseObjects into the store and the worker's home:
a local head is seen by reconcile on its own machine alone, and ends by itself when its leases do.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from f.flexcore.lib.core import errors, redaction, remote_objects, resources
from f.flexcore.lib.kubernetes_api import api_errors, credentials, http_client
from f.flexcore.lib.ray import (
    kuberay_cluster,
    kuberay_ownership,
    kubernetes_session,
    lease,
    local_head_files,
    ray_job_objects,
    stored_leases,
)
from f.flexcore.lib.storage import object_store

OURS = "app.kubernetes.io/managed-by=flexcore"
PAGE_SIZE = 500
# More of ours than that in one cluster is a fault of its own; the next pass sees the rest.
MAX_PAGES = 10
LEASE, CLUSTER = "lease", "RayCluster"
Object = dict[str, Any]
Item = remote_objects.RemoteObject


class KubeRayObjects:
    """`place` is the path of the c_kubernetes_cluster resource. Raises the errors of Kubernetes."""

    def __init__(self, place: str, resource: Any, namespace: str = "") -> None:
        self.place = place
        found = errors.validate(resources.KubernetesCluster, resource or {}, place)
        access = credentials.resolve_access(found)
        redactor = redaction.Redactor([*found.secrets(), *access.secrets()])
        self.kubernetes = http_client.HttpKubernetes(access, redactor)
        chosen = found.namespace or access.namespace or namespace or kubernetes_session.DEFAULT_NAMESPACE
        self.session = kubernetes_session.Session(self.kubernetes, chosen, is_inside=False)
        reference = resources.RayCluster(kubernetes_cluster=place, namespace=chosen)
        self.ray_jobs = ray_job_objects.RayJobObjects(place, reference, session=self.session)

    def find(self) -> list[Item]:
        found: list[Item] = self.ray_jobs.find()
        for stored in self.list_clusters():
            found += self._describe(stored)
        return found

    def list_clusters(self) -> list[Object]:
        """Our RayClusters, as they are stored."""
        return [stored for stored in self._list() if kuberay_ownership.is_ours(stored)]

    def stop(self, item: Item) -> str:
        """Releases a lease as it was seen, or deletes a RayJob; what became of it."""
        if item.kind == ray_job_objects.KIND:
            return self.ray_jobs.stop(item)
        if item.kind != LEASE:
            return "is in use"
        managed = self._managed(item)
        stored = managed.read()
        if stored is None or not item.uid.startswith(f"{stored['metadata']['uid']}/"):
            return "had gone"
        reference = item.uid.partition("/")[2]
        if lease.find(kuberay_ownership.read_book(stored), reference) is None:
            return "had gone"
        outcome = managed.release(reference)
        return "released, and the cluster deleted" if outcome == "deleted" else "released"

    def delete(self, item: Item) -> str:
        """Deletes a cluster whose idle time is over, on the condition that nobody has got a lease since."""
        if item.kind == ray_job_objects.KIND:
            return self.ray_jobs.delete(item)
        return self._managed(item).delete_idle(item.uid) if item.kind == CLUSTER else "is in use"

    def _managed(self, item: Item) -> kuberay_cluster.KubeRayCluster:
        session = kubernetes_session.Session(self.kubernetes, item.namespace, is_inside=False)
        name = item.name.partition("@")[0]
        return kuberay_cluster.KubeRayCluster(session, resources.RayCluster(namespace=item.namespace, name=name))

    def _describe(self, stored: Object) -> Iterable[Item]:
        metadata = stored["metadata"]
        try:
            book = kuberay_ownership.read_book(stored)
        except errors.DataError:
            # A damaged book says nothing; the cluster is kept until a person has looked.
            book = lease.LeaseBook()
        common = {"runtime": "ray", "place": self.place, "namespace": metadata["namespace"]}
        state: remote_objects.State = "kept" if book.delete_after is None else "finished"
        yield Item(
            **common,
            kind=CLUSTER,
            name=metadata["name"],
            uid=metadata["uid"],
            state="leaving" if metadata.get("deletionTimestamp") else state,
            delete_after=book.delete_after,
        )
        if not metadata.get("deletionTimestamp"):
            for held in book.leases:
                yield _lease_object(held, metadata["name"], f"{metadata['uid']}/{held.reference}", common)

    def _list(self) -> list[Object]:
        path, call = "/apis/ray.io/v1/rayclusters", api_errors.Call("list", kuberay_cluster.RESOURCE)
        try:
            return self._pages(path, call)
        except errors.Forbidden as error:
            if error.category == "credentials":
                raise
        except errors.Unreachable:
            if self._has_kuberay():
                raise
            return []
        path = f"/apis/ray.io/v1/namespaces/{self.session.namespace}/rayclusters"
        return self._pages(path, call)

    def _has_kuberay(self) -> bool:
        """Whether there is such an API at all: a cluster without KubeRay has nothing of ours."""
        code, _ = self.kubernetes.request_raw("GET", "/apis/ray.io/v1", None, api_errors.Call("get", "ray.io"))
        return code != 404

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


class StoredLeaseObjects:
    """The leases of clusters at an address, from the settings' store, and of local heads, from this worker's home."""

    def __init__(self, place: str, resource: Any, namespace: str = "") -> None:
        self.place = place
        self.settings = errors.validate(resources.Settings, resource or {}, "settings")

    def find(self) -> list[Item]:
        found = []
        for leases in self._list():
            common = {"runtime": "ray", "place": self.place, "namespace": ""}
            name = describe_cluster(leases.cluster)
            try:
                book = lease.LeaseBook() if leases.is_ended() else leases.read()
            except errors.DataError as error:
                # A damaged book says nothing; its leases are kept until a person has looked.
                print(f"{name}: {error}", flush=True)
                continue
            found += [_lease_object(held, name, f"{leases.digest}/{held.reference}", common) for held in book.leases]
        return found

    def stop(self, item: Item) -> str:
        digest, _, reference = item.uid.partition("/")
        for leases in self._list():
            if leases.digest == digest:
                changed = leases.change(lambda book: lease.release(book, reference, time.time()))
                # A local head's own supervisor sees that nobody holds it any more.
                return "released" if changed.lease else "had gone"
        return "had gone"

    def delete(self, item: Item) -> str:
        return "is in use"

    def _list(self) -> list[stored_leases.StoredLeases]:
        home = resources.Settings(storage_uri=f"file://{local_head_files.heads_folder()}")
        stores = (object_store.Store(self.settings), object_store.Store(home))
        return [leases for store in stores for leases in stored_leases.list_stored(store)]


def describe_cluster(cluster: Mapping[str, Any]) -> str:
    return str(cluster.get("local_head") or cluster.get("resource") or cluster.get("address"))


def _lease_object(held: lease.Lease, cluster: str, uid: str, common: Mapping[str, Any]) -> Item:
    return Item(
        **common,
        kind=LEASE,
        name=f"{cluster}@{held.reference}",
        uid=uid,
        state="running",
        labels=held.owner.labels(),
        deadline=held.deadline,
    )
