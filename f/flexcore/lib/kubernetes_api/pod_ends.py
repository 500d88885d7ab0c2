# requirements: flexcore_kubernetes
"""How a pod failed: the node's or scheduler's doing where there was one, else its program's own end. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes_api import categories, container_ends, job_status

Object = Mapping[str, Any]

# An own limit of the pod was passed, and not the node's: a repeat passes it again.
OWN_DISK_LIMIT = re.compile(r"exceeds the (?:total )?limit|exceeded its local ephemeral storage limit", re.IGNORECASE)
LOST = ("NodeLost", "UnexpectedAdmissionError", "NodeShutdown", "Shutdown", "Terminated", "NodeAffinity")
PROBE = re.compile(r"failed (liveness|startup) probe|(Liveness|Startup) probe failed", re.IGNORECASE)


def diagnose_ended_pod(
    pod: Object, events: Sequence[Object] = (), job: Object | None = None
) -> categories.Problem | None:
    """Why the pod failed; None when nothing in it ended badly."""
    cause = container_ends.find_cause(pod, job)
    problem = _diagnose_from_outside(pod, cause) or (_diagnose_cause(pod, cause, events, job) if cause else None)
    return replace(problem, pod=str((pod.get("metadata") or {}).get("name") or "")) if problem else None


def _diagnose_from_outside(pod: Object, cause: container_ends.End | None) -> categories.Problem | None:
    status = pod.get("status") or {}
    reason, message = str(status.get("reason") or ""), str(status.get("message") or "")
    if reason == "Evicted":
        return _diagnose_eviction(message)
    if reason == "DeadlineExceeded":
        remedy = "Raise activeDeadlineSeconds of the pod, or give it more cpu or memory."
        return categories.Problem(
            categories.Category.DEADLINE, message or "The pod was active longer than its deadline", remedy=remedy
        )
    disruption = job_status.find_condition(pod, "DisruptionTarget")
    if disruption and not _ended_before(cause, disruption):
        return _diagnose_disruption(str(disruption.get("reason") or ""), str(disruption.get("message") or ""))
    if reason in LOST or reason.startswith("OutOf"):
        return categories.Problem(categories.Category.NODE_LOST, message or reason)
    if reason.startswith("Preempt"):
        return categories.Problem(categories.Category.PREEMPTED, message or reason)
    return None


def _ended_before(cause: container_ends.End | None, disruption: Object) -> bool:
    """Whether the program had ended by itself before the pod was chosen to go."""
    if cause is None or cause.code in container_ends.STOP_EXIT_CODES or cause.reason == "ContainerStatusUnknown":
        return False
    at = job_status.parse_time(disruption.get("lastTransitionTime"))
    return bool(at and cause.finished_at and cause.finished_at < at)


def _diagnose_eviction(message: str) -> categories.Problem:
    message = message or "The node evicted the pod"
    if OWN_DISK_LIMIT.search(message):
        remedy = (
            "Raise the limit that is named (resources.limits.ephemeral-storage, or sizeLimit of the emptyDir), or let "
            "the program write less to its disk; a repeat alone ends the same."
        )
        return categories.Problem(
            categories.Category.EVICTED,
            message,
            remedy=remedy,
            subject="ephemeral-storage",
            error=errors.ExecutionFailed,
        )
    if re.search(r"low on resource: (?:\[?ephemeral-storage|inodes|nodefs|imagefs)|disk", message, re.IGNORECASE):
        remedy = "Ask for the ephemeral-storage that it writes (resources.requests.ephemeral-storage), then run again."
        return categories.Problem(categories.Category.EVICTED, message, remedy=remedy, subject="ephemeral-storage")
    if "memory" in message.lower():
        remedy = "Ask for as much memory as it uses, so that it is not the first to go, then run again."
        return categories.Problem(categories.Category.EVICTED, message, remedy=remedy, subject="memory")
    return categories.Problem(categories.Category.EVICTED, message)


def _diagnose_disruption(reason: str, message: str) -> categories.Problem:
    text = message or reason
    if reason == "EvictionByEvictionAPI":
        return categories.Problem(
            categories.Category.EVICTED,
            f"The pod was evicted, as when its node is drained: {text}",
            remedy="Run again.",
        )
    if reason in ("DeletionByPodGC", "DeletionByTaintManager", "TerminationByKubelet"):
        return categories.Problem(categories.Category.NODE_LOST, text)
    return categories.Problem(categories.Category.PREEMPTED, text)


def _diagnose_cause(
    pod: Object, cause: container_ends.End, events: Sequence[Object], job: Object | None
) -> categories.Problem:
    item = cause.container
    problem = replace(container_ends.diagnose_end(cause.terminated, item.label), container=item.name)
    if cause.reason == "OOMKilled":
        return problem
    with_probe = add_probe_failure(problem, pod, item.name, events)
    if with_probe is not problem:
        return with_probe
    done = [
        other.name
        for other in container_ends.list_containers(pod, job)
        if other.role is container_ends.Role.MAIN and other.end is not None
    ]
    if item.is_sidecar and done and problem.category in (categories.Category.EXIT_CODE, categories.Category.KILLED):
        remedy = "Let the sidecar end with 0, or make it an init container with restartPolicy Always."
        detail = f"{problem.detail}, and with it the pod, though {' and '.join(done)} had ended with exit code 0"
        return replace(problem, detail=detail, remedy=remedy, subject=item.name)
    return problem


def add_probe_failure(
    problem: categories.Problem, pod: Object, container: str, events: Sequence[Object]
) -> categories.Problem:
    """The same with the probe for which the kubelet stopped the container, where there was one."""
    probe = find_probe_failure(pod, container, problem.exit_code, events)
    if not probe:
        return problem
    kind = "startup" if "startup" in probe.lower() else "liveness"
    remedy = (
        f"Correct the {kind} probe, or give the program more time for it (initialDelaySeconds, timeoutSeconds, "
        "failureThreshold)."
    )
    seen = probe.partition("probe failed:")[2].strip()
    tail = f": {seen}" if seen else ""
    return replace(problem, detail=f"{problem.detail}, since its {kind} probe had failed{tail}", remedy=remedy)


def find_probe_failure(pod: Object, container: str, code: int | None, events: Sequence[Object]) -> str:
    """What the probe saw for which the kubelet stopped the container, or ""."""
    failures = [event for event in job_status.filter_events(pod, events) if _is_probe_failure(event, container)]
    if code not in container_ends.STOP_EXIT_CODES and not any(event.get("reason") == "Killing" for event in failures):
        # A program may end by itself after a probe that had failed now and then.
        return ""
    # "Killing" is the consequence.
    failures.sort(key=lambda event: event.get("reason") == "Unhealthy")
    return " ".join(str(failures[-1].get("message")).split()) if failures else ""


def _is_probe_failure(event: Object, container: str) -> bool:
    message = str(event.get("message") or "")
    path = str((event.get("involvedObject") or {}).get("fieldPath") or "")
    named = re.search(r"\{(.+)\}", path) or re.match(r"(?:Init )?[Cc]ontainer (\S+)", message)
    mine = named is None or named[1] == container
    return event.get("reason") in ("Killing", "Unhealthy") and bool(PROBE.search(message)) and mine


def note_other_ends(pod: Object, cause_of: categories.Problem | None, job: Object | None = None) -> list[str]:
    """Notes on other ends in the pod: a process killed for memory in what ended with 0, another bad end."""
    notes, name = [], str((pod.get("metadata") or {}).get("name") or "")
    for end in container_ends.list_ends(pod, job):
        item = end.container
        if cause_of and cause_of.pod == name and item.name == cause_of.container:
            continue
        if end.code == 0 and end.reason == "OOMKilled":
            notes.append(
                f"{item.label} of pod {name} ended with exit code 0, but a process in it was killed for memory "
                "(OOMKilled): what it made may be incomplete"
            )
        elif _is_worth_a_note(end, cause_of is not None and cause_of.pod == name):
            notes.append(container_ends.diagnose_end(end.terminated, f"{item.label} of pod {name}").detail)
    return notes


def _is_worth_a_note(end: container_ends.End, is_of_the_failed_pod: bool) -> bool:
    """A sidecar that ran out of memory beside a program that ended well, and what else ended badly in a failed pod."""
    if end.container.is_sidecar and end.reason == "OOMKilled":
        return True
    return bool(end.code) and end.is_last and not _is_stop(end) and is_of_the_failed_pod


def _is_stop(end: container_ends.End) -> bool:
    """Kubernetes ends a sidecar after its program."""
    return end.was_stopped or (
        end.container.is_sidecar and end.code in container_ends.STOP_EXIT_CODES and end.reason != "OOMKilled"
    )
