# requirements: flexcore_kubernetes
"""How far a Deployment's rollout is, and to what a failed one goes back. Pure.

Source of `complete`: https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#complete-deployment
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from f.flexcore.lib.kubernetes import categories, job_conditions, pod_problems, serving_manifests

Object = Mapping[str, Any]
REVISION = "deployment.kubernetes.io/revision"


def complete(deployment: Object) -> bool:
    """Every replica is of the newest generation and available, and none of an older one is left."""
    wanted = deployment["spec"].get("replicas", 1)
    status = deployment.get("status") or {}
    seen = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    counts = [status.get(name, 0) for name in ("updatedReplicas", "replicas", "availableReplicas")]
    return bool(seen) and all(count == wanted for count in counts)


def progress(deployment: Object) -> str:
    status = deployment.get("status") or {}
    wanted = deployment["spec"].get("replicas", 1)
    return f"{status.get('updatedReplicas', 0)} of {wanted} updated, {status.get('availableReplicas', 0)} available"


def newest(deployment: Object, pods: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The pods of the generation that is being rolled out."""
    wanted = deployment["spec"]["template"]["metadata"]["labels"].get(serving_manifests.ROLLOUT)
    return [pod for pod in pods if (pod["metadata"].get("labels") or {}).get(serving_manifests.ROLLOUT) == wanted]


def rollout_trouble(
    deployment: Object, pods: Sequence[dict[str, Any]], events: Sequence[Object] = ()
) -> categories.Problem | None:
    """What keeps the new pods from getting ready; pods of the generation before are not looked at."""
    if refused := job_conditions.condition(deployment, "ReplicaFailure"):
        event = {"reason": refused.get("reason"), "message": refused.get("message")}
        return pod_problems.diagnose_creation([event]) or categories.Problem(
            "unknown", str(refused.get("message")), 15.0
        )
    if found := pod_problems.diagnose_pods(newest(deployment, pods), events):
        return found
    conditions = (deployment.get("status") or {}).get("conditions") or ()
    late = next((entry for entry in conditions if entry.get("reason") == "ProgressDeadlineExceeded"), None)
    return (
        categories.Problem("not_ready", f"The new pods did not get ready in time ({progress(deployment)})")
        if late
        else None
    )


def good_before(deployment: Object, replica_sets: Sequence[Object], answering: bool) -> dict[str, Any] | None:
    """The pod template to go back to: that of the revision before, which must still be `answering` while the newest one
    is not ready. None when there is none.

    Read from the cluster and not remembered, so that a step which took over from a dead one knows it as well.
    """
    wanted = deployment["spec"]["template"]["metadata"]["labels"].get(serving_manifests.ROLLOUT)
    uid = deployment["metadata"]["uid"]
    candidates = [
        item
        for item in replica_sets
        if any(owner.get("uid") == uid for owner in item["metadata"].get("ownerReferences") or ())
        and (not answering or (item.get("status") or {}).get("availableReplicas"))
        and item["spec"]["template"]["metadata"].get("labels", {}).get(serving_manifests.ROLLOUT) != wanted
    ]
    if not candidates:
        return None
    best = max(candidates, key=lambda item: int((item["metadata"].get("annotations") or {}).get(REVISION) or 0))
    template: dict[str, Any] = copy.deepcopy(dict(best["spec"]["template"]))
    template["metadata"]["labels"].pop("pod-template-hash", None)
    return template
