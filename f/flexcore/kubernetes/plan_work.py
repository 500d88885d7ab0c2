# requirements: flexcore_kubernetes
"""Says what a Job or a deployment would make on a cluster, what it would change, and whether it would likely run."""

from typing import Any, Literal

from f.flexcore.lib.kubernetes import plan_request

c_kubernetes_cluster = dict
c_flexcore_settings = dict


def main(
    cluster: c_kubernetes_cluster | None = None,
    operation: Literal["job", "deploy_model"] = "job",
    request: dict | None = None,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    return plan_request.plan_request(cluster, operation, request, settings)
