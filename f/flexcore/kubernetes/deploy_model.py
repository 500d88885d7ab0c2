# requirements: flexcore_kubernetes
# py: ==3.11.*
"""Serves a trained model on Kubernetes by the Open Inference Protocol v2, and proves it with one prediction."""

import os
from typing import Any, Literal

from f.flexcore.core.errors import validated
from f.flexcore.core.identity import execution_key
from f.flexcore.kubernetes.model_deployment import DeploymentForm, deploy, serving_of
from f.flexcore.kubernetes.session import connect
from f.flexcore.storage.store import model_manifest

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
        name=name, replicas=replicas, cpu=cpu, memory=memory, image=image, model_source=model_source,
        service_type=service_type, timeout_s=timeout_s,
    )  # fmt: skip
    form, manifest = validated(DeploymentForm, asked, ""), model_manifest(model)
    session = connect(cluster, namespace, settings)
    serving = serving_of(form, manifest, session.settings, session.namespace, execution_key(os.environ))
    return deploy(session.kubernetes, serving).plain()
