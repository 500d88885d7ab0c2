# requirements: flexcore_base
"""The three kinds of clusters that are leased, behind one door: on Kubernetes, on this machine, or at an address.

    kubernetes_cluster, namespace, name   OnKubernetes   leases in an annotation of the RayCluster
    local_head                            OnThisMachine  leases in a folder of the worker's home
    resource, address                     AtAddress      leases in the store; the cluster itself is never changed

A kind's module is imported when a cluster of it is opened.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from f.flexcore.lib.core import contracts, errors, identity, resources
from f.flexcore.lib.ray import cluster_readiness, cluster_requests, lease
from f.flexcore.lib.storage import object_store

if TYPE_CHECKING:
    from f.flexcore.lib.ray import address_cluster, kuberay_cluster, local_head

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Acquired:
    """is_new: whether the cluster was made for this lease."""

    lease: lease.Lease
    is_new: bool


class Kind(Protocol):
    """One cluster. Every verb raises FlexcoreError."""

    kind: str

    @property
    def name(self) -> str: ...

    def read_book(self) -> lease.LeaseBook | None:
        """Its leases; None when it is not there, or not ours."""

    def acquire(self, request: cluster_requests.EnsureRequest, key: identity.ExecutionKey) -> Acquired:
        """A lease of the cluster, which is made when it is not there."""

    def watch(self) -> cluster_readiness.Watched:
        """The cluster as somebody waits for it. After `acquire`."""

    def release(self, reference: str, timeout_s: float) -> str:
        """What became of it: released, deleted, gone."""

    def reference(self, held: lease.Lease | None = None) -> Object: ...
    def remote(self) -> contracts.Remote: ...
    def describe(self) -> Object:
        """What its own side knows of it, Ray left aside."""


@dataclass(slots=True)
class OnKubernetes:
    managed: kuberay_cluster.KubeRayCluster
    kind: str = "kubernetes"
    stored: Object | None = None

    @property
    def name(self) -> str:
        return self.managed.name

    def read_book(self) -> lease.LeaseBook | None:
        from f.flexcore.lib.ray import kuberay_ownership

        stored = self.managed.read()
        ours = stored is not None and kuberay_ownership.is_ours(stored)
        return kuberay_ownership.read_book(stored) if stored and ours else None

    def acquire(self, request: cluster_requests.EnsureRequest, key: identity.ExecutionKey) -> Acquired:
        from f.flexcore.lib.ray import kuberay_cluster

        until = time.monotonic() + request.timeout_s
        owner = lease.make_owner(key)
        wish = kuberay_cluster.Wish(owner, key.labels(1), request.lease_s, request.keep_idle_s, until)
        self.stored, held, is_new = self.managed.acquire(request.wanted, wish)
        if request.rotate_token and not is_new:
            self.managed.parts.rotate_token(self.stored, self.managed.pods())
        return Acquired(held, is_new)

    def watch(self) -> cluster_readiness.Watched:
        from f.flexcore.lib.ray import kuberay_readiness

        stored = self.stored or self.managed.read()
        if stored is None:
            raise errors.NotFound(f"There is no RayCluster {self.name}", subject="cluster.name")
        return kuberay_readiness.KubeRayReadiness(self.managed, stored)

    def release(self, reference: str, timeout_s: float) -> str:
        stored = self.managed.read()
        outcome = self.managed.release(reference)
        if outcome == "deleted" and stored and not self.managed.wait_until_gone(stored["metadata"]["uid"], timeout_s):
            raise errors.DeadlineExceeded(
                f"The RayCluster {self.name} is marked for deletion and still ends its pods after {timeout_s:g} s",
                subject="timeout_s",
                category="still_deleting",
                remedy="Nothing more is to be done, unless it stays: then see its finalizers and pods.",
            )
        return outcome

    def reference(self, held: lease.Lease | None = None) -> Object:
        return self.managed.reference(held)

    def remote(self) -> contracts.Remote:
        return self.managed.remote(self.stored)

    def describe(self) -> Object:
        from f.flexcore.lib.ray import kuberay_ownership

        stored = self.managed.read()
        if stored is None:
            return {"exists": False}
        spec, status = stored["spec"], stored.get("status") or {}
        return {
            "exists": True,
            "ours": kuberay_ownership.is_ours(stored),
            "deleting": bool(stored["metadata"].get("deletionTimestamp")),
            "autoscaling": bool(spec.get("enableInTreeAutoscaling")),
            "state": status.get("state"),
            "groups": [_describe_group(group) for group in spec.get("workerGroupSpecs") or []],
            "pods": [_describe_pod(pod) for pod in self.managed.pods()],
        }


@dataclass(slots=True)
class OnThisMachine:
    head: local_head.LocalHead
    kind: str = "local"

    @property
    def name(self) -> str:
        return self.head.name

    def read_book(self) -> lease.LeaseBook | None:
        return None if self.head.leases.is_ended() else self.head.leases.read()

    def acquire(self, request: cluster_requests.EnsureRequest, key: identity.ExecutionKey) -> Acquired:
        self.head.num_cpus = request.local_cpus
        held, is_new = self.head.acquire(lease.make_owner(key), request.lease_s, request.keep_idle_s)
        return Acquired(held, is_new)

    def watch(self) -> cluster_readiness.Watched:
        return self.head

    def release(self, reference: str, timeout_s: float) -> str:
        return self.head.release(reference)

    def reference(self, held: lease.Lease | None = None) -> Object:
        return self.head.reference(held)

    def remote(self) -> contracts.Remote:
        return self.head.remote()

    def describe(self) -> Object:
        return {"exists": self.head.is_supervised(), "ours": True, "deleting": False, "autoscaling": False}


@dataclass(slots=True)
class AtAddress:
    cluster: address_cluster.AddressCluster
    kind: str = "address"

    @property
    def name(self) -> str:
        return self.cluster.name

    def read_book(self) -> lease.LeaseBook | None:
        return self.cluster.leases.read()

    def acquire(self, request: cluster_requests.EnsureRequest, key: identity.ExecutionKey) -> Acquired:
        return Acquired(self.cluster.acquire(lease.make_owner(key), request.lease_s), is_new=False)

    def watch(self) -> cluster_readiness.Watched:
        return self.cluster

    def release(self, reference: str, timeout_s: float) -> str:
        return self.cluster.release(reference)

    def reference(self, held: lease.Lease | None = None) -> Object:
        return self.cluster.reference(held)

    def remote(self) -> contracts.Remote:
        return self.cluster.remote()

    def describe(self) -> Object:
        return {"exists": True, "ours": False, "deleting": False, "autoscaling": None}


@contextmanager
def open_cluster(cluster: resources.RayCluster, settings: resources.Settings) -> Iterator[Kind]:
    """The cluster that a resource or a reference names. Raises InvalidInput, or what Windmill answers."""
    if cluster.is_on_kubernetes:
        from f.flexcore.lib.ray import kuberay_cluster, kubernetes_session

        with kubernetes_session.open_session(cluster, settings) as session:
            yield OnKubernetes(kuberay_cluster.KubeRayCluster(session, cluster))
    elif cluster.local_head:
        from f.flexcore.lib.ray import local_head

        yield OnThisMachine(local_head.LocalHead(cluster.local_head))
    else:
        from f.flexcore.lib.ray import address_cluster

        yield AtAddress(address_cluster.AddressCluster(cluster, object_store.Store(settings)))


def _describe_group(group: Object) -> Object:
    return {
        "name": group.get("groupName"),
        "min_workers": group.get("minReplicas"),
        "max_workers": group.get("maxReplicas"),
        "workers": group.get("replicas"),
    }


def _describe_pod(pod: Object) -> Object:
    labels, status = pod["metadata"].get("labels") or {}, pod.get("status") or {}
    return {
        "name": pod["metadata"]["name"],
        "group": labels.get("ray.io/group"),
        "phase": status.get("phase"),
        "node": (pod.get("spec") or {}).get("nodeName"),
    }
