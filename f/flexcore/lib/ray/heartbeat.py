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
        from f.flexcore.lib.ray import cluster_kinds

        cluster_kinds.renew(self.cluster)
