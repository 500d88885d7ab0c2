# requirements: flexcore_kubernetes
"""What holds an object that is being deleted: its finalizers, and who usually takes each of them away. Pure.

A finalizer is a promise of its controller to clean up first. Where that controller is gone, the object stays for ever,
and so does its namespace. We name it and never take it away: what it stands for may still be there.
Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/finalizers/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

Object = Mapping[str, Any]

# The garbage collector's own: they go with what depends on the object.
GARBAGE_COLLECTION = {"foregroundDeletion", "orphan"}
REMOVERS = {
    "kubernetes": "the namespace controller, once everything in the namespace is gone",
    "kubernetes.io/pvc-protection": "Kubernetes, once no pod uses the claim",
    "kubernetes.io/pv-protection": "Kubernetes, once no claim is bound to the volume",
    "batch.kubernetes.io/job-tracking": "the Job controller, once it has counted the pod",
    "service.kubernetes.io/load-balancer-cleanup": "the cloud controller, once the load balancer is gone",
    "kueue.x-k8s.io/resource-in-use": "Kueue, once no workload uses it",
    "kueue.x-k8s.io/managed": "Kueue, once the pod's workload has finished",
    "ray.io/gcs-ft-redis-cleanup-finalizer": "KubeRay, once it has emptied the Redis of the head",
    "resources-finalizer.argocd.argoproj.io": "Argo CD, once what the Application made is gone",
    "finalizers.fluxcd.io": "Flux",
    "finalizer.keda.sh": "KEDA",
    "inferenceservice.finalizers": "KServe, once what it made is gone",
    "snapshot.storage.kubernetes.io/pvc-as-source-protection": "the snapshot controller, once the snapshot is taken",
}
# By the domain, for names that a project makes many of.
PROJECTS = {
    "kueue.x-k8s.io": "Kueue",
    "ray.io": "KubeRay",
    "keda.sh": "KEDA",
    "kserve.io": "KServe",
    "istio.io": "Istio",
    "argoproj.io": "Argo",
    "fluxcd.io": "Flux",
    "gateway.networking.k8s.io": "the Gateway's controller",
    "k8s.aws": "a controller of AWS",
    "networking.gke.io": "a controller of GKE",
    "azure.com": "a controller of Azure",
    "cert-manager.io": "cert-manager",
    "external-attacher": "the driver of the volume",
    "storage.kubernetes.io": "the driver of the volume",
}


@dataclass(frozen=True, slots=True)
class Hold:
    """One finalizer that holds an object. since: when its deletion was asked for."""

    finalizer: str
    remover: str
    since: datetime | None = None

    def __str__(self) -> str:
        return f"{self.finalizer} ({self.remover} takes it away)"


def list_holds(item: Object) -> list[Hold]:
    """What holds an object that is being deleted, the garbage collection left aside; none for one that stays."""
    metadata = item.get("metadata") or {}
    if not metadata.get("deletionTimestamp"):
        return []
    since = _parse_time(metadata["deletionTimestamp"])
    # A namespace has one more list, in its spec.
    names = [*(metadata.get("finalizers") or ()), *((item.get("spec") or {}).get("finalizers") or ())]
    return [Hold(name, find_remover(name), since) for name in names if name not in GARBAGE_COLLECTION]


def find_remover(finalizer: str) -> str:
    """Who usually takes a finalizer away."""
    if finalizer in REMOVERS:
        return REMOVERS[finalizer]
    domain = finalizer.partition("/")[0]
    for ending, project in PROJECTS.items():
        if domain == ending or domain.endswith(f".{ending}") or ending in domain.split("."):
            return project
    return f"the controller of {domain}" if "." in domain else "the controller that set it"


def describe_holds(holds: Iterable[Hold], now: datetime | None = None) -> str:
    """`x/y (KubeRay takes it away), for 20 min`; "" where nothing holds."""
    found = list(holds)
    text = ", ".join(map(str, found))
    since = next((hold.since for hold in found if hold.since), None)
    if not text or since is None or now is None or (now - since).total_seconds() < 60:
        return text
    minutes = (now - since).total_seconds() / 60
    return f"{text}, for {minutes:.0f} min" if minutes < 120 else f"{text}, for {minutes / 60:.0f} h"


def describe_terminating(namespace: Object) -> str:
    """What holds a namespace that is being deleted, as its conditions say it; "" for one that is not."""
    if (namespace.get("status") or {}).get("phase") != "Terminating":
        return ""
    conditions = (namespace.get("status") or {}).get("conditions") or ()
    told = [
        str(item.get("message") or item.get("reason"))
        for item in conditions
        # Those that say that all is well are False.
        if item.get("status") == "True" and str(item.get("type")).startswith("Namespace")
    ]
    return "; ".join(told) or "its content is being deleted"


def _parse_time(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


# --- claims


def list_claims(spec: Object) -> list[str]:
    """The PersistentVolumeClaims that a pod spec names: they outlive the pods. Those of `ephemeral` volumes do not."""
    names = [
        str((volume.get("persistentVolumeClaim") or {}).get("claimName") or "") for volume in spec.get("volumes") or ()
    ]
    return sorted({name for name in names if name})
