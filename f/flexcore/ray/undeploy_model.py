# requirements: flexcore_base
"""Releases what ray/deploy_model left running: takes the application down. Other applications stay."""

from typing import Any

from f.flexcore.lib.ray import serve_job

c_ray_cluster = dict
c_flexcore_settings = dict


def main(
    cluster: c_ray_cluster, name: str, timeout_s: int = 300, settings: c_flexcore_settings | None = None
) -> dict[str, Any]:
    return serve_job.UNDEPLOY_MODEL.run(locals())
