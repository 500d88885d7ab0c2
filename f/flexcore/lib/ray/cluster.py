# requirements: flexcore_base
"""What a Ray cluster has and can give: its health and measures, and whether work fits on it. Changes nothing there.

A number that the cluster does not tell is null.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from f.flexcore.lib.core import contracts, errors, identity, operation, resources, units
from f.flexcore.lib.ray import dashboard, labels

# The type of a node that no autoscaler has made: it is named after the node itself.
FIXED_NODE = re.compile(r"node_?[0-9a-f]{40,}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Needs:
    """`count` processes that each take so many CPUs, GPUs and bytes of memory of one node that `label_selector`
    chooses; `subject` is the argument that says so."""

    count: int = 1
    cpus: float = 0
    gpus: float = 0
    subject: str = "num_cpus"
    memory_bytes: int = 0
    label_selector: Mapping[str, str] = field(default_factory=dict)


def measure(api: dashboard.RayApi) -> dashboard.Json:
    """Measure a cluster: its version (which proves that this is Ray), resources, and Serve's applications."""
    version = api.version()
    # The jobs API is what the steps use; a proxy may let the version pass and refuse this.
    jobs = api.jobs()
    status, serve = _ask_if_able(api.cluster_status), _ask_if_able(api.serve_details)
    amounts = parse_resources(status)
    if amounts["nodes"] is None:
        # Autoscaler v2 leaves its report to itself; what is free is then unknown.
        amounts |= sum_nodes(_ask_nodes(api))
    return {
        "ray_version": version["ray_version"],
        "session": version.get("session_name"),
        "running_jobs": sum(1 for job in jobs if job.get("status") in ("PENDING", "RUNNING")),
        **amounts,
        **parse_serve(serve),
    }


def check_cluster(cluster: Any, key: identity.ExecutionKey) -> contracts.StepResult:
    """The measures as the result of a step. Raises InvalidInput for a resource that is none, and RayApi's errors."""
    ray = errors.validate(resources.RayCluster, cluster or {}, "cluster")
    with dashboard.RayApi(ray) as api:
        data = measure(api)
    print(f"Ray {data['ray_version']} at {api.address}: {_describe_cpus(data)}")
    return plan_result(key, data)


def plan_result(key: identity.ExecutionKey, data: dashboard.Json) -> contracts.StepResult:
    return contracts.StepResult(success=True, runtime="ray", execution_key=key.value, attempt=1, data=data)


def check_capacity(api: dashboard.RayApi, needs: Needs) -> None:
    """Raises InvalidInput when the cluster can never give what is needed: Ray itself would let the job wait forever."""
    if not (needs.cpus or needs.gpus or needs.memory_bytes or needs.label_selector):
        return
    try:
        status = api.cluster_status()
        node_labels = labels.parse_nodes(api.nodes()) if needs.label_selector else {}
    except errors.FlexcoreError:
        # Whether the cluster can be reached, the submission tells.
        return
    absent = labels.find_problem(list(node_labels.values()), needs.label_selector) if node_labels else ""
    if absent and is_fixed(status):
        remedy = "Choose labels that a node has, or start a node with them."
        raise errors.InvalidInput(f"The Ray cluster: {absent}", subject="label_selector", remedy=remedy)
    chosen = {id for id, has in node_labels.items() if labels.matches(has, needs.label_selector)}
    problem = find_shortage(status, needs, chosen or None)
    if problem:
        raise errors.InvalidInput(problem, subject=needs.subject, remedy="Ask for less, or add nodes to the cluster.")


def is_fixed(status: dashboard.Json) -> bool:
    """Whether the cluster's nodes are all that there will ever be, as far as it tells.

    With an autoscaler anything may come; without one the autoscaler's report names its node types after the nodes
    themselves. Source: the dashboard's /api/cluster_status of Ray 2.60."""
    report = status.get("autoscalerReport") or {}
    node_types = [*(report.get("activeNodes") or {}), *(report.get("nodeTypeMapping") or {}).values()]
    return bool(node_types) and all(FIXED_NODE.fullmatch(kind) for kind in node_types)


def find_shortage(status: dashboard.Json, needs: Needs, chosen: set[str] | None = None) -> str:
    """Why the cluster can never give what is needed; "" when it can, or may, or does not tell. Pure.

    chosen: ids of the nodes that may take it; None: all of them."""
    usage = (status.get("loadMetricsReport") or {}).get("usageByNode") or {}
    nodes = [node for id, node in usage.items() if chosen is None or str(id) in chosen]
    if not nodes or not is_fixed(status):
        return ""
    asked = (("CPU", needs.cpus), ("GPU", needs.gpus), ("memory", needs.memory_bytes))
    request = {name: float(amount) for name, amount in asked if amount > 0}
    if not request or sum(_fit_count(node, request) for node in nodes) >= needs.count:
        return ""
    wanted = " and ".join(_describe_amount(name, amount) for name, amount in request.items())
    has = "; ".join(
        ", ".join(_describe_amount(name, (node.get(name) or (0, 0))[1]) for name in request) for node in nodes
    )
    times = f"{needs.count} times " if needs.count > 1 else ""
    whose = "its nodes" if chosen is None else "its nodes with those labels"
    return f"The Ray cluster can never give {times}{wanted}: {whose} have {has}"


def _describe_amount(name: str, amount: float) -> str:
    return f"{amount / units.GIB:.3g} GiB of memory" if name == "memory" else f"{amount:g} {name}s"


def parse_resources(status: dashboard.Json | None) -> dashboard.Json:
    """CPUs, GPUs, memory in bytes and nodes, from the autoscaler's report. Pure."""
    report = (status or {}).get("loadMetricsReport") or {}
    # A head is a node itself: a report without any is one that a head makes before it has heard of itself.
    usage = report.get("usage") or None
    amounts: dashboard.Json = {"nodes": sum(count for _, count in report.get("nodeTypes") or []) or None}
    for name, key in (("cpus", "CPU"), ("gpus", "GPU"), ("memory", "memory")):
        if usage is None:
            amounts |= {f"{name}_total": None, f"{name}_free": None}
            continue
        # A resource that is not listed is one that the cluster does not have.
        used, total = usage.get(key, (0, 0))
        amounts |= {f"{name}_total": total, f"{name}_free": total - used}
    return amounts


def sum_nodes(nodes: list[dashboard.Json] | None) -> dashboard.Json:
    """The number of nodes that are alive, and what they have in all; {} when they are not known. Pure."""
    if not nodes:
        return {}
    amounts: dashboard.Json = {"nodes": len(nodes)}
    for name, key in (("cpus", "CPU"), ("gpus", "GPU"), ("memory", "memory")):
        amounts[f"{name}_total"] = sum((node.get("resources_total") or {}).get(key, 0) for node in nodes)
    return amounts


def parse_serve(details: dashboard.Json | None) -> dashboard.Json:
    """Whether Ray Serve runs, on which port, and its applications (name → status). Pure."""
    if details is None:
        return {"serve_running": None, "serve_port": None, "serve_applications": None}
    applications = details.get("applications") or {}
    is_running = bool(details.get("controller_info") or applications)
    options = details.get("http_options") or {}
    return {
        "serve_running": is_running,
        "serve_port": options.get("port") if is_running else None,
        "serve_applications": {name: item.get("status") for name, item in applications.items()},
    }


def _fit_count(node: dashboard.Json, request: dict[str, float]) -> int:
    """How many times the request fits on a node that is otherwise empty."""
    return int(min((node.get(name) or (0, 0))[1] // amount for name, amount in request.items()))


def _ask_if_able(ask: Callable[[], dashboard.Json | None]) -> dashboard.Json | None:
    try:
        return ask()
    except errors.Forbidden:
        raise
    except errors.FlexcoreError:
        return None


def _ask_nodes(api: dashboard.RayApi) -> list[dashboard.Json] | None:
    try:
        return api.nodes()
    except errors.FlexcoreError:
        return None


def _describe_cpus(data: dashboard.Json) -> str:
    if data["cpus_total"] is None:
        return "its CPUs were not measured"
    if data["cpus_free"] is None:
        return f"{data['cpus_total']} CPUs"
    return f"{data['cpus_free']} of {data['cpus_total']} CPUs free"


# --- health

CAPABILITIES = ("serve_running", "serve_port", "serve_applications", "nodes", "session")


def health(place: str, resource: Any, namespace: str = "") -> operation.Health:
    """The health of the cluster that `resource` names. Raises FlexcoreError when it is down."""
    with dashboard.RayApi(errors.validate(resources.RayCluster, resource, place)) as api:
        data = measure(api)
    is_busy = data["cpus_free"] is not None and data["cpus_free"] <= 0
    return operation.Health(
        runtime="ray",
        place=place,
        state="limited" if is_busy else "ready",
        version=data["ray_version"],
        cpus_free=data["cpus_free"],
        cpus_total=data["cpus_total"],
        gpus_free=data["gpus_free"],
        memory_free=data["memory_free"],
        queue=data["running_jobs"],
        detail="All CPUs are in use: new work waits" if is_busy else "",
        capabilities={name: data[name] for name in CAPABILITIES},
    )
