# requirements: flexcore_base
"""Ends the lease that ensure_cluster got; the last one takes the cluster with it. A repeat is harmless."""

from typing import Any

from f.flexcore.lib.ray import cluster_lifecycle

c_ray_cluster = dict
c_flexcore_settings = dict


def main(cluster: c_ray_cluster, timeout_s: float = 120, settings: c_flexcore_settings | None = None) -> dict[str, Any]:
    return cluster_lifecycle.RELEASE_CLUSTER.run(locals())
