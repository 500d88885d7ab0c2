# requirements: flexcore_base
"""Checks that a Ray cluster can be reached and returns what it has: version, resources, Ray Serve. Starts nothing."""

import os
from typing import Any

from f.flexcore.lib.core import identity
from f.flexcore.lib.ray import cluster as ray_cluster
from f.flexcore.lib.windmill import stops

c_ray_cluster = dict


def main(cluster: c_ray_cluster | None = None) -> dict[str, Any]:
    stops.refuse_stopped()
    return ray_cluster.check_cluster(cluster, identity.execution_key(os.environ)).plain()
