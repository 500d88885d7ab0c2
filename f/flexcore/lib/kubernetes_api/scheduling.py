# requirements: flexcore_kubernetes
"""What the scheduler's message means: which field keeps a pod from every node, and whether waiting may help. Pure.

    0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't match Pod's node affinity/selector. preemption: …

The reason that most nodes give is rarely the one to change: a selector that matches nothing goes before a lack of
processors, since more processors would not help. Source: pkg/scheduler/framework/plugins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes_api import categories

Object = Mapping[str, Any]
POD = "spec.template.spec"

INSUFFICIENT = re.compile(r"Insufficient ([\w./-]*\w)")


def diagnose_unschedulable(message: str, pod: Object) -> categories.Problem:
    """As long as a queue may hold it back: a node may become free, or an autoscaler add one."""
    message = message or "No node fits"
    subject, remedy, error = _explain(message, pod.get("spec") or {})
    return categories.Problem(
        categories.Category.UNSCHEDULABLE, message, None, remedy=remedy, subject=subject, error=error
    )


def diagnose_gates(message: str, pod: Object) -> categories.Problem:
    gates = [str(item.get("name")) for item in (pod.get("spec") or {}).get("schedulingGates") or ()]
    detail = f"The pod waits for its scheduling gates ({', '.join(gates)})" if gates else message
    return categories.Problem(
        categories.Category.SUSPENDED, detail, None, remedy="Whoever has set the gates must remove them; see its queue."
    )


def _explain(message: str, spec: Object) -> tuple[str, str, type[errors.FlexcoreError] | None]:
    """(subject, remedy, error where it is not the usual one)"""
    if match := re.search(r'persistentvolumeclaim "([^"]+)" not found', message):
        return f"{POD}.volumes", f"Create the PersistentVolumeClaim {match[1]}, or correct its name.", errors.NotFound
    if "unbound immediate PersistentVolumeClaims" in message:
        remedy = "Give the claim a volume or a StorageClass that can make one: kubectl describe pvc."
        return f"{POD}.volumes", remedy, None
    if "didn't match Pod's node affinity/selector" in message or "didn't match node selector" in message:
        return _explain_selector(message, spec)
    if "untolerated taint" in message and not INSUFFICIENT.search(_strip_preemption(message)):
        return _explain_taints(list(dict.fromkeys(re.findall(r"\{[^}]*\}", message))))
    for text, field, remedy in FIELD_REASONS:
        if text in message:
            return f"{POD}.{field}", remedy, None
    if names := list(dict.fromkeys(INSUFFICIENT.findall(_strip_preemption(message)))):
        return _explain_shortage(names, message)
    for text, remedy in NODE_REASONS:
        if text in message:
            return "cluster", remedy, None
    if "no nodes available" in message or message.startswith("0/0 nodes"):
        return "cluster", "Add nodes that take pods.", None
    return "", "See each reason, and change the pod or the nodes accordingly.", None


FIELD_REASONS = (
    ("anti-affinity", "affinity", "Loosen the pod anti-affinity rule, or add nodes."),
    ("pod affinity rules", "affinity", "Correct the pod affinity rule, or start what it asks for first."),
    (
        "topology spread constraints",
        "topologySpreadConstraints",
        "Loosen the constraint (whenUnsatisfiable: ScheduleAnyway), or label the nodes with its topologyKey.",
    ),
    ("volume node affinity conflict", "volumes", "The volume is bound to another node or zone: run there, or copy it."),
    ("free ports for the requested pod ports", "containers", "Leave hostPort out, or wait until the port is free."),
    ("exceed max volume count", "volumes", "Use fewer volumes, or add nodes."),
)


NODE_REASONS = (
    ("were unschedulable", "The nodes are cordoned: kubectl uncordon them, wait until they are, or add nodes."),
    ("Too many pods", "The nodes have as many pods as they may: wait until others have ended, or add nodes."),
)


def _explain_selector(message: str, spec: Object) -> tuple[str, str, type[errors.FlexcoreError] | None]:
    selector = ", ".join(f"{name}={value}" for name, value in sorted((spec.get("nodeSelector") or {}).items()))
    field = "nodeSelector" if selector or not spec.get("affinity") else "affinity.nodeAffinity"
    wanted = f" {selector}" if selector else ""
    nodes = re.match(r"0/(\d+) nodes", message)
    # Other nodes may match and be full: then waiting helps.
    rest = INSUFFICIENT.findall(_strip_preemption(message))
    if rest:
        lacks = " and ".join(dict.fromkeys(rest))
        remedy = f"Nodes that match {field}{wanted} lack {lacks}: ask for less, wait, or add such nodes."
        return f"{POD}.{field}", remedy, None
    none_of = f"none of {nodes[1]} nodes has it" if nodes and nodes[1] != "1" else "no node has it"
    return f"{POD}.{field}", f"Correct {field}{wanted} ({none_of}), or label a node so.", errors.InvalidInput


def _explain_taints(taints: list[str]) -> tuple[str, str, type[errors.FlexcoreError] | None]:
    shown = ", ".join(taints) or "that is named"
    # Kubernetes' own taints say how a node is (not-ready, disk-pressure), not for whom it is.
    if taints and all(taint.startswith("{node.kubernetes.io/") for taint in taints):
        return (
            "cluster",
            f"The nodes are not fit for new pods now ({shown}): wait, or ask the cluster's operator.",
            None,
        )
    return f"{POD}.tolerations", f"Tolerate the taint {shown}, or use nodes without it.", errors.InvalidInput


def _explain_shortage(names: list[str], message: str) -> tuple[str, str, type[errors.FlexcoreError] | None]:
    known = {"cpu": "cpu", "memory": "memory", "nvidia.com/gpu": "gpus"}
    what = " and ".join(names)
    subject = known.get(names[0], f"{POD}.containers")
    if "not helpful" in message and "No preemption victims" not in message:
        return subject, f"No node is large enough: ask for less {what}, or add nodes that fit.", errors.InvalidInput
    return subject, f"Ask for less {what}, wait until others have finished, or add nodes.", None


def _strip_preemption(message: str) -> str:
    """Without what preemption would do, which repeats numbers of nodes."""
    return message.partition("preemption:")[0]
