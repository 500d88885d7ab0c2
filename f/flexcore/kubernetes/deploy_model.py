# requirements: flexcore_kubernetes
"""Serves a trained model on Kubernetes by the Open Inference Protocol v2, and proves it with one prediction."""

from typing import Any, Literal

from f.flexcore.lib.kubernetes import model_deployment

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
    server: Literal["mlserver", "flexcore"] = "mlserver",
    image: str = "",
    image_packages: list[str] | None = None,
    model_source: str = "",
    service_type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP",
    timeout_s: int = 600,
    max_replicas: int = 0,
    scale_on: Literal["cpu", "memory", "requests"] = "cpu",
    scale_target: float | None = None,
    prometheus_url: str = "",
    requests_metric: str = "",
    max_unavailable: int | None = None,
    mode: Literal["deployment", "kserve"] = "deployment",
    run_as_user: int | None = None,
    writable_root: bool = False,
    network_policy: bool = True,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    return model_deployment.DEPLOY_MODEL.run(locals())
