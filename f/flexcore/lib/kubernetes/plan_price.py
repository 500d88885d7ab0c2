# requirements: flexcore_kubernetes
"""What pods are charged for by what they reserve. Pure.

The cluster resource's own prices go before those of the settings (runtimes.kubernetes.price).
"""

from __future__ import annotations

from typing import Any

from f.flexcore.lib.core import resources
from f.flexcore.lib.kubernetes import plan_pod

GIB = 2.0**30
RUNTIME = "kubernetes"


def read_prices(cluster: resources.KubernetesCluster | None, settings: resources.Settings) -> dict[str, float | None]:
    """US dollars an hour, by cpu, memory (of a GiB) and gpu."""
    state = settings.runtimes.get(RUNTIME)
    prices = {
        "cpu": state.price.cpu_hour if state else None,
        "memory": state.price.memory_gib_hour if state else None,
        "gpu": state.price.gpu_hour if state else None,
    }
    own = {
        "cpu": cluster.cpu_hour_usd if cluster else None,
        "memory": cluster.memory_gib_hour_usd if cluster else None,
        "gpu": cluster.gpu_hour_usd if cluster else None,
    }
    return prices | {name: price for name, price in own.items() if price is not None}


def compute_price(
    requests: plan_pod.Amounts, copies: int, prices: dict[str, float | None], hours: float | None
) -> dict[str, Any]:
    """{usd_per_hour, usd_at_most, unknown}; null where a price of something that is asked for is not known. hours: the
    longest time; None for what stays."""
    amounts = {
        "cpu": requests.get("cpu", 0.0),
        "memory": requests.get("memory", 0.0) / GIB,
        "gpu": sum(amount for name, amount in requests.items() if name.endswith("/gpu")),
    }
    asked = {name: amount for name, amount in amounts.items() if amount}
    unknown = sorted(name for name in asked if prices[name] is None)
    hourly = (
        None if unknown or not asked else copies * sum(amount * (prices[name] or 0.0) for name, amount in asked.items())
    )
    total = None if hourly is None or hours is None else hourly * hours
    return {"usd_per_hour": _round(hourly), "usd_at_most": _round(total), "unknown": unknown}


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
