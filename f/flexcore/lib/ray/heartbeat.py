# requirements: flexcore_base
"""The heartbeat of a lease: whoever works on a leased cluster renews the lease now and then, beside its requests."""

from __future__ import annotations

import time
from collections.abc import Callable

from f.flexcore.lib.core import errors, resources
from f.flexcore.lib.ray import lease


class Heartbeat:
    """Of the lease that the reference `cluster` stands for."""

    def __init__(self, cluster: resources.RayCluster, clock: Callable[[], float] = time.monotonic) -> None:
        self.cluster, self._clock = cluster, clock
        self._next = clock()

    def beat(self) -> None:
        """Renews it when it is time to. Raises Conflict when it has ended; a service that cannot be asked is asked
        again later, since a lease lasts for hours."""
        if self._clock() < self._next:
            return
        self._next = self._clock() + lease.HEARTBEAT_INTERVAL_S
        try:
            self.renew()
        except errors.Conflict:
            raise
        except errors.FlexcoreError as error:
            print(f"Warning: the lease of the Ray cluster was not renewed: {error}", flush=True)

    def renew(self) -> None:
        """Of an address it needs the store, which a connection does not know: such a lease lasts for its whole time."""
        if self.cluster.is_on_kubernetes:
            from f.flexcore.lib.ray import kuberay_cluster, kubernetes_session

            with kubernetes_session.open_session(self.cluster) as session:
                kuberay_cluster.KubeRayCluster(session, self.cluster).renew(self.cluster.lease)
        elif self.cluster.local_head:
            from f.flexcore.lib.ray import local_head_files

            leases = local_head_files.open_leases(self.cluster.local_head)
            leases.change(lambda book: lease.renew(book, self.cluster.lease, time.time()))
