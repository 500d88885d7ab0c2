# requirements: flexcore_kubernetes
"""What else may work on a Deployment of that name and leaves no mark on it: an Argo Rollout that runs its pods, another
one's autoscaler, a shift of traffic by replicas, KServe.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from f.flexcore.lib.core import errors, identity
from f.flexcore.lib.kubernetes import autoscaler, cluster_objects, ownership
from f.flexcore.lib.kubernetes_api import field_owners

ROLLOUTS = cluster_objects.Kind("/apis/argoproj.io/v1alpha1", "rollouts", "rollouts.argoproj.io", "Rollout")


def check_rollouts(place: cluster_objects.Namespace, name: str) -> None:
    """Raises Conflict when an Argo Rollout runs this Deployment's pods (workloadRef)."""
    if not place.serves(ROLLOUTS):
        return
    try:
        rollouts = place.list_objects(ROLLOUTS, "")
    except (errors.NotFound, errors.Forbidden):
        # The group is Argo Workflows' and Argo CD's as well.
        return
    for item in rollouts:
        reference = (item.get("spec") or {}).get("workloadRef") or {}
        if (reference.get("kind"), reference.get("name")) == ("Deployment", name):
            marks = ownership.ROLLOUTS
            owner = ownership.Owner(marks.tool, f"Rollout {item['metadata']['name']}", marks.remedy)
            raise owner.to_error("Deployment", name, place.namespace)


def check_autoscalers(place: cluster_objects.Namespace, name: str, is_ours: bool) -> bool:
    """Whether something else scales the Deployment. Raises Conflict when we are to scale it as well (is_ours)."""
    try:
        others = autoscaler.find_others(place.list_objects(cluster_objects.AUTOSCALERS, ""), name)
    except errors.Forbidden:
        return False
    if others and is_ours:
        raise errors.Conflict(
            f"max_replicas: HorizontalPodAutoscaler {others[0]} scales Deployment {name} already",
            subject="max_replicas",
            category="owned_by_another",
            remedy=f"Leave max_replicas empty, or delete it: kubectl delete hpa {others[0]}.",
        )
    if others:
        place.report(f"replicas is left to HorizontalPodAutoscaler {others[0]}, which scales Deployment {name}")
    return bool(others)


def is_shifted(place: cluster_objects.Namespace, deployment: Mapping[str, Any]) -> bool:
    """Whether a shift of traffic by replicas moves its number of copies now; where that may not be seen, as soon as one
    has. Their number is the share of a version, and no part of what a deployment asks for."""
    holders = field_owners.find_holders(deployment, field_owners.REPLICAS)
    if (identity.FIELD_MANAGER, field_owners.SCALE) not in holders:
        return False
    # Few deployments come here.
    from f.flexcore.lib.kubernetes import traffic_record

    name, shared = deployment["metadata"]["name"], None
    try:
        for service in place.list_objects(cluster_objects.SERVICES, traffic_record.SHIFT):
            record = traffic_record.read_record(service)
            if record and name in (record.stable, record.candidate):
                shared = service["metadata"]["name"]
    except (errors.Forbidden, errors.DataError):
        shared = "that may not be read"
    if shared:
        place.report(f"replicas is left to the shift of traffic of Service {shared}")
    return bool(shared)


def check_kserve(place: cluster_objects.Namespace, name: str) -> None:
    """Raises Conflict when KServe serves the model for us: two servers of one name would answer at two addresses."""
    kind = cluster_objects.INFERENCE_SERVICES
    try:
        item = place.get(kind, name) if place.serves(kind) else None
    except errors.Forbidden:
        return
    if item and cluster_objects.is_ours(item):
        raise errors.Conflict(
            f"mode: {name} is served by KServe in namespace {place.namespace}",
            subject="mode",
            remedy="Take it down first (kubernetes/undeploy_model), choose another name, or use mode kserve.",
        )
