# requirements: flexcore_base
"""Whether a cluster can ever give what is asked of it. Pure; source: the dashboard's /api/cluster_status of Ray 2.60.

Ray itself lets such a request wait for ever. With an autoscaler anything may come, so nothing is refused; without one
the autoscaler's report names its node types after the nodes themselves.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

FIXED_NODE = re.compile(r"node_?[0-9a-f]{40,}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Needs:
    """`count` processes that each take so many CPUs and GPUs of one node; `subject` is the argument that says so."""

    count: int = 1
    cpus: float = 0
    gpus: float = 0
    subject: str = "num_cpus"


def shortage(status: dict[str, Any], needs: Needs) -> str:
    """Why the cluster can never give what is asked; "" when it can, or may, or does not tell."""
    nodes = (status.get("loadMetricsReport") or {}).get("usageByNode")
    report = status.get("autoscalerReport") or {}
    kinds = [*(report.get("activeNodes") or {}), *(report.get("nodeTypeMapping") or {}).values()]
    if not nodes or not kinds or not all(FIXED_NODE.fullmatch(kind) for kind in kinds):
        return ""
    asked = {name: amount for name, amount in (("CPU", needs.cpus), ("GPU", needs.gpus)) if amount > 0}
    if not asked or sum(room(node, asked) for node in nodes.values()) >= needs.count:
        return ""
    wanted = " and ".join(f"{amount:g} {name}s" for name, amount in asked.items())
    has = "; ".join(
        ", ".join(f"{(node.get(name) or (0, 0))[1]:g} {name}s" for name in asked) for node in nodes.values()
    )
    times = f"{needs.count} times " if needs.count > 1 else ""
    return f"The Ray cluster can never give {times}{wanted}: its nodes have {has}"


def room(node: dict[str, Any], asked: dict[str, float]) -> int:
    """How many times what is asked fits on a node that is otherwise empty."""
    return int(min((node.get(name) or (0, 0))[1] // amount for name, amount in asked.items()))
