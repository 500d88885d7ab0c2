# requirements: flexcore_kubernetes
"""What autoscalers make of new requests: an HPA counts in shares of them, a VPA writes them itself.

Source: https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/#algorithm-details
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes import right_sizing
from f.flexcore.lib.kubernetes_api import api_errors, api_groups, client

Object = Mapping[str, Any]

VPA_GROUP = "autoscaling.k8s.io"
UNCHANGING_MODES = ("Off", "Initial")


def list_horizontal(kubernetes: client.Kubernetes, namespace: str, name: str) -> list[dict[str, Any]]:
    """The HorizontalPodAutoscalers of a Deployment, also those that KEDA made."""
    path = f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers"
    page = kubernetes.list(path, {}, api_errors.Call("list", "horizontalpodautoscalers.autoscaling", namespace))
    return _select_target(page.get("items") or (), "scaleTargetRef", name)


def list_vertical(kubernetes: client.Kubernetes, namespace: str, name: str) -> list[dict[str, Any]]:
    """The VerticalPodAutoscalers of a Deployment; none where the cluster has no such thing."""
    if not api_groups.has_api_group(kubernetes, VPA_GROUP):
        return []
    path = f"/apis/{VPA_GROUP}/v1/namespaces/{namespace}/verticalpodautoscalers"
    page = kubernetes.list(path, {}, api_errors.Call("list", f"verticalpodautoscalers.{VPA_GROUP}", namespace))
    return _select_target(page.get("items") or (), "targetRef", name)


def _select_target(items: Iterable[dict[str, Any]], field: str, name: str) -> list[dict[str, Any]]:
    def is_meant(item: Object) -> bool:
        target = (item.get("spec") or {}).get(field) or {}
        return target.get("kind") == "Deployment" and target.get("name") == name

    return [item for item in items if is_meant(item)]


def find_vertical_owner(autoscalers: Iterable[Object]) -> str:
    """The name of a VPA that writes requests by itself, or ""."""
    for item in autoscalers:
        mode = ((item.get("spec") or {}).get("updatePolicy") or {}).get("updateMode") or "Auto"
        if mode not in UNCHANGING_MODES:
            return str(item["metadata"]["name"])
    return ""


def describe_effects(autoscalers: Iterable[Object], container: Object, wanted: Mapping[str, str]) -> list[str]:
    """What each HPA that counts in shares of the requests would do after a change of them. wanted: cpu and memory, ""
    for one that stays."""
    return [
        text
        for item in autoscalers
        for metric in (item.get("spec") or {}).get("metrics") or ()
        if (text := _describe_effect(item, metric, container, wanted))
    ]


def _describe_effect(item: Object, metric: Object, container: Object, wanted: Mapping[str, str]) -> str:
    source = metric.get("resource") or metric.get("containerResource") or {}
    name, target = str(source.get("name") or ""), source.get("target") or {}
    if not wanted.get(name) or target.get("type") != "Utilization":
        return ""
    share = int(target.get("averageUtilization") or 0)
    before = right_sizing.read_amount(container, "requests", name)
    after = right_sizing.read_amount({"resources": {"requests": wanted}}, "requests", name)
    autoscaler = item["metadata"]["name"]
    text = f"HorizontalPodAutoscaler {autoscaler} holds {name} at {share} % of the requests"
    if not before or not after:
        return text
    formatted = [right_sizing.format_amount(name, amount * share / 100) for amount in (before, after)]
    text += f": it would scale at {formatted[1]} a pod instead of {formatted[0]}"
    status, spec = item.get("status") or {}, item.get("spec") or {}
    replicas, now = status.get("currentReplicas"), _current_utilization(status, metric)
    if not replicas or now is None or not share:
        return text
    then = now * before / after
    count = min(max(math.ceil(replicas * then / share), spec.get("minReplicas") or 1), spec.get("maxReplicas") or 1)
    return f"{text}; the load of now would count as {then:.0f} % and not {now} %: {count} replicas (now {replicas})"


def _current_utilization(status: Object, metric: Object) -> int | None:
    kind = "containerResource" if metric.get("containerResource") else "resource"
    name = (metric.get(kind) or {}).get("name")
    for item in status.get("currentMetrics") or ():
        source = item.get(kind) or {}
        if source.get("name") == name:
            value = (source.get("current") or {}).get("averageUtilization")
            return None if value is None else int(value)
    return None


def check_owners(
    kubernetes: client.Kubernetes,
    namespace: str,
    name: str,
    container: Object,
    wanted: Mapping[str, str],
    is_accepted: bool,
) -> list[str]:
    """What the Deployment's autoscalers will do. Raises Conflict where a VPA owns the requests, or where an HPA would
    change its mind and nobody has said that it may (`is_accepted`)."""
    if owner := find_vertical_owner(list_vertical(kubernetes, namespace, name)):
        raise errors.Conflict(
            f"VerticalPodAutoscaler {owner} writes the requests of {name} itself",
            subject="name",
            category="owned_by_autoscaler",
            remedy=f"Set its updateMode to Off, or change its resourcePolicy instead (kubectl edit vpa {owner}).",
        )
    effects = describe_effects(list_horizontal(kubernetes, namespace, name), container, wanted)
    if effects and not is_accepted:
        raise errors.Conflict(
            "; ".join(effects),
            subject="accept_autoscaler",
            category="autoscaler",
            remedy="Set accept_autoscaler when that is meant, or change the autoscaler's target as well.",
            effects=effects,
        )
    return effects
