# requirements: flexcore_kubernetes
# py: ==3.11.*
"""Tells whether a cluster answers, the namespace exists, and the credentials may do what is to be done there."""

import os
from typing import Any, Literal

from f.flexcore.core.errors import checked
from f.flexcore.core.identity import execution_key
from f.flexcore.kubernetes.inspection import inspect_cluster
from f.flexcore.kubernetes.preflight import check_operation
from f.flexcore.kubernetes.session import connect

c_kubernetes_cluster = dict
c_flexcore_settings = dict


def main(
    cluster: c_kubernetes_cluster | None = None,
    namespace: str = "",
    operation: Literal["job", "deploy"] = "job",
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    chosen = checked(str, operation or "job", "operation")
    check_operation(chosen)
    session = connect(cluster, namespace, settings)
    return inspect_cluster(session.kubernetes, session.namespace, chosen, execution_key(os.environ)).plain()
