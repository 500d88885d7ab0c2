# requirements: flexcore_kubernetes
"""Moves requests from one deployed version to another, step by step, and back by itself when the checks fail."""

from typing import Any, Literal

from f.flexcore.lib.kubernetes import traffic_operation
from f.flexcore.lib.windmill import stops

c_kubernetes_cluster = dict
c_flexcore_settings = dict


def main(
    cluster: c_kubernetes_cluster,
    stable: str,
    candidate: str,
    route: str,
    namespace: str = "",
    mode: Literal["auto", "gateway", "istio", "replicas"] = "auto",
    gateway: str = "",
    host: str = "",
    path: str = "/",
    weights: list[int] | None = None,
    pause_s: int = 60,
    min_requests: int = 50,
    max_error_rate: float = 0.01,
    max_latency_ratio: float = 1.5,
    measure: Literal["auto", "prometheus", "probes"] = "auto",
    queries: dict | None = None,
    probe_path: str = "/v2/health/ready",
    probe_body: dict | None = None,
    hold_s: int = 86400,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    stops.refuse_stopped()
    return traffic_operation.SHIFT_TRAFFIC.run(locals())
