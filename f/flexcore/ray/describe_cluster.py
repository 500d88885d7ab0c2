# requirements: flexcore_base
"""What a Ray cluster is made of, who holds a lease of it, what it can take on, and what is wrong. Changes nothing."""

from typing import Any

from f.flexcore.lib.ray import cluster_lifecycle

c_ray_cluster = dict
c_flexcore_settings = dict


def main(cluster: c_ray_cluster, settings: c_flexcore_settings | None = None) -> dict[str, Any]:
    return cluster_lifecycle.DESCRIBE_CLUSTER.run(locals())
