# requirements: flexcore_kubernetes
"""Takes a deployed model down: its Deployment and all that belongs to it, seen to be gone."""

from typing import Any

from f.flexcore.lib.kubernetes import undeployment

c_kubernetes_cluster = dict
c_flexcore_settings = dict


def main(
    cluster: c_kubernetes_cluster,
    name: str,
    namespace: str = "",
    timeout_s: int = 120,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    return undeployment.undeploy_model(cluster, name, namespace, timeout_s or 120, settings)
