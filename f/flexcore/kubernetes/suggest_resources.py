# requirements: flexcore_kubernetes
"""Measures what a deployed model uses and suggests its requests, with the reasons. Changes nothing."""

from typing import Any

from f.flexcore.lib.kubernetes import right_sizing_operations

c_kubernetes_cluster = dict
c_flexcore_settings = dict


def main(
    cluster: c_kubernetes_cluster,
    name: str,
    observe_s: int = 60,
    percentile: float = 0.9,
    headroom: float = 0.15,
    namespace: str = "",
    container: str = "",
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    return right_sizing_operations.SUGGEST_RESOURCES.run(locals())
