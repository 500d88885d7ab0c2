# requirements: flexcore_kubernetes
"""Why a Job does not start or end, or how it failed: from plain objects (Job, Pods, Events). Pure.

diagnose_active_job   what keeps it from getting on now, with its grace period
diagnose_failed_job   how it failed: its program's end where there is one, with what the Job itself says
diagnose_lateness     why it has spent its time

Its parts: container_ends (whose end was the cause), pod_problems (before the end; image_pull, scheduling), pod_ends
(at the end), admission (no pod at all), job_status. Notes beside the verdict: job_notes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes_api import admission, categories, container_ends, job_status, pod_ends, pod_problems

Object = Mapping[str, Any]


def diagnose_active_job(
    job: Object, pods: Sequence[Object], events: Sequence[Object] = ()
) -> categories.Problem | None:
    """What keeps a Job without a verdict from getting on; None when nothing is known to be wrong."""
    if (job.get("spec") or {}).get("suspend"):
        return diagnose_suspension(job, events)
    active = [pod for pod in pods if (pod.get("status") or {}).get("phase") not in job_status.TERMINAL_PHASES]
    if not active:
        return _drop_outdated(admission.diagnose_creation(job_status.filter_events(job, events)), job, pods, events)
    problem = pod_problems.diagnose_pods(active, events, job)
    if (
        problem
        and problem.category == categories.Category.CRASH_LOOP
        and (limit := (job.get("spec") or {}).get("backoffLimit"))
    ):
        problem = problem.with_detail(problem.detail.replace(")", f", backoffLimit {limit})", 1))
    return _add_place(problem, active) if problem else None


def diagnose_suspension(job: Object, events: Sequence[Object] = ()) -> categories.Problem:
    if queue := job_status.find_queue_name(job):
        messages = [
            str(event.get("message"))
            for event in job_status.filter_events(job, events)
            if event.get("reason") == "Stopped"
        ]
        why = f" ({messages[-1]})" if messages else ""
        return categories.Problem(
            categories.Category.SUSPENDED,
            f"The Job is suspended until its queue {queue} admits it{why}",
            categories.NO_LIMIT,
        )
    return categories.Problem(
        categories.Category.SUSPENDED,
        "The Job is suspended by its own manifest (spec.suspend), and has no queue that would start it",
        None,
        remedy="Set spec.suspend to false, or name a queue (label kueue.x-k8s.io/queue-name).",
        subject="spec.suspend",
        error=errors.InvalidInput,
    )


def _drop_outdated(
    problem: categories.Problem | None, job: Object, pods: Sequence[Object], events: Sequence[Object]
) -> categories.Problem | None:
    """None when pods were created since: the refusal has passed."""
    mine = job_status.filter_events(job, events)
    refused = max(
        (
            job_status.find_event_time(item) or job_status.LONG_AGO
            for item in mine
            if item.get("reason") == "FailedCreate"
        ),
        default=None,
    )
    times = [job_status.parse_time((pod.get("metadata") or {}).get("creationTimestamp")) for pod in pods]
    times += [job_status.find_event_time(item) for item in mine if item.get("reason") == "SuccessfulCreate"]
    created = max(filter(None, times), default=job_status.LONG_AGO)
    return None if refused is None or created > refused else problem


def _add_place(problem: categories.Problem, pods: Sequence[Object]) -> categories.Problem:
    """Names the pod, and its index, where there are several."""
    pod = next((item for item in pods if (item.get("metadata") or {}).get("name") == problem.pod), None)
    index = job_status.find_index(pod) if pod else ""
    if not problem.pod or (len(pods) < 2 and not index):
        return problem
    place = f"pod {problem.pod}, index {index}" if index else f"pod {problem.pod}"
    return problem.with_detail(f"{problem.detail} ({place})")


def diagnose_failed_job(job: Object, pods: Sequence[Object], events: Sequence[Object] = ()) -> categories.Problem:
    """How a failed Job failed, with its program's exit code where a container's end says one."""
    reason, message = job_status.find_failure(job)
    if reason == "DeadlineExceeded":
        spent = job_status.describe_time(job, pods, events, job_status.parse_time(job_status.find_failure_time(job)))
        return diagnose_lateness(job, pods, events, "It did not end within its time" + _describe_limit(job, spent))
    by_policy = _diagnose_policy(message, pods) if reason == "PodFailurePolicy" else None
    problem = by_policy or _diagnose_failed_pods(job, pods, events) or _diagnose_without_pods(job, events)
    return _add_job_message(problem, job, reason)


def _describe_limit(job: Object, spent: str) -> str:
    seconds = (job.get("spec") or {}).get("activeDeadlineSeconds")
    parts = [f"{seconds} s" if seconds is not None else "", spent]
    return f" ({': '.join(filter(None, parts))})" if any(parts) else ""


def diagnose_lateness(
    job: Object, pods: Sequence[Object], events: Sequence[Object], summary: str
) -> categories.Problem:
    """Work that has spent its time, by its Job's deadline or by the step's. summary: which time that was.

    What kept it from running goes before the deadline, since more time would not have helped.
    """
    held = next((pod for pod in pods if container_ends.find_held_program(pod, job)[1]), None)
    if held:
        return _diagnose_held_late(held, job, summary)
    problem = (
        diagnose_active_job(job, pods, events)
        if job_status.find_verdict(job) is None
        else pod_problems.diagnose_pods(pods, events, job)
    )
    if problem and problem.grace_s == categories.NO_LIMIT and problem.category != categories.Category.SUSPENDED:
        late = categories.Problem(categories.Category.DEADLINE, f"{summary}: {problem.detail}", remedy=problem.remedy)
        return replace(late, pod=problem.pod, container=problem.container, exit_code=problem.exit_code)
    if problem:
        return problem.with_detail(f"{problem.detail} ({summary[:1].lower()}{summary[1:]})")
    for pod in pods:
        done, left = container_ends.find_partly_ended(pod, job)
        if done and left:
            names = " and ".join(item.name for item in left)
            text = f"{summary}: {done[0].name} had ended with exit code 0, while {names} still ran"
            remedy = (
                f"If {names} is a sidecar, make it an init container with restartPolicy Always; else raise timeout_s."
            )
            return categories.Problem(
                categories.Category.DEADLINE,
                text,
                remedy=remedy,
                container=done[0].name,
                pod=job_status.object_name(pod),
                exit_code=0,
            )
    if not pods and (problem := _diagnose_gone_pods(job, events)):
        return problem.with_detail(f"{problem.detail} ({summary[:1].lower()}{summary[1:]})")
    return categories.Problem(categories.Category.DEADLINE, summary)


def _diagnose_gone_pods(job: Object, events: Sequence[Object]) -> categories.Problem | None:
    """What kept pods from running that the deadline has deleted."""
    refused = _drop_outdated(admission.diagnose_creation(job_status.filter_events(job, events)), job, [], events)
    return refused or pod_problems.diagnose_events(_list_events_of_gone_pods(job, events), {})


def _diagnose_held_late(pod: Object, job: Object, summary: str) -> categories.Problem:
    done, left = container_ends.find_held_program(pod, job)
    ends = " and ".join(f"{item.name} had ended with exit code {(item.end or {}).get('exitCode')}" for item in done)
    names = " and ".join(item.name for item in left)
    bad = next((item for item in done if (item.end or {}).get("exitCode")), done[0])
    return categories.Problem(
        categories.Category.DEADLINE,
        f"{summary}: {ends}, but {names} still ran beside it and kept the pod from ending",
        remedy=pod_problems.advise_on_sidecar(left[0].name),
        subject=left[0].name,
        pod=job_status.object_name(pod),
        container=bad.name,
        exit_code=(bad.end or {}).get("exitCode"),
    )


def _diagnose_policy(message: str, pods: Sequence[Object]) -> categories.Problem | None:
    """The end that a podFailurePolicy's message names, of a pod that is gone."""
    pod, container, code = job_status.parse_policy_message(message)
    if not container or any(job_status.object_name(item) == pod for item in pods):
        return None
    category = categories.Category.EXIT_CODE
    return categories.Problem(
        category, f"{container} ended with exit code {code}", pod=pod, container=container, exit_code=code
    )


def _diagnose_failed_pods(job: Object, pods: Sequence[Object], events: Sequence[Object]) -> categories.Problem | None:
    pod = find_failed_pod(job, pods)
    problem = pod_ends.diagnose_ended_pod(pod, events, job) if pod else None
    return _add_place(problem, pods) if problem else None


def find_failed_pod(job: Object, pods: Sequence[Object]) -> Object | None:
    """The pod whose end made the Job fail: the one that its policy names, else the last attempt, and of those that ran
    at the same time the first to fail. What the controller stopped comes last."""
    message = job_status.find_failure(job)[1]
    named_pod = job_status.parse_policy_message(message)[0]
    failed = [pod for pod in pods if pod_ends.diagnose_ended_pod(pod, (), job)]
    if chosen := next((pod for pod in failed if job_status.object_name(pod) == named_pod), None):
        return chosen
    indexes = str((job.get("status") or {}).get("failedIndexes") or "")
    failed = [pod for pod in failed if job_status.has_index(job_status.find_index(pod), indexes)] or failed
    own = [pod for pod in failed if not was_stopped(pod, job)] or failed
    if not own:
        return None
    newest = max(own, key=lambda pod: find_creation_time(pod))
    together = [pod for pod in own if _find_end_time(pod, job) >= find_creation_time(newest)] or [newest]
    return min(together, key=lambda pod: _find_end_time(pod, job))


def was_stopped(pod: Object, job: Object) -> bool:
    cause = container_ends.find_cause(pod, job)
    return cause is not None and cause.was_stopped


def _list_events_of_gone_pods(job: Object, events: Sequence[Object]) -> list[Object]:
    """Events of pods that have this Job's name, the oldest first."""
    index = r"-\d+" if (job.get("spec") or {}).get("completionMode") == "Indexed" else ""
    name = re.compile(rf"{re.escape(job_status.object_name(job))}{index}-[a-z0-9]{{5}}")
    created = job_status.parse_time((job.get("metadata") or {}).get("creationTimestamp")) or job_status.LONG_AGO
    kept = []
    for event in sorted(events, key=lambda item: job_status.find_event_time(item) or job_status.LONG_AGO):
        about = event.get("involvedObject") or {}
        mine = about.get("kind") == "Pod" and name.fullmatch(str(about.get("name") or ""))
        if mine and (job_status.find_event_time(event) or created) >= created:
            kept.append(event)
    return kept


def _diagnose_without_pods(job: Object, events: Sequence[Object]) -> categories.Problem:
    """When no pod shows an end: the events of restarts, and the Job's own message."""
    for event in reversed(_list_events_of_gone_pods(job, events)):
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
    if problem := admission.diagnose_creation(job_status.filter_events(job, events)):
        return problem
    return categories.Problem(categories.Category.UNKNOWN, "Its pods are gone, so that no exit code is known")


def _add_job_message(problem: categories.Problem, job: Object, reason: str) -> categories.Problem:
    """Adds what the Job says itself: its indexes, its policy's message, a limit that was reached."""
    parts = [problem.detail]
    if indexes := job_status.describe_indexes(job):
        parts.append(indexes)
    spec, status = job.get("spec") or {}, job.get("status") or {}
    tries = (status.get("failed") or 0) > 1 or bool(spec.get("backoffLimit"))
    is_unknown = problem.category == categories.Category.UNKNOWN
    if reason not in ("", "BackoffLimitExceeded", "FailedIndexes") or (reason and tries) or is_unknown:
        parts.append(job_status.describe_failure(job))
    return problem.with_detail("; ".join(filter(None, parts)))


def find_creation_time(pod: Object) -> datetime:
    return job_status.parse_time((pod.get("metadata") or {}).get("creationTimestamp")) or job_status.LONG_AGO


def _find_end_time(pod: Object, job: Object) -> datetime:
    cause = container_ends.find_cause(pod, job)
    return (cause.finished_at if cause else None) or find_creation_time(pod)
