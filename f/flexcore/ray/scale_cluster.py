# requirements: flexcore_base
"""Changes how many workers a group of a Ray cluster on Kubernetes has, and waits for the least of them."""

from typing import Any

from f.flexcore.lib.ray import cluster_lifecycle

c_ray_cluster = dict
c_flexcore_settings = dict


def main(
    cluster: c_ray_cluster,
    group: str = "",
    min_workers: int | None = None,
    max_workers: int | None = None,
    timeout_s: float = 600,
    pending_timeout_s: float = 120,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    return cluster_lifecycle.SCALE_CLUSTER.run(locals())
