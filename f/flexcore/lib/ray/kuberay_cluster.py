# requirements: flexcore_base
"""One RayCluster of KubeRay that we manage: made or joined, leased, scaled, released.

Its leases stand in an annotation of the RayCluster itself, so that Kubernetes' own resourceVersion fences every change:
a creation holds its first lease already, and the last release deletes the object on the condition that it is the very
version whose book had no other lease. Secret and NetworkPolicy are owned by the RayCluster and go with it.

A RayCluster that does not carry our label and our leases is never changed or deleted.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from f.flexcore.lib.core import contracts, errors, identity, resources
from f.flexcore.lib.kubernetes_api import api_errors
from f.flexcore.lib.ray import (
    cluster_spec,
    kuberay_diagnosis,
    kuberay_ownership,
    kuberay_parts,
    kubernetes_session,
    lease,
)

RESOURCE = "rayclusters.ray.io"
# A change that others got in before is made again; each try means that somebody else succeeded.
MAX_TRIES = 200
MAX_PAUSE_S = 0.25
DELETION_TIMEOUT_S = 90.0
POLL_INTERVAL_S = 0.5
Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wish:
    """What an ensure asks for beside the spec."""

    owner: lease.Owner
    labels: Mapping[str, str]
    lease_s: float = lease.DURATION_S
    keep_idle_s: float = 0.0
    until: float = 0.0


class KubeRayCluster:
    """Raises the errors of Kubernetes' client, and Conflict for a cluster that is not ours."""

    def __init__(
        self,
        session: kubernetes_session.Session,
        reference: resources.RayCluster,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        report: Callable[[str], None] = print,
    ) -> None:
        self.session, self.kubernetes, self.namespace = session, session.kubernetes, session.namespace
        self.cluster, self.name = reference, reference.name
        self._clock, self._sleep, self._report = clock, sleep, report
        self.parts = kuberay_parts.KubeRayParts(session, self.name, clock, sleep)
        self.path = f"/apis/ray.io/v1/namespaces/{self.namespace}/rayclusters/{self.name}"

    def call(self, verb: str) -> api_errors.Call:
        return api_errors.Call(verb, RESOURCE, self.namespace, self.name)

    def now(self) -> float:
        """The API server's time: leases are written and judged by one clock."""
        return self.kubernetes.now().timestamp()

    def reference(self, held: lease.Lease | None = None) -> Object:
        """The resource that later steps take; it holds no secret."""
        found = {
            "kubernetes_cluster": self.cluster.kubernetes_cluster,
            "namespace": self.namespace,
            "name": self.name,
            "serve_url": self.cluster.serve_url,
            "lease": held.reference if held else "",
        }
        return {field: value for field, value in found.items() if value}

    def remote(self, stored: Object | None = None) -> contracts.Remote:
        uid = stored["metadata"]["uid"] if stored else None
        return contracts.Remote(kind="ray_cluster", name=f"{self.namespace}/{self.name}", uid=uid)

    # --- reading

    def read(self) -> Object | None:
        return self.kubernetes.get(self.path, self.call("get"))

    def read_ours(self) -> Object | None:
        """Raises Conflict when the name belongs to a RayCluster that is not ours."""
        stored = self.read()
        if stored is not None:
            kuberay_ownership.check_ours(stored)
        return stored

    def pods(self) -> list[Object]:
        query = {"labelSelector": f"ray.io/cluster={self.name}"}
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        return list(self.kubernetes.list(path, query, api_errors.Call("list", "pods", self.namespace))["items"])

    def events(self) -> list[Object]:
        path = f"/api/v1/namespaces/{self.namespace}/events"
        call = api_errors.Call("list", "events", self.namespace)
        try:
            found = self.kubernetes.list(path, {"limit": 1000}, call)["items"]
        except errors.Forbidden:
            # Helpful, and not needed: the pods themselves say most.
            return []
        names = (f"{self.name}-", self.name)
        return [item for item in found if str((item.get("involvedObject") or {}).get("name")).startswith(names)]

    # --- leases

    def acquire(self, spec: cluster_spec.ClusterSpec, wish: Wish) -> tuple[Object, lease.Lease, bool]:
        """(RayCluster, lease, whether it was made now). Raises Conflict for a name or a version that does not fit."""
        for _ in range(MAX_TRIES):
            stored = self.read()
            if stored is None:
                made = self._create(spec, wish)
                if made:
                    return (*made, True)
            elif stored["metadata"].get("deletionTimestamp"):
                self._wait_for_deletion(stored, wish.until)
            else:
                kuberay_ownership.check_ours(stored)
                kuberay_ownership.check_version(stored, spec)
                change = lease.acquire(
                    kuberay_ownership.read_book(stored), wish.owner, self.now(), wish.lease_s, wish.keep_idle_s
                )
                changed = self._write(stored, change.book)
                if changed:
                    assert change.lease is not None
                    self.parts.complete(changed, spec)
                    return changed, change.lease, False
                self._pause()
        raise _too_many_tries(self.name)

    def renew(self, reference: str) -> lease.Lease:
        """Raises Conflict when the lease has ended or the cluster is gone."""
        for _ in range(MAX_TRIES):
            stored = self.read_ours()
            if stored is None or stored["metadata"].get("deletionTimestamp"):
                raise lease.ended_error(reference)
            change = lease.renew(kuberay_ownership.read_book(stored), reference, self.now())
            if self._write(stored, change.book):
                assert change.lease is not None
                return change.lease
            self._pause()
        raise _too_many_tries(self.name)

    def release(self, reference: str, keep: bool = False) -> str:
        """What became of it: released (others hold it, or it is kept for a while), deleted, gone. keep: whether the
        cluster stays although nobody holds it, until its idle time is over."""
        for _ in range(MAX_TRIES):
            stored = self.read_ours()
            if stored is None or stored["metadata"].get("deletionTimestamp"):
                return "gone"
            book = kuberay_ownership.read_book(stored)
            change = lease.release(book, reference, self.now())
            if change.lease is None and book.leases:
                return "released"
            if change.lease is None and book.delete_after is not None and self.now() < book.delete_after:
                return "released"
            if change.book.leases or change.book.keep_idle_s > 0 or keep:
                if self._write(stored, change.book):
                    return "released"
            elif self._delete(stored):
                return "deleted"
            self._pause()
        raise _too_many_tries(self.name)

    def delete_idle(self, uid: str) -> str:
        """Deletes it when nobody holds it and its idle time is over; what became of it."""
        for _ in range(MAX_TRIES):
            stored = self.read_ours()
            if stored is None or stored["metadata"]["uid"] != uid or stored["metadata"].get("deletionTimestamp"):
                return "had gone"
            after = kuberay_ownership.read_book(stored).delete_after
            if after is None or self.now() < after:
                return "is in use"
            if self._delete(stored):
                return "deleted"
            self._pause()
        raise _too_many_tries(self.name)

    def wait_until_gone(self, uid: str, timeout_s: float = DELETION_TIMEOUT_S) -> bool:
        """Whether the RayCluster and its pods were seen to be gone in time."""
        until = self._clock() + timeout_s
        while self._clock() < until:
            stored = self.read()
            is_gone = stored is None or stored["metadata"]["uid"] != uid
            if is_gone and not [pod for pod in self.pods() if _belongs(pod, uid)]:
                return True
            self._sleep(POLL_INTERVAL_S)
        return False

    # --- changes

    def change_groups(self, change: Callable[[list[Object]], list[Object]], reference: str = "") -> Object:
        """The RayCluster with changed worker groups. reference: the lease that must still be there."""
        for _ in range(MAX_TRIES):
            stored = self.read_ours()
            if stored is None or stored["metadata"].get("deletionTimestamp"):
                raise _not_found(self.name, self.namespace)
            if reference and lease.find(kuberay_ownership.read_book(stored), reference) is None:
                raise lease.ended_error(reference)
            groups = change(list(stored["spec"].get("workerGroupSpecs") or []))
            changed = self._patch(stored, {"spec": {"workerGroupSpecs": groups}})
            if changed:
                return changed
            self._pause()
        raise _too_many_tries(self.name)

    def _create(self, spec: cluster_spec.ClusterSpec, wish: Wish) -> tuple[Object, lease.Lease] | None:
        """None when the name is taken by now."""
        self._check_api()
        change = lease.acquire(lease.LeaseBook(), wish.owner, self.now(), wish.lease_s, wish.keep_idle_s)
        annotations = {
            kuberay_ownership.LEASES: json.dumps(lease.dump(change.book)),
            kuberay_ownership.SPEC_HASH: hash_spec(spec),
        }
        collection = self.path.rpartition("/")[0]
        labels = {**wish.labels, identity.OUTLIVES_RUN: "true"}
        body = cluster_spec.cluster_manifest(
            spec, self.name, self.namespace, labels, annotations, has_auth_options=spec.token_auth
        )
        try:
            stored = self.kubernetes.create(collection, body, self.call("create"))
        except errors.InvalidInput as error:
            if "authOptions" not in str(error):
                raise
            # KubeRay before 1.5.1: the pods themselves are told.
            body = cluster_spec.cluster_manifest(spec, self.name, self.namespace, labels, annotations)
            stored = self.kubernetes.create(collection, body, self.call("create"))
        if stored is None:
            return None
        self._report(f"Created the RayCluster {self.name} in namespace {self.namespace}")
        self.parts.complete(stored, spec)
        assert change.lease is not None
        return stored, change.lease

    def _check_api(self) -> None:
        call = api_errors.Call("get", "ray.io", name="ray.io")
        code, payload = self.kubernetes.request_raw("GET", "/apis/ray.io", None, call)
        if code == 404:
            kuberay_diagnosis.check_api(None)
        if code == 200 and isinstance(payload, dict):
            kuberay_diagnosis.check_api(payload)

    def _write(self, stored: Object, book: lease.LeaseBook) -> Object | None:
        return self._patch(
            stored, {"metadata": {"annotations": {kuberay_ownership.LEASES: json.dumps(lease.dump(book))}}}
        )

    def _patch(self, stored: Object, changes: Object) -> Object | None:
        """The changed object; None when it is no longer the version that was read, or gone."""
        metadata = {"resourceVersion": stored["metadata"]["resourceVersion"], "uid": stored["metadata"]["uid"]}
        body = changes | {"metadata": metadata | dict(changes.get("metadata") or {})}
        try:
            return self.kubernetes.patch(self.path, body, self.call("patch"))
        except errors.NotFound:
            return None

    def _delete(self, stored: Object) -> bool:
        metadata = stored["metadata"]
        return self.kubernetes.delete_version(
            self.path, metadata["uid"], metadata["resourceVersion"], self.call("delete")
        )

    def _wait_for_deletion(self, stored: Object, until: float) -> None:
        kuberay_ownership.check_ours(stored)
        self._report(f"Waiting until the earlier RayCluster {self.name} is gone")
        if not self.wait_until_gone(stored["metadata"]["uid"], max(until - self._clock(), 1.0)):
            raise errors.DeadlineExceeded(
                f"The earlier RayCluster {self.name} in namespace {self.namespace} is still being deleted",
                subject="timeout_s",
                category="still_deleting",
                remedy="See what holds it (kubectl describe raycluster: its finalizers and pods), and run again.",
            )

    def _pause(self) -> None:
        self._sleep(random.uniform(0, MAX_PAUSE_S))


def hash_spec(spec: cluster_spec.ClusterSpec) -> str:
    return hashlib.sha256(spec.model_dump_json().encode()).hexdigest()[:20]


def _belongs(pod: Object, uid: str) -> bool:
    return any(owner.get("uid") == uid for owner in pod["metadata"].get("ownerReferences") or [])


def _not_found(name: str, namespace: str) -> errors.NotFound:
    return errors.NotFound(
        f"There is no RayCluster {name} in namespace {namespace}",
        subject="cluster.name",
        remedy="Correct name and namespace, or make it with f/flexcore/ray/ensure_cluster.",
    )


def _too_many_tries(name: str) -> errors.Unavailable:
    return errors.Unavailable(
        f"The RayCluster {name} is changed by others all the time: {MAX_TRIES} tries to change it were too late",
        subject="cluster",
        category="busy",
        remedy="Try again.",
    )
