# requirements: flexcore_kubernetes
"""Chooses among several clusters by price, headroom or latency, and says why each of the others was not taken."""

from typing import Any, Literal

from f.flexcore.lib.kubernetes import cluster_choice
from f.flexcore.lib.windmill import client

c_flexcore_settings = dict


def main(
    clusters: list[str] | None = None,
    cpu: str = "",
    memory: str = "",
    gpus: int = 0,
    copies: int = 1,
    namespace: str = "",
    prefer: Literal["price", "headroom", "latency"] = "price",
    strategy: Literal["one", "spread", "failover"] = "one",
    count: int = 2,
    clouds: list[str] | None = None,
    regions: list[str] | None = None,
    capabilities: list[str] | None = None,
    max_latency: Literal["", "low", "medium", "high"] = "",
    exclude: list[str] | None = None,
    data_location: str = "",
    data_gib: float = 0,
    output_gib: float = 0,
    expected_s: float | None = None,
    contact_timeout_s: float = 5,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    return cluster_choice.choose_cluster(locals(), client.Client().resource)
