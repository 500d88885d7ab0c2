# requirements: flexcore_base
"""Who holds a lease of the clusters that the settings name, for people to look at. Changes nothing.

Each kind of cluster keeps its leases elsewhere (cluster_kinds); a reference to any of them may have some in the store.
"""

from __future__ import annotations

from typing import Any

from f.flexcore.lib.core import errors, resources
from f.flexcore.lib.ray import address_cluster, cluster_kinds, kuberay_ownership, lease, leased_clusters, stored_leases
from f.flexcore.lib.storage import object_store

Held = list[tuple[str, lease.Lease]]


def read_own(place: str, resource: Any, settings: resources.Settings) -> list[lease.Lease] | None:
    """Those that a Ray cluster keeps itself; one at an address keeps none. None for a local head that is not on this
    machine, or has ended. Raises as Kubernetes answers, and DataError for a damaged book."""
    cluster = errors.validate(resources.RayCluster, resource, place)
    if not (cluster.name or cluster.local_head):
        return []
    with cluster_kinds.open_cluster(cluster, settings) as kind:
        book = kind.read_book()
    if book is None:
        # A RayCluster that is not there, or not ours, has no leases.
        return None if cluster.local_head else []
    return list(book.leases)


def read_on_kubernetes(place: str, resource: Any, settings: resources.Settings) -> Held:
    """(RayCluster, lease) of all that flexcore has made in a Kubernetes cluster. Raises as Kubernetes answers, and
    DataError for a damaged book."""
    clusters = leased_clusters.KubeRayObjects(place, resource, settings.namespace).list_clusters()
    return [
        (str(stored["metadata"]["name"]), held)
        for stored in clusters
        for held in kuberay_ownership.read_book(stored).leases
    ]


def read_stored(settings: resources.Settings) -> list[tuple[dict[str, Any], lease.LeaseBook]]:
    """(reference to a cluster, its leases) of those that the store keeps. Raises the errors of the store."""
    return [(item.cluster, item.read()) for item in stored_leases.list_stored(object_store.Store(settings))]


def is_reference(reference: dict[str, Any], place: str, resource: Any, settings: resources.Settings) -> bool:
    """Whether a reference without lease means the cluster of the resource at `place`: it names it, or says the same."""
    if reference == {"resource": place}:
        return True
    try:
        cluster = errors.validate(resources.RayCluster, resource, place)
    except errors.InvalidInput:
        return False
    at_address = address_cluster.AddressCluster(cluster, object_store.Store(settings))
    return not (cluster.is_on_kubernetes or cluster.local_head) and reference == at_address.reference()
