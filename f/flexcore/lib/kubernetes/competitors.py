# requirements: flexcore_kubernetes
"""What else may work on a Deployment of that name and leaves no mark on it: an Argo Rollout that runs its pods, another
one's autoscaler, KServe.
"""

from __future__ import annotations

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes import autoscaler, cluster_objects, ownership

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
