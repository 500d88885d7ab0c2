# requirements: flexcore_kubernetes
"""Tells whether a cluster answers, the namespace exists, and the credentials may do what is to be done there."""

from typing import Any, Literal

from f.flexcore.lib.kubernetes import health
from f.flexcore.lib.windmill import stops

c_kubernetes_cluster = dict
c_flexcore_settings = dict


def main(
    cluster: c_kubernetes_cluster | None = None,
    namespace: str = "",
    operation: Literal["job", "deploy"] = "job",
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    stops.refuse_stopped()
    return health.check_cluster(cluster, namespace, operation, settings)
