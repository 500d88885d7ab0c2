# requirements: flexcore_kubernetes
"""Why a Job on Kubernetes does not start or end, or how it failed: from plain objects (Job, Pods, Events). Pure.

verdict   the Job's conditions Complete and Failed; nothing else ends a Job
trouble   what keeps it from getting on now, with the time that it deserves
ending    how a failed Job failed: its program's end where there is one, with what the Job itself says
notes     what is worth a word beside it

The parts: categories, container_ends (whose end it was), pod_problems, pod_ends, scheduling, quota, job_conditions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes import (
    categories,
    container_ends,
    event_log,
    job_conditions,
    job_timings,
    pod_ends,
    pod_problems,
)

Object = Mapping[str, Any]

MAX_PODS_NOTED = 5


def diagnose_active_job(
    job: Object, pods: Sequence[Object], events: Sequence[Object] = ()
) -> categories.Problem | None:
    """Why a Job that has no verdict does not get on; None when nothing is known to be wrong."""
    if (job.get("spec") or {}).get("suspend"):
        return diagnose_suspension(job, events)
    active = [pod for pod in pods if (pod.get("status") or {}).get("phase") not in pod_problems.TERMINAL]
    if not active:
        return _not_outdated(pod_problems.diagnose_creation(event_log.events_of(job, events)), job, pods, events)
    found = pod_problems.diagnose_pods(active, events, job)
    if (
        found
        and found.category == categories.Category.CRASH_LOOP
        and (limit := (job.get("spec") or {}).get("backoffLimit"))
    ):
        found = found.with_detail(found.detail.replace(")", f", backoffLimit {limit})", 1))
    return _with_place(found, active) if found else None


def diagnose_suspension(job: Object, events: Sequence[Object] = ()) -> categories.Problem:
    if queue := job_conditions.queue_name(job):
        said = [
            str(event.get("message")) for event in event_log.events_of(job, events) if event.get("reason") == "Stopped"
        ]
        why = f" ({said[-1]})" if said else ""
        return categories.Problem(
            categories.Category.SUSPENDED, f"The Job is suspended until its queue {queue} admits it{why}", float("inf")
        )
    return categories.Problem(
        categories.Category.SUSPENDED,
        "The Job is suspended by its own manifest (spec.suspend), and names no queue that would start it",
        None,
        remedy="Set spec.suspend to false, or name a queue (label kueue.x-k8s.io/queue-name).",
        subject="spec.suspend",
        error=errors.InvalidInput,
    )


def _not_outdated(
    found: categories.Problem | None, job: Object, pods: Sequence[Object], events: Sequence[Object]
) -> categories.Problem | None:
    """None when pods were created since: the refusal has passed."""
    mine = event_log.events_of(job, events)
    refused = max(
        (event_log.event_time(item) or event_log.LONG_AGO for item in mine if item.get("reason") == "FailedCreate"),
        default=None,
    )
    times = [event_log.parse_time((pod.get("metadata") or {}).get("creationTimestamp")) for pod in pods]
    times += [event_log.event_time(item) for item in mine if item.get("reason") == "SuccessfulCreate"]
    created = max(filter(None, times), default=event_log.LONG_AGO)
    return None if refused is None or created > refused else found


def _with_place(found: categories.Problem, pods: Sequence[Object]) -> categories.Problem:
    """Names the pod, and its index, where there are several."""
    pod = next((item for item in pods if (item.get("metadata") or {}).get("name") == found.pod), None)
    index = job_conditions.index_of(pod) if pod else ""
    if not found.pod or (len(pods) < 2 and not index):
        return found
    place = f"pod {found.pod}, index {index}" if index else f"pod {found.pod}"
    return found.with_detail(f"{found.detail} ({place})")


def diagnose_failed_job(
    job: Object, pods: Sequence[Object], events: Sequence[Object] = ()
) -> tuple[categories.Problem, int | None]:
    """How a failed Job failed, and its program's exit code when a container's end says one."""
    reason, message = job_conditions.failure(job)
    if reason == "DeadlineExceeded":
        spent = job_timings.describe_time(job, pods, events, event_log.parse_time(job_conditions.failure_time(job)))
        found = diagnose_lateness(job, pods, events, "It did not end within its time" + _limit(job, spent))
        return found, found.exit_code
    named = _diagnose_policy(message, pods) if reason == "PodFailurePolicy" else None
    found = named or _diagnose_failed_pods(job, pods, events) or _diagnose_without_pods(job, events)
    found = _with_job_words(found, job, reason)
    return found, found.exit_code


def _limit(job: Object, spent: str) -> str:
    seconds = (job.get("spec") or {}).get("activeDeadlineSeconds")
    parts = [f"{seconds} s" if seconds is not None else "", spent]
    return f" ({': '.join(filter(None, parts))})" if any(parts) else ""


def diagnose_lateness(job: Object, pods: Sequence[Object], events: Sequence[Object], said: str) -> categories.Problem:
    """Work that has spent its time, by its Job's deadline or by the step's. said: which time that was.

    What kept it from running is told in place of the deadline, since more time would not have helped.
    """
    held = next((pod for pod in pods if container_ends.find_held_program(pod, job)[1]), None)
    if held:
        return _diagnose_held_late(held, job, said)
    found = (
        diagnose_active_job(job, pods, events)
        if job_conditions.verdict(job) is None
        else pod_problems.diagnose_pods(pods, events, job)
    )
    if found and found.grace_s == float("inf") and found.category != categories.Category.SUSPENDED:
        late = categories.Problem(categories.Category.DEADLINE, f"{said}: {found.detail}", remedy=found.remedy)
        return replace(late, pod=found.pod, container=found.container, exit_code=found.exit_code)
    if found:
        return found.with_detail(f"{found.detail} ({said[:1].lower()}{said[1:]})")
    for pod in pods:
        done, left = container_ends.find_partly_ended(pod, job)
        if done and left:
            names = " and ".join(item.name for item in left)
            text = f"{said}: {done[0].name} had ended with exit code 0, while {names} still ran"
            remedy = (
                f"If {names} is a sidecar, make it an init container with restartPolicy Always; else raise timeout_s."
            )
            return categories.Problem(
                categories.Category.DEADLINE, text, remedy=remedy, container=done[0].name, pod=_name(pod), exit_code=0
            )
    if not pods and (found := _diagnose_gone_pods_start(job, events)):
        return found.with_detail(f"{found.detail} ({said[:1].lower()}{said[1:]})")
    return categories.Problem(categories.Category.DEADLINE, said)


def _diagnose_gone_pods_start(job: Object, events: Sequence[Object]) -> categories.Problem | None:
    """What kept pods from running that the deadline has taken away."""
    refused = _not_outdated(pod_problems.diagnose_creation(event_log.events_of(job, events)), job, [], events)
    return refused or pod_problems.diagnose_events(_events_of_gone_pods(job, events), {})


def _diagnose_held_late(pod: Object, job: Object, said: str) -> categories.Problem:
    done, left = container_ends.find_held_program(pod, job)
    ends = " and ".join(f"{item.name} had ended with exit code {(item.end or {}).get('exitCode')}" for item in done)
    names = " and ".join(item.name for item in left)
    bad = next((item for item in done if (item.end or {}).get("exitCode")), done[0])
    return categories.Problem(
        categories.Category.DEADLINE,
        f"{said}: {ends}, but {names} still ran beside it and kept the pod from ending",
        remedy=pod_problems.advise_on_sidecar(left[0].name),
        subject=left[0].name,
        pod=_name(pod),
        container=bad.name,
        exit_code=(bad.end or {}).get("exitCode"),
    )


def _diagnose_policy(message: str, pods: Sequence[Object]) -> categories.Problem | None:
    """The pod that a podFailurePolicy's message names, when it is no longer there to be asked."""
    pod, container, code = job_conditions.policy_pod(message)
    if not container or any(_name(item) == pod for item in pods):
        return None
    category = categories.Category.EXIT_CODE
    return categories.Problem(
        category, f"{container} ended with exit code {code}", pod=pod, container=container, exit_code=code
    )


def _diagnose_failed_pods(job: Object, pods: Sequence[Object], events: Sequence[Object]) -> categories.Problem | None:
    pod = find_failed_pod(job, pods)
    found = pod_ends.diagnose_ended_pod(pod, events, job) if pod else None
    return _with_place(found, pods) if found else None


def find_failed_pod(job: Object, pods: Sequence[Object]) -> Object | None:
    """The pod whose end made the Job fail: the one that its policy names, else the last attempt, and of those that ran
    at the same time the first to fail. What the controller stopped comes last."""
    message = job_conditions.failure(job)[1]
    named = job_conditions.policy_pod(message)[0]
    failed = [pod for pod in pods if pod_ends.diagnose_ended_pod(pod, (), job)]
    if chosen := next((pod for pod in failed if _name(pod) == named), None):
        return chosen
    indexes = str((job.get("status") or {}).get("failedIndexes") or "")
    failed = [pod for pod in failed if job_conditions.in_indexes(job_conditions.index_of(pod), indexes)] or failed
    own = [pod for pod in failed if not _was_stopped(pod, job)] or failed
    if not own:
        return None
    newest = max(own, key=lambda pod: _created(pod))
    together = [pod for pod in own if _finished(pod, job) >= _created(newest)] or [newest]
    return min(together, key=lambda pod: _finished(pod, job))


def _was_stopped(pod: Object, job: Object) -> bool:
    cause = container_ends.find_cause(pod, job)
    return cause is not None and cause.stopped


def _events_of_gone_pods(job: Object, events: Sequence[Object]) -> list[Object]:
    """Events of pods that have this Job's name, the oldest first."""
    index = r"-\d+" if (job.get("spec") or {}).get("completionMode") == "Indexed" else ""
    name = re.compile(rf"{re.escape(_name(job))}{index}-[a-z0-9]{{5}}")
    created = event_log.parse_time((job.get("metadata") or {}).get("creationTimestamp")) or event_log.LONG_AGO
    found = []
    for event in sorted(events, key=lambda item: event_log.event_time(item) or event_log.LONG_AGO):
        about = event.get("involvedObject") or {}
        mine = about.get("kind") == "Pod" and name.fullmatch(str(about.get("name") or ""))
        if mine and (event_log.event_time(event) or created) >= created:
            found.append(event)
    return found


def _diagnose_without_pods(job: Object, events: Sequence[Object]) -> categories.Problem:
    """What is left to say when no pod tells an end: the events that speak of a restart, and the Job's own words."""
    for event in reversed(_events_of_gone_pods(job, events)):
        about, text = event.get("involvedObject") or {}, str(event.get("message") or "")
        if event.get("reason") == "BackOff" and "restarting failed" in text:
            container = str(about.get("fieldPath") or "").partition("{")[2].rstrip("}")
            return categories.Problem(
                categories.Category.CRASH_LOOP,
                f"{container or 'A container'} kept ending: {text}",
                pod=str(about["name"]),
                container=container,
                remedy="See its log where logs are collected; its pods are gone.",
            )
    if found := pod_problems.diagnose_creation(event_log.events_of(job, events)):
        return found
    return categories.Problem(categories.Category.UNKNOWN, "Its pods are gone, so that no exit code is known")


def _with_job_words(found: categories.Problem, job: Object, reason: str) -> categories.Problem:
    """With what the Job says itself: its indexes, its policy's message, a limit that was reached."""
    parts = [found.detail]
    if indexes := job_conditions.describe_indexes(job):
        parts.append(indexes)
    spec, status = job.get("spec") or {}, job.get("status") or {}
    tries = (status.get("failed") or 0) > 1 or bool(spec.get("backoffLimit"))
    if reason not in ("", "BackoffLimitExceeded", "FailedIndexes") or (reason and tries) or found.category == "unknown":
        parts.append(job_conditions.describe_failure(job))
    return found.with_detail("; ".join(filter(None, parts)))


def list_notes(
    job: Object, pods: Sequence[Object], found: categories.Problem | None = None, events: Sequence[Object] = ()
) -> list[str]:
    """What is worth a word beside the verdict: processes killed for memory, pods that failed before, restarts, a
    policy that ended it, sidecars in trouble. found: the diagnosis that is told already."""
    said = [note for pod in pods for note in pod_ends.note_other_ends(pod, found, job)]
    if job_conditions.verdict(job) == "complete":
        said += _note_completion(job, pods)
    else:
        said += [note for pod in pods for note in _note_sidecars(pod, job, found)]
    said += [note for pod in pods for note in _note_restarts(pod, job, events)]
    return list(dict.fromkeys(said))


def _note_completion(job: Object, pods: Sequence[Object]) -> list[str]:
    status, entry = (
        job.get("status") or {},
        job_conditions.condition(job, "Complete") or job_conditions.condition(job, "SuccessCriteriaMet") or {},
    )
    said = []
    if entry.get("reason") == "SuccessPolicy":
        said.append(f"Complete by its successPolicy ({entry.get('message')}); pods that were left over were stopped")
    if status.get("failedIndexes") or (entry.get("reason") == "SuccessPolicy" and status.get("completedIndexes")):
        said.append(job_conditions.describe_indexes(job))
    failed = [pod for pod in pods if not _was_stopped(pod, job)]
    problems = [
        found
        for pod in failed
        if (pod.get("status") or {}).get("phase") == "Failed" and (found := pod_ends.diagnose_ended_pod(pod, (), job))
    ]
    if status.get("failed") or (problems and entry.get("reason") != "SuccessPolicy"):
        said.append(f"It took retries: {status.get('failed') or len(problems)} of its pods failed before")
        said += [f"{item.detail} (pod {item.pod})" for item in problems[:MAX_PODS_NOTED]]
    return said


def _note_sidecars(pod: Object, job: Object, found: categories.Problem | None) -> list[str]:
    said = []
    for item in container_ends.list_containers(pod, job):
        waiting = item.state.get("waiting") or {}
        told = found is not None and found.container == item.name
        if item.is_sidecar and not told and waiting.get("reason") not in (None, "PodInitializing", "ContainerCreating"):
            end = (item.status.get("lastState") or {}).get("terminated") or {}
            code = f", last with exit code {end['exitCode']}" if "exitCode" in end else ""
            restarts = item.status.get("restartCount") or 0
            said.append(
                f"{item.label} of pod {_name(pod)} does not run ({waiting['reason']}, restarts: {restarts}{code})"
            )
    return said


def _note_restarts(pod: Object, job: Object, events: Sequence[Object]) -> list[str]:
    said = []
    for item in container_ends.list_containers(pod, job):
        count = item.status.get("restartCount") or 0
        if count and not item.is_sidecar:
            before = (item.status.get("lastState") or {}).get("terminated") or {}
            code = (
                f"; the run before the last ended with exit code {before['exitCode']}" if "exitCode" in before else ""
            )
            code += f" ({before['reason']})" if before.get("reason") == "OOMKilled" else ""
            probe = pod_ends.find_probe_failure(pod, item.name, before.get("exitCode"), events)
            code += f", since a probe had failed: {probe}" if probe else ""
            said.append(f"{item.label} of pod {_name(pod)} was started again (restarts: {count}{code})")
    return said


def find_exit_code(pods: Sequence[Object], job: Object | None = None) -> int | None:
    """The program's exit code: 0 when a pod succeeded, whatever became of sidecars and of pods before; else that of the
    end which made a pod fail. None when no container ended."""
    ended = [pod for pod in pods if any(item.end is not None for item in container_ends.list_containers(pod, job))]
    if any((pod.get("status") or {}).get("phase") == "Succeeded" for pod in ended):
        return 0
    failed = find_failed_pod(job or {}, ended)
    cause = container_ends.find_cause(failed, job) if failed else None
    if cause and not cause.container.is_sidecar:
        return cause.code
    mains = [
        item
        for pod in ended
        for item in container_ends.list_containers(pod, job)
        if item.role is container_ends.Role.MAIN
    ]
    return 0 if any((item.end or {}).get("exitCode") == 0 for item in mains) else None


def find_termination_message(pods: Sequence[Object], job: Object | None = None) -> str:
    """What the program wrote to its termination log (/dev/termination-log, at most 4 KiB): a small result."""
    for pod in sorted(pods, key=_created, reverse=True):
        items = [
            item
            for item in container_ends.list_containers(pod, job)
            if item.role in (container_ends.Role.MAIN, container_ends.Role.SIDECAR)
        ]
        for item in sorted(items, key=lambda found: found.is_sidecar):
            if message := (item.end or {}).get("message"):
                return str(message)
    return ""


def _name(item: Object) -> str:
    return str((item.get("metadata") or {}).get("name") or "")


def _created(pod: Object) -> datetime:
    return event_log.parse_time((pod.get("metadata") or {}).get("creationTimestamp")) or event_log.LONG_AGO


def _finished(pod: Object, job: Object) -> datetime:
    cause = container_ends.find_cause(pod, job)
    return (cause.finished if cause else None) or _created(pod)
