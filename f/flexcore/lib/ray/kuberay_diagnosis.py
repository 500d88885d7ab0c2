# requirements: flexcore_base
"""What keeps a RayCluster of KubeRay from being ready, as a typed error and how long it may still pass. Pure.

    the RayCluster   its own events: an invalid spec, pods that could not be created (quota, admission); no word at all
                     of an operator; pods that end again and again
    its pods         what keeps a pod from running (kubernetes_api/pod_problems)
Source: KubeRay 1.5, controllers/ray/utils/constant.go (events), raycluster_controller.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes_api import admission, categories, pod_problems

Object = Mapping[str, Any]
# An operator writes a first event or status within a second or two.
OPERATOR_GRACE_S = 12.0
# The operator creates a failed head's pod anew after some seconds. On a busy node a head may miss Ray's own 30 s for
# its first word, once or twice.
MAX_FAILED_PODS = 3
INVALID = ("InvalidRayClusterSpec", "InvalidRayClusterMetadata", "InvalidRayClusterStatus")
NOT_CREATED = ("FailedToCreateHeadPod", "FailedToCreateWorkerPod", "FailedToCreateServiceAccount", "FailedToCreateRole")
DELETED = ("DeletedHeadPod", "DeletedWorkerPod")
# Of an event: a pod that had failed, or whose container of Ray had ended.
ENDED = re.compile(r"Pod status: Failed|terminated status: &")
EXIT = re.compile(r"ExitCode:(\d+)(?:.*?Reason:(\w+))?")


@dataclass(frozen=True, slots=True)
class Finding:
    """grace_s: how long it is given to pass; None as long as a queue, a node or a quota may still give way."""

    error: errors.FlexcoreError
    grace_s: float | None = 0.0

    @property
    def category(self) -> str:
        return str(self.error.category)


def diagnose(ray_cluster: Object, pods: Sequence[Object], events: Sequence[Object], age_s: float) -> Finding | None:
    """The finding that ends the wait first; None when nothing is known to be wrong. age_s: since it was created."""
    name = str((ray_cluster.get("metadata") or {}).get("name"))
    own = [event for event in events if (event.get("involvedObject") or {}).get("kind") == "RayCluster"]
    if finding := _diagnose_own_events(name, own):
        return finding
    ended = _diagnose_ended_pods(name, own)
    if ended and ended.grace_s == 0:
        return ended
    if problem := pod_problems.diagnose_pods(pods, events):
        what = f"The Ray cluster {name} does not start: pod {problem.pod}"
        return Finding(problem.to_error(what, "cluster"), problem.grace_s)
    if ended:
        return ended
    if not own and not pods and not ray_cluster.get("status") and age_s > OPERATOR_GRACE_S:
        return Finding(_operator_absent(name))
    return None


def _diagnose_own_events(name: str, events: Sequence[Object]) -> Finding | None:
    latest = sorted(events, key=_moment)
    for event in reversed(latest):
        reason, message = str(event.get("reason")), " ".join(str(event.get("message") or "").split())
        if reason in INVALID:
            error = errors.InvalidInput(
                f"KubeRay refuses the Ray cluster {name}: {message}",
                subject="spec",
                category="invalid_spec",
                remedy="Correct what the message names and run again.",
            )
            return Finding(error)
        if reason in NOT_CREATED:
            return _diagnose_refused_pod(name, message)
        if reason.startswith("Created"):
            # What could not be created before was created since.
            return None
    return None


def _diagnose_refused_pod(name: str, message: str) -> Finding:
    event = {"reason": "FailedCreate", "message": message}
    problem = admission.diagnose_creation([event])
    assert problem is not None, "the message of a refusal is never empty"
    return Finding(problem.to_error(f"KubeRay cannot create the pods of {name}", "cluster"), problem.grace_s)


def _diagnose_ended_pods(name: str, events: Sequence[Object]) -> Finding | None:
    """A pod of Ray never ends by itself: one that has, was killed or could not run Ray at all. The operator deletes it
    at once; its event keeps how the pod ended. The first ends are only reported, and say why a start took too long."""
    ends = [event for event in sorted(events, key=_moment) if _is_end(event)]
    count = sum(int(event.get("count") or 1) for event in ends)
    if not count:
        return None
    exits = [match for event in ends if (match := EXIT.search(str(event.get("message"))))]
    code, reason = exits[-1].groups("") if exits else ("", "")
    is_memory = reason == "OOMKilled"
    how = f"exit code {code}{f', {reason}' if reason else ''}" if code else "the pod failed"
    remedy = (
        "Give its pods more memory."
        if is_memory
        else "Look at the pods' logs: a head that has not started within Ray's own 30 s ends, and needs more CPU "
        "(head_cpu) or a less busy node; or the image lacks this version of ray[default], bash or wget."
    )
    error = errors.ExecutionFailed(
        f"The pods of the Ray cluster {name} end again and again ({count} times; the last one: {how})"
        if count >= MAX_FAILED_PODS
        else f"A pod of the Ray cluster {name} has ended ({how}), and KubeRay makes another one",
        subject="head_memory" if is_memory else "image",
        category="out_of_memory" if is_memory else "crash_loop",
        remedy=remedy,
    )
    return Finding(error, 0.0 if count >= MAX_FAILED_PODS else categories.NO_LIMIT)


def _is_end(event: Object) -> bool:
    return event.get("reason") in DELETED and ENDED.search(str(event.get("message"))) is not None


def _moment(event: Object) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event.get("firstTimestamp") or "")


def _operator_absent(name: str) -> errors.Unavailable:
    return errors.Unavailable(
        f"Nobody takes care of the RayCluster {name}: KubeRay's operator does not run, or does not watch its namespace",
        subject="cluster",
        category="operator_absent",
        remedy="Start the operator (kubectl get pods -A -l app.kubernetes.io/name=kuberay), or use a namespace that it "
        "watches.",
    )


def check_api(group: Object | None) -> None:
    """Raises NotFound or Unavailable unless the API group ray.io has the version that is written here.

    group: the answer to /apis/ray.io, None when there is none."""
    if group is None:
        raise errors.NotFound(
            "KubeRay is not installed on the Kubernetes cluster: it has no API group ray.io",
            subject="cluster",
            category="kuberay_absent",
            remedy="Install KubeRay (its CRDs and its operator), or use a Ray cluster by its address.",
        )
    versions = [str(item.get("version")) for item in group.get("versions") or ()]
    if "v1" not in versions:
        raise errors.InvalidInput(
            f"KubeRay on the Kubernetes cluster has ray.io/{', '.join(versions) or 'no version'}, and v1 is needed",
            subject="cluster",
            category="kuberay_version",
            remedy="Install KubeRay 1.5 or later.",
        )
