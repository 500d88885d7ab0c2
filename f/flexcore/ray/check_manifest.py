# requirements: flexcore_base
"""Checks a RayCluster, RayJob or RayService manifest against the rules of KubeRay and the cluster, and creates nothing."""

import os
from typing import Any

from f.flexcore.lib.core import identity
from f.flexcore.lib.ray import ray_job_plan

c_ray_cluster = dict
c_flexcore_settings = dict


def main(cluster: c_ray_cluster, manifest: str, settings: c_flexcore_settings | None = None) -> dict[str, Any]:
    return ray_job_plan.plan_manifest(manifest, cluster, settings, identity.execution_key(os.environ)).plain()
