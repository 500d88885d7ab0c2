# requirements: flexcore_kubernetes
"""Serves a trained model on Kubernetes by the Open Inference Protocol v2, and proves it with one prediction."""

import os
from typing import Any, Literal

from f.flexcore.lib.core import errors, identity
from f.flexcore.lib.kubernetes import connection, model_deployment
from f.flexcore.lib.storage import object_store

c_kubernetes_cluster = dict
c_flexcore_settings = dict


def main(
    cluster: c_kubernetes_cluster,
    model: dict,
    name: str = "",
    replicas: int = 1,
    cpu: str = "500m",
    memory: str = "1Gi",
    namespace: str = "",
    image: str = "",
    model_source: str = "",
    service_type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP",
    timeout_s: int = 600,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    asked = dict(
        name=name,
        replicas=replicas,
        cpu=cpu,
        memory=memory,
        image=image,
        model_source=model_source,
        service_type=service_type,
        timeout_s=timeout_s,
    )
    form, manifest = errors.validated(model_deployment.DeploymentForm, asked, ""), object_store.model_manifest(model)
    session = connection.connect(cluster, namespace, settings)
    serving = model_deployment.serving_of(
        form, manifest, session.settings, session.namespace, identity.execution_key(os.environ)
    )
    return model_deployment.deploy(session.kubernetes, serving).plain()
