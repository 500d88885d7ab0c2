# requirements: flexcore_base
"""Releases what ray/deploy_model left running: takes the application down, or one version that gets no requests."""

from typing import Any

from f.flexcore.lib.ray import serve_release

c_ray_cluster = dict
c_flexcore_settings = dict


def main(
    cluster: c_ray_cluster,
    name: str,
    version: str = "",
    timeout_s: int = 300,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    return serve_release.UNDEPLOY_MODEL.run(locals())
