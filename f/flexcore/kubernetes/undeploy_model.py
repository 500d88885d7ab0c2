# requirements: flexcore_kubernetes
"""Takes a deployed model down: its Deployment and all that belongs to it, seen to be gone."""

import os
from typing import Any

from f.flexcore.lib.core import contracts, identity
from f.flexcore.lib.kubernetes import connection, model_deployer

c_kubernetes_cluster = dict
c_flexcore_settings = dict


def main(
    cluster: c_kubernetes_cluster,
    name: str,
    namespace: str = "",
    timeout_s: int = 120,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    session = connection.connect(cluster, namespace, settings)
    uid = model_deployer.Deployer(session.kubernetes, session.namespace).undeploy(name, timeout_s or 120)
    return contracts.StepResult(
        success=True,
        runtime="kubernetes",
        execution_key=identity.execution_key(os.environ).value,
        attempt=1,
        data={"namespace": session.namespace, "removed": name},
        remote=contracts.Remote(kind="Deployment", name=name, uid=uid),
    ).plain()
