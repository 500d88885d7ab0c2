# requirements: flexcore_kubernetes
"""How many copies of a model there are, and how few a drain may leave: the objects for it, and what the cluster must
have for them.

fixed                     spec.replicas of the Deployment
cpu, memory               a HorizontalPodAutoscaler; needs the metrics API (metrics-server)
requests, by KEDA         a ScaledObject that asks Prometheus
requests, by an adapter   a HorizontalPodAutoscaler; needs that metric of pods in the custom metrics API

Where something scales, spec.replicas is its own, and in nothing that we apply.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes_api import api_errors

# A form is checked without a cluster, and needs none of what reads one.
if TYPE_CHECKING:
    from f.flexcore.lib.kubernetes import cluster_objects

Object = dict[str, Any]
ScaleOn = Literal["cpu", "memory", "requests"]

DEFAULT_PERCENT = 80
# What MLServer counts; an adapter of Prometheus calls its rate by the second name.
REQUESTS_METRIC = "rest_server_requests_total"
METRICS_GROUP, CUSTOM_GROUP = "metrics.k8s.io", "custom.metrics.k8s.io"
# Copies are taken away only when the load has been lower for so long.
CALM_S = 120
RATE_WINDOW = "1m"


@dataclass(frozen=True, slots=True)
class Scaling:
    """max_replicas 0: the number of copies is fixed. target: percent of the reserved cpu or memory, or requests per
    second of each copy; None: 80 percent. max_unavailable None: one where there are two or more copies."""

    min_replicas: int = 1
    max_replicas: int = 0
    on: ScaleOn = "cpu"
    target: float | None = None
    prometheus_url: str = ""
    requests_metric: str = ""
    max_unavailable: int | None = None

    @property
    def is_automatic(self) -> bool:
        return self.max_replicas > 0

    @property
    def has_budget(self) -> bool:
        """A budget for one copy would keep its node from ever being drained, unless that is asked for."""
        return self.max_unavailable is not None or self.min_replicas > 1


def check(scaling: Scaling) -> None:
    """Raises InvalidInput for what no cluster can do."""
    if not scaling.is_automatic:
        return
    if scaling.max_replicas < scaling.min_replicas:
        raise _wrong("max_replicas", f"{scaling.max_replicas} is less than replicas ({scaling.min_replicas})", "Swap.")
    if scaling.on == "requests" and scaling.target is None:
        raise _wrong("scale_target", "is missing", "Say how many requests per second each copy should have.")
    if scaling.prometheus_url and not scaling.prometheus_url.startswith(("http://", "https://")):
        raise _wrong(
            "prometheus_url",
            f"{scaling.prometheus_url!r} is not an address",
            "Use e.g. http://prometheus.monitoring:9090.",
        )


# --- what the cluster has


def choose_kind(scaling: Scaling, place: cluster_objects.Namespace) -> cluster_objects.Kind | None:
    """The kind of object that scales; None when the number is fixed. Raises InvalidInput that names what the cluster
    lacks for it."""
    from f.flexcore.lib.kubernetes import cluster_objects

    if not scaling.is_automatic:
        return None
    if scaling.on != "requests":
        if METRICS_GROUP not in place.groups():
            raise _wrong(
                "scale_on",
                f"{scaling.on} is not measured: the cluster has no metrics API ({METRICS_GROUP})",
                "Have metrics-server installed, or leave max_replicas empty.",
            )
        return cluster_objects.AUTOSCALERS
    has_keda = place.serves(cluster_objects.SCALED_OBJECTS)
    if has_keda and scaling.prometheus_url:
        return cluster_objects.SCALED_OBJECTS
    if _has_pod_metric(scaling, place):
        return cluster_objects.AUTOSCALERS
    raise _explain_missing(scaling, place, has_keda)


def _has_pod_metric(scaling: Scaling, place: cluster_objects.Namespace) -> bool:
    """Whether the custom metrics API has the rate of requests of pods."""
    wanted = f"pods/{pod_metric_name(scaling)}"
    for version in place.groups().get(CUSTOM_GROUP, ()):
        page = place.kubernetes.list(f"/apis/{CUSTOM_GROUP}/{version}", {}, api_errors.Call("get", CUSTOM_GROUP))
        if any(item.get("name") == wanted for item in page.get("resources") or ()):
            return True
    return False


def _explain_missing(scaling: Scaling, place: cluster_objects.Namespace, has_keda: bool) -> errors.InvalidInput:
    from f.flexcore.lib.kubernetes import cluster_objects

    if has_keda:
        return _wrong(
            "prometheus_url",
            "is missing: KEDA asks Prometheus for the requests",
            "Give the address at which the cluster reaches Prometheus, e.g. http://prometheus.monitoring:9090.",
        )
    keda = place.groups().get(cluster_objects.SCALED_OBJECTS.group)
    if CUSTOM_GROUP in place.groups():
        has = f"its custom metrics API has no {pod_metric_name(scaling)} of pods, and there is no KEDA"
    elif keda:
        has = f"its KEDA serves {', '.join(keda)} and not {cluster_objects.SCALED_OBJECTS.version}"
    else:
        has = f"it has neither KEDA ({cluster_objects.SCALED_OBJECTS.group}) nor a custom metrics API ({CUSTOM_GROUP})"
    return _wrong(
        "scale_on",
        f"requests cannot be measured in this cluster: {has}",
        "Scale on cpu, or have KEDA or an adapter of Prometheus installed.",
    )


# --- objects


def pod_metric_name(scaling: Scaling) -> str:
    """As an adapter of Prometheus calls the rate of a counter; another name is its own already."""
    metric = scaling.requests_metric or REQUESTS_METRIC
    return f"{metric.removesuffix('_total')}_per_second" if metric.endswith("_total") else metric


def make_autoscaler(scaling: Scaling, metadata: Object) -> Object:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": metadata["name"]}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata,
        "spec": {
            "scaleTargetRef": target,
            "minReplicas": scaling.min_replicas,
            "maxReplicas": scaling.max_replicas,
            "metrics": [_make_metric(scaling)],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": CALM_S}},
        },
    }


def _make_metric(scaling: Scaling) -> Object:
    if scaling.on == "requests":
        target = {"type": "AverageValue", "averageValue": format_amount(scaling.target or 0)}
        return {"type": "Pods", "pods": {"metric": {"name": pod_metric_name(scaling)}, "target": target}}
    use: Object = {"type": "Utilization", "averageUtilization": choose_percent(scaling)}
    return {"type": "Resource", "resource": {"name": scaling.on, "target": use}}


def choose_percent(scaling: Scaling) -> int:
    return max(1, round(scaling.target or DEFAULT_PERCENT))


def make_query(scaling: Scaling, namespace: str, deployment: str) -> str:
    """PromQL: requests per second of all copies."""
    metric = scaling.requests_metric or REQUESTS_METRIC
    return f'sum(rate({metric}{{namespace="{namespace}",pod=~"{deployment}-.*"}}[{RATE_WINDOW}]))'


def format_amount(value: float) -> str:
    """As the API server writes it back: whole, or in thousandths."""
    return str(round(value)) if value == round(value) else f"{round(value * 1000)}m"


def make_scaled_object(scaling: Scaling, metadata: Object) -> Object:
    """KEDA makes the HorizontalPodAutoscaler of it. Source: https://keda.sh/docs/latest/scalers/prometheus/"""
    trigger = {
        "serverAddress": scaling.prometheus_url,
        "query": make_query(scaling, metadata["namespace"], metadata["name"]),
        "threshold": f"{scaling.target:g}",
    }
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": metadata,
        "spec": {
            "scaleTargetRef": {"name": metadata["name"]},
            "minReplicaCount": scaling.min_replicas,
            "maxReplicaCount": scaling.max_replicas,
            "cooldownPeriod": CALM_S,
            "triggers": [{"type": "prometheus", "metricType": "AverageValue", "metadata": trigger}],
        },
    }


def make_budget(scaling: Scaling, metadata: Object, selector: Mapping[str, str]) -> Object:
    """Pods that are not ready do not hold a drain up."""
    count = 1 if scaling.max_unavailable is None else scaling.max_unavailable
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata,
        "spec": {
            "maxUnavailable": count,
            "selector": {"matchLabels": dict(selector)},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


# --- other people's


def find_others(autoscalers: Sequence[Object], name: str) -> list[str]:
    """Names of the HorizontalPodAutoscalers that scale the Deployment `name` and that neither we nor a ScaledObject of
    ours have made."""
    from f.flexcore.lib.kubernetes import cluster_objects

    found = []
    for item in autoscalers:
        target = (item.get("spec") or {}).get("scaleTargetRef") or {}
        by_keda = any(
            (owner.get("kind"), owner.get("name")) == ("ScaledObject", name)
            for owner in item["metadata"].get("ownerReferences") or ()
        )
        is_ours = by_keda or cluster_objects.is_ours(item)
        if (target.get("kind"), target.get("name")) == ("Deployment", name) and not is_ours:
            found.append(str(item["metadata"]["name"]))
    return found


def _wrong(field: str, problem: str, remedy: str) -> errors.InvalidInput:
    return errors.InvalidInput(f"{field}: {problem}", subject=field, remedy=remedy)
