# requirements: flexcore_kubernetes
"""Which tools a cluster has, by the APIs that it serves, and whether their controllers answer. Pure.

CRDs stay when an operator is stopped, so that "served" alone says little. A controller is heard by the lease that it
renews, an aggregated API by the server's own word (freshness); where neither is there, it is not known.
Source: KEP-3352 (aggregated discovery); the lease names are the defaults of each operator's manager.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

Object = Mapping[str, Any]

ANSWERS, SILENT, NOT_KNOWN = "answers", "does not answer", "not known"
# A lease is renewed several times before it is over; our clock and the server's may differ a little.
LEASE_SLACK_S = 30.0


@dataclass(frozen=True, slots=True)
class Tool:
    """group and plural: the API by which it is known; leases: how the names of its leases begin or end."""

    group: str
    plural: str
    leases: tuple[str, ...] = ()


TOOLS = {
    "kueue": Tool("kueue.x-k8s.io", "localqueues", ("c1f6bfd2.kueue.x-k8s.io",)),
    "jobset": Tool("jobset.x-k8s.io", "jobsets", ("6d4f6a47.jobset.x-k8s.io",)),
    "gateway_api": Tool("gateway.networking.k8s.io", "httproutes"),
    "istio": Tool("networking.istio.io", "virtualservices", ("istio-leader", "istio-namespace-controller-election")),
    "keda": Tool("keda.sh", "scaledobjects", ("operator.keda.sh",)),
    "kserve": Tool("serving.kserve.io", "inferenceservices", ("kserve-controller-manager-leader-lock",)),
    "kuberay": Tool("ray.io", "rayclusters", ("ray-operator-leader",)),
    "argo_cd": Tool("argoproj.io", "applications"),
    "argo_rollouts": Tool("argoproj.io", "rollouts", ("argo-rollouts-controller-lock",)),
    "flux_kustomize": Tool("kustomize.toolkit.fluxcd.io", "kustomizations", ("kustomize-controller-leader-election",)),
    "flux_helm": Tool("helm.toolkit.fluxcd.io", "helmreleases", ("helm-controller-leader-election",)),
    "metrics": Tool("metrics.k8s.io", "pods"),
    "custom_metrics": Tool("custom.metrics.k8s.io", ""),
    "external_metrics": Tool("external.metrics.k8s.io", ""),
    "karpenter": Tool("karpenter.sh", "nodepools", ("karpenter-leader-election",)),
    "dynamic_resources": Tool("resource.k8s.io", "deviceclasses"),
}
# Adds nodes; it has no API of its own.
CLUSTER_AUTOSCALER = "cluster-autoscaler"
AGGREGATED = ("metrics", "custom_metrics", "external_metrics")
BUILT_IN = ("dynamic_resources",)


@dataclass(frozen=True, slots=True)
class Api:
    """What the server serves of a group: (version, plural) → kind. stale: versions that it could not ask just now."""

    kinds: Mapping[tuple[str, str], str]
    versions: tuple[str, ...]
    stale: frozenset[str] = frozenset()


def read_discovery(document: Object) -> dict[str, Api]:
    """The groups of an APIGroupDiscoveryList, or, of a server that knows only the older form, of an APIGroupList."""
    if "groups" in document:
        return {
            group["name"]: Api({}, tuple(item["version"] for item in group.get("versions") or ()))
            for group in document["groups"]
        }
    return {
        str((item.get("metadata") or {}).get("name") or ""): _read_group(item) for item in document.get("items") or ()
    }


def _read_group(item: Object) -> Api:
    versions = item.get("versions") or ()
    kinds = {
        (str(version["version"]), str(entry["resource"])): str((entry.get("responseKind") or {}).get("kind") or "")
        for version in versions
        for entry in version.get("resources") or ()
    }
    stale = frozenset(str(version["version"]) for version in versions if version.get("freshness") == "Stale")
    return Api(kinds, tuple(str(version["version"]) for version in versions), stale)


def describe_tools(
    apis: Mapping[str, Api], leases: Sequence[Object] | None, gateway_classes: Sequence[Object] | None, now: datetime
) -> dict[str, dict[str, Any]]:
    """{served, versions, controller} of each tool. leases, gateway_classes: None where they may not be seen."""
    return {
        name: {
            "served": (versions := _list_versions(apis.get(tool.group), tool.plural)) != [],
            "versions": versions,
            "controller": _judge_controller(name, apis, leases, gateway_classes, now) if versions else None,
        }
        for name, tool in TOOLS.items()
    }


def _list_versions(api: Api | None, plural: str) -> list[str]:
    if api is None:
        return []
    if not api.kinds or not plural:
        return list(api.versions)
    return [version for version in api.versions if (version, plural) in api.kinds]


def _judge_controller(
    name: str,
    apis: Mapping[str, Api],
    leases: Sequence[Object] | None,
    gateway_classes: Sequence[Object] | None,
    now: datetime,
) -> str:
    tool = TOOLS[name]
    if name in BUILT_IN:
        return ANSWERS
    if name in AGGREGATED:
        return SILENT if apis[tool.group].stale else ANSWERS
    if name == "gateway_api":
        return _judge_gateways(gateway_classes)
    return judge_leases(leases, tool.leases, now)


def _judge_gateways(classes: Sequence[Object] | None) -> str:
    """A class that no controller has accepted has none. An accepted one may have lost its own since."""
    if classes is None:
        return NOT_KNOWN
    accepted = any(
        item.get("type") == "Accepted" and item.get("status") == "True"
        for entry in classes
        for item in (entry.get("status") or {}).get("conditions") or ()
    )
    return NOT_KNOWN if accepted else SILENT


def judge_leases(leases: Sequence[Object] | None, names: Sequence[str], now: datetime) -> str:
    """By the newest of the leases: without one, an operator may simply not use any."""
    found = [lease for lease in leases or () if any(name in str(lease["metadata"]["name"]) for name in names)]
    ages = [age for lease in found if (age := _read_age_s(lease, now)) is not None]
    if not ages:
        return NOT_KNOWN
    return ANSWERS if min(ages) <= 0 else SILENT


def _read_age_s(lease: Object, now: datetime) -> float | None:
    """Seconds since the lease was over; None for one that nobody holds in time."""
    spec = lease.get("spec") or {}
    try:
        renewed = datetime.fromisoformat(str(spec["renewTime"]))
    except (KeyError, ValueError):
        return None
    age = (now - renewed.astimezone(UTC)).total_seconds()
    return age - float(spec.get("leaseDurationSeconds") or 0) - LEASE_SLACK_S


def find_autoscaler(tools: Mapping[str, Mapping[str, Any]], leases: Sequence[Object] | None, now: datetime) -> str:
    """The name of what may add nodes; "" where none is seen (a cloud's own may be hidden)."""
    if judge_leases(leases, (CLUSTER_AUTOSCALER,), now) == ANSWERS:
        return CLUSTER_AUTOSCALER
    karpenter = tools.get("karpenter") or {}
    return "karpenter" if karpenter.get("served") and karpenter.get("controller") != SILENT else ""


# --- kinds that are to be made


def explain_unserved(apis: Mapping[str, Api], version: str, kind: str, installed_by: str = "") -> str:
    """Why an object of this apiVersion and kind cannot be made: "" when it is served, or the server has not told."""
    group, _, number = version.rpartition("/")
    api = apis.get(group)
    if not group or (api is not None and not api.kinds):
        return ""
    served = [found for (found, _), name in (api.kinds.items() if api else ()) if name == kind]
    if number in served:
        return ""
    if served:
        return f"the cluster serves {kind} of {group} as {', '.join(dict.fromkeys(served))}, not as {number}"
    return (
        f"the cluster does not serve {kind} of {group}{f' ({installed_by} is not installed)' if installed_by else ''}"
    )


def list_tool_names(tools: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """`kueue (v1beta2, controller: answers)`: those that are served, for people."""
    names = []
    for name, tool in tools.items():
        if tool["served"] and name not in BUILT_IN:
            names.append(f"{name} ({'/'.join(tool['versions'])}, controller: {tool['controller']})")
    return names
