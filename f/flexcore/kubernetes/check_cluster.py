# requirements: flexcore_kubernetes
"""Tells whether a cluster answers, the namespace exists, and the credentials may do what is to be done there."""

import os
from typing import Any, Literal

from f.flexcore.lib.core import errors, identity
from f.flexcore.lib.kubernetes import cluster_info, connection, preflight

c_kubernetes_cluster = dict
c_flexcore_settings = dict


def main(
    cluster: c_kubernetes_cluster | None = None,
    namespace: str = "",
    operation: Literal["job", "deploy"] = "job",
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    chosen = errors.checked(str, operation or "job", "operation")
    preflight.check_operation(chosen)
    session = connection.connect(cluster, namespace, settings)
    return cluster_info.inspect_cluster(
        session.kubernetes, session.namespace, chosen, identity.execution_key(os.environ)
    ).plain()
