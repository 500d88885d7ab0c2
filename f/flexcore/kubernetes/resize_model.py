# requirements: flexcore_kubernetes
"""Gives a deployed model other requests: its running pods in place, or its template by a rollout."""

from typing import Any, Literal

from f.flexcore.lib.kubernetes import right_sizing_operations

c_kubernetes_cluster = dict
c_flexcore_settings = dict


def main(
    cluster: c_kubernetes_cluster,
    name: str,
    cpu: str = "",
    memory: str = "",
    apply: Literal["pods", "template"] = "pods",
    accept_autoscaler: bool = False,
    namespace: str = "",
    container: str = "",
    timeout_s: int = 300,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    return right_sizing_operations.RESIZE_MODEL.run(locals())
