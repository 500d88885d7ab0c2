# requirements: flexcore_kubernetes
"""Where a Job or a RayJob stands in a Kueue queue, by its Workload's conditions. Pure.

Suspended means queued. Conditions are set back and not removed, so that only those whose status is True (or, for
QuotaReserved, False) count. Source: apis/kueue/v1beta2/workload_types.go of Kueue 0.17.

    no Workload for long               unknown priority class, a queue label that nobody manages, or Kueue is absent
    QuotaReserved=False/Pending        waits; `> max` in its message: can never fit
    QuotaReserved=False/Inadmissible   unknown or stopped queue
    Evicted=True                       preempted, or its queue was stopped, or its pods were not ready in time
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes_api import categories

Object = Mapping[str, Any]
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
PRIORITY_LABEL = "kueue.x-k8s.io/priority-class"
# Workload slices: with them a queue lets a cluster grow and shrink.
ELASTIC_ANNOTATION = "kueue.x-k8s.io/elastic-job"
# Kueue makes a Workload within milliseconds, one that restarts within some ten seconds.
WORKLOAD_TIMEOUT_S = 30.0
# A queue that does not exist may be created a moment later.
INADMISSIBLE_GRACE_S = 20.0
NEVER_FITS = re.compile(r"> ?max(?:imum)?|insufficient quota .*maximum capacity|exceeds the maximum", re.IGNORECASE)
EVICTIONS = {
    "Preempted": "preempted by work of a higher priority",
    "PodsReadyTimeout": "taken back: its pods were not ready in time",
    "AdmissionCheck": "taken back by an admission check",
    "ClusterQueueStopped": "taken back: its ClusterQueue was stopped",
    "LocalQueueStopped": "taken back: its LocalQueue was stopped",
    "NodeFailures": "taken back: a node failed",
    "Deactivated": "deactivated (spec.active of its Workload is false)",
}


@dataclass(frozen=True, slots=True)
class Kind:
    """Of what is queued. field: of the form, that names the queue; framework: its name in Kueue's configuration."""

    name: str
    field: str
    framework: str


RAY_JOB = Kind("RayJobs", "own_cluster.queue", "ray.io/rayjob")
JOB = Kind("Jobs", "the queue (options.queue, label kueue.x-k8s.io/queue-name)", "batch/job")


Trouble = categories.Trouble


@dataclass(frozen=True, slots=True)
class QueueState:
    """note: what to report; trouble: what ends the wait (after its grace period), None while waiting is right."""

    note: str
    trouble: Trouble | None = None
    is_admitted: bool = False


def find_workload(workloads: Iterable[Object], uid: str) -> Object | None:
    """The newest Workload that belongs to the object with this uid."""
    owned = [
        item
        for item in workloads
        if any(owner.get("uid") == uid for owner in item["metadata"].get("ownerReferences") or ())
    ]
    return max(owned, key=lambda item: str(item["metadata"].get("creationTimestamp")), default=None)


def read_queue_state(workload: Object | None, queue: str, priority: str = "", kind: Kind = RAY_JOB) -> QueueState:
    """queue, priority: as the request has them."""
    if workload is None:
        note = f"Waits for the queue {queue} to take notice of it"
        return QueueState(note, _explain_absence(priority, kind))
    conditions = {str(item.get("type")): item for item in (workload.get("status") or {}).get("conditions") or ()}
    if (workload.get("spec") or {}).get("active") is False:
        remedy = "Have its Workload activated again, or run the step again."
        trouble = Trouble("queue_deactivated", errors.Unavailable, remedy)
        return QueueState(f"The queue {queue} has deactivated it{_message(conditions.get('Evicted'))}", trouble)
    if _is_true(conditions, "Admitted"):
        return QueueState(f"Admitted by the queue {queue}", is_admitted=True)
    evicted = conditions.get("Evicted") or {}
    prefix = ""
    if _is_true(conditions, "Evicted"):
        prefix = f"{EVICTIONS.get(str(evicted.get('reason')), 'taken back')}; "
    reserved = conditions.get("QuotaReserved") or {}
    text = f"{prefix}queued in {queue}{_message(reserved)}"
    note = text[:1].upper() + text[1:]
    if reserved.get("reason") == "Inadmissible":
        return QueueState(note, _explain_inadmissible(queue, kind, str(reserved.get("message") or "")))
    if NEVER_FITS.search(str(reserved.get("message") or "")):
        remedy = f"Ask for less, or have the quota of the queue {queue} raised: it can never fit."
        return QueueState(note, Trouble("quota_exceeded", errors.InvalidInput, remedy))
    return QueueState(note)


def find_eviction(workload: Object | None) -> tuple[str, str]:
    """(reason, transition time) of the last eviction, ("", "") when there was none; also one that is over."""
    for item in ((workload or {}).get("status") or {}).get("conditions") or ():
        if item.get("type") == "Evicted":
            return str(item.get("reason") or ""), str(item.get("lastTransitionTime") or "")
    return "", ""


def _explain_absence(priority: str, kind: Kind) -> Trouble:
    if priority:
        remedy = (
            f"Check that the WorkloadPriorityClass {priority} exists (kubectl get workloadpriorityclass): without it "
            f"Kueue says nothing and lets nothing run. Also that Kueue runs, and manages {kind.name} in this namespace."
        )
    else:
        remedy = (
            f"Check that Kueue runs, and that it manages {kind.name} (integrations.frameworks has {kind.framework}) in "
            f"this namespace; or leave {kind.field} empty."
        )
    subject_error = errors.NotFound if priority else errors.Unavailable
    return Trouble("queue_silent", subject_error, remedy, WORKLOAD_TIMEOUT_S)


def _explain_inadmissible(queue: str, kind: Kind, message: str) -> Trouble:
    if "exist" in message:
        remedy = f"Correct {kind.field}, or create the LocalQueue {queue} (kubectl get localqueue)."
        return Trouble("queue_not_found", errors.NotFound, remedy, INADMISSIBLE_GRACE_S)
    remedy = f"Ask who keeps the queue {queue} to start it again, or name another queue."
    # A stopped queue is one that somebody will start again: it is waited for.
    return Trouble("queue_stopped", errors.Unavailable, remedy, float("inf"))


def _is_true(conditions: Mapping[str, Object], name: str) -> bool:
    return (conditions.get(name) or {}).get("status") == "True"


def _message(condition: Object | None) -> str:
    message = " ".join(str((condition or {}).get("message") or "").split())
    return f": {message}" if message else ""
