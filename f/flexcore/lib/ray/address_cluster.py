# requirements: flexcore_base
"""A Ray cluster that is there already, by its address: it is leased and looked at, never made, scaled or deleted.

Its leases are in the store. What is returned for later steps names the resource where there is one, and never its
token: a cluster with a token is therefore to be given as `resource`, the path of its own c_ray_cluster.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from f.flexcore.lib.core import contracts, errors, resources
from f.flexcore.lib.ray import dashboard, kuberay_diagnosis, lease, stored_leases
from f.flexcore.lib.storage import object_store

PUBLIC = ("address", "verify_tls", "ca_certificate", "serve_url")


@dataclass(slots=True)
class AddressCluster:
    """cluster: with an address, or a reference to a resource that has one."""

    cluster: resources.RayCluster
    store: object_store.Store
    clock: Callable[[], float] = field(default=time.time)

    @property
    def name(self) -> str:
        return self.cluster.resource or self.cluster.address

    @property
    def min_workers(self) -> int:
        return 0

    @property
    def leases(self) -> stored_leases.StoredLeases:
        return stored_leases.StoredLeases(self.store, self.reference(), self.clock)

    def acquire(self, owner: lease.Owner, lease_s: float) -> lease.Lease:
        """Raises MissingSetting for a token that no later step would have."""
        if not self.cluster.resource and (self.cluster.token or self.cluster.headers):
            raise errors.MissingSetting(
                "cluster has a token, which a result cannot hand on to later steps",
                subject="cluster.resource",
                category="needs_resource",
                remedy='Give the cluster as {"resource": "f/…/path of its c_ray_cluster"}.',
            )
        # Whether it is Ray at all is known before anything is written.
        with dashboard.RayApi(self._without_lease()) as api:
            api.version()
        changed = self.leases.change(lambda book: lease.acquire(book, owner, self.clock(), lease_s))
        assert changed.lease is not None
        return changed.lease

    def release(self, reference: str) -> str:
        """What became of it; the cluster itself stays."""
        changed = self.leases.change(lambda book: lease.release(book, reference, self.clock()))
        return "released" if changed.lease else "gone"

    def find_problem(self) -> kuberay_diagnosis.Finding | None:
        return None

    def open_api(self) -> dashboard.RayApi | None:
        return dashboard.RayApi(self._without_lease())

    def reference(self, held: lease.Lease | None = None) -> dict[str, Any]:
        if self.cluster.resource:
            found: dict[str, Any] = {"resource": self.cluster.resource.removeprefix("$res:")}
        else:
            found = self.cluster.model_dump(mode="json", include=set(PUBLIC), exclude_defaults=True)
            found["address"] = self.cluster.address
        return {**found, **({"lease": held.reference} if held else {})}

    def remote(self) -> contracts.Remote:
        return contracts.Remote(kind="ray_address", name=self.name)

    def _without_lease(self) -> resources.RayCluster:
        return self.cluster.model_copy(update={"lease": ""})
