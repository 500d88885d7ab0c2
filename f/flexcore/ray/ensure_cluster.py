# requirements: flexcore_base
"""Gets a Ray cluster that is ready, and a lease of it: makes it on Kubernetes or on this machine, or joins it.

`data.cluster` of the result is what later steps take as their cluster, and `f/flexcore/ray/release_cluster` at the end.
"""

from typing import Any

from f.flexcore.lib.ray import cluster_lifecycle
from f.flexcore.lib.windmill import stops

c_ray_cluster = dict
c_flexcore_settings = dict


def main(
    cluster: c_ray_cluster,
    spec: dict | None = None,
    local_cpus: int = 0,
    lease_s: float = 86400,
    keep_idle_s: float = 0,
    rotate_token: bool = False,
    timeout_s: float = 600,
    pending_timeout_s: float = 120,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    stops.refuse_stopped()
    return cluster_lifecycle.ENSURE_CLUSTER.run(locals())
