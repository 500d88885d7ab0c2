# requirements: flexcore_kubernetes
# py: ==3.11.*
"""Takes a deployed model down: its Deployment and all that belongs to it, seen to be gone."""

import os
from typing import Any

from f.flexcore.core.contracts import Remote, StepResult
from f.flexcore.core.identity import execution_key
from f.flexcore.kubernetes.serving import Deployer
from f.flexcore.kubernetes.session import connect

c_kubernetes_cluster = dict
c_flexcore_settings = dict


def main(
    cluster: c_kubernetes_cluster,
    name: str,
    namespace: str = "",
    timeout_s: int = 120,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    session = connect(cluster, namespace, settings)
    uid = Deployer(session.kubernetes, session.namespace).undeploy(name, timeout_s or 120)
    return StepResult(
        success=True,
        runtime="kubernetes",
        execution_key=execution_key(os.environ).value,
        attempt=1,
        data={"namespace": session.namespace, "removed": name},
        remote=Remote(kind="Deployment", name=name, uid=uid),
    ).plain()
