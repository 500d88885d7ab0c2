# requirements: flexcore_base
"""Shifts requests between the versions of a model that ray/deploy_model serves, or goes back to the shares before."""

from typing import Any

from f.flexcore.lib.ray import serve_release

c_ray_cluster = dict
c_flexcore_settings = dict


def main(
    cluster: c_ray_cluster,
    name: str,
    weights: dict | None = None,
    rollback: bool = False,
    timeout_s: int = 300,
    settings: c_flexcore_settings | None = None,
    from_revision: int = 0,
) -> dict[str, Any]:
    return serve_release.SET_TRAFFIC.run(locals())
