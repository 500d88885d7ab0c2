# requirements: flexcore_kubernetes
"""Of a Job beside its verdict: notes, its program's exit code, its termination message. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from f.flexcore.lib.kubernetes import job_diagnosis
from f.flexcore.lib.kubernetes_api import categories, container_ends, job_status, pod_ends

Object = Mapping[str, Any]

MAX_PODS_NOTED = 5


def list_notes(
    job: Object, pods: Sequence[Object], problem: categories.Problem | None = None, events: Sequence[Object] = ()
) -> list[str]:
    """Notes beside the verdict: processes killed for memory, pods that failed before, restarts, a policy
    that ended it, sidecars that do not run. problem: the diagnosis that is reported already."""
    notes = [note for pod in pods for note in pod_ends.note_other_ends(pod, problem, job)]
    if job_status.find_verdict(job) == "complete":
        notes += _note_completion(job, pods)
    else:
        notes += [note for pod in pods for note in _note_sidecars(pod, job, problem)]
    notes += [note for pod in pods for note in _note_restarts(pod, job, events)]
    return list(dict.fromkeys(notes))


def _note_completion(job: Object, pods: Sequence[Object]) -> list[str]:
    status, entry = (
        job.get("status") or {},
        job_status.find_condition(job, "Complete") or job_status.find_condition(job, "SuccessCriteriaMet") or {},
    )
    notes = []
    if entry.get("reason") == "SuccessPolicy":
        notes.append(f"Complete by its successPolicy ({entry.get('message')}); pods that were left over were stopped")
    if status.get("failedIndexes") or (entry.get("reason") == "SuccessPolicy" and status.get("completedIndexes")):
        notes.append(job_status.describe_indexes(job))
    failed = [pod for pod in pods if not job_diagnosis.was_stopped(pod, job)]
    problems = [
        problem
        for pod in failed
        if (pod.get("status") or {}).get("phase") == "Failed" and (problem := pod_ends.diagnose_ended_pod(pod, (), job))
    ]
    if status.get("failed") or (problems and entry.get("reason") != "SuccessPolicy"):
        notes.append(f"It took retries: {status.get('failed') or len(problems)} of its pods failed before")
        notes += [f"{item.detail} (pod {item.pod})" for item in problems[:MAX_PODS_NOTED]]
    return notes


def _note_sidecars(pod: Object, job: Object, problem: categories.Problem | None) -> list[str]:
    notes = []
    for item in container_ends.list_containers(pod, job):
        waiting = item.state.get("waiting") or {}
        is_reported = problem is not None and problem.container == item.name
        is_stuck = waiting.get("reason") not in (None, "PodInitializing", "ContainerCreating")
        if item.is_sidecar and is_stuck and not is_reported:
            end = (item.status.get("lastState") or {}).get("terminated") or {}
            code = f", last with exit code {end['exitCode']}" if "exitCode" in end else ""
            restarts = item.status.get("restartCount") or 0
            notes.append(
                f"{item.label} of pod {job_status.object_name(pod)} does not run "
                f"({waiting['reason']}, restarts: {restarts}{code})"
            )
    return notes


def _note_restarts(pod: Object, job: Object, events: Sequence[Object]) -> list[str]:
    notes = []
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
            notes.append(
                f"{item.label} of pod {job_status.object_name(pod)} was started again (restarts: {count}{code})"
            )
    return notes


def find_exit_code(pods: Sequence[Object], job: Object | None = None) -> int | None:
    """The program's exit code: 0 when a pod succeeded, whatever became of sidecars and of pods before; else that of the
    end which made a pod fail. None when no container ended."""
    ended = [pod for pod in pods if any(item.end is not None for item in container_ends.list_containers(pod, job))]
    if any((pod.get("status") or {}).get("phase") == "Succeeded" for pod in ended):
        return 0
    failed = job_diagnosis.find_failed_pod(job or {}, ended)
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
    for pod in sorted(pods, key=job_diagnosis.find_creation_time, reverse=True):
        items = [
            item
            for item in container_ends.list_containers(pod, job)
            if item.role in (container_ends.Role.MAIN, container_ends.Role.SIDECAR)
        ]
        for item in sorted(items, key=lambda item: item.is_sidecar):
            if message := (item.end or {}).get("message"):
                return str(message)
    return ""
