# requirements: flexcore_kubernetes
"""What keeps a pod from running, or from ending, and how long to wait for it to pass. Pure.

A sidecar's problem is reported and does not end the run while the program runs; a program that keeps ending under
restartPolicy OnFailure is left to its Job, which counts the restarts against its backoffLimit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from f.flexcore.lib.kubernetes_api import categories, container_ends, image_pull, job_status, pod_ends, scheduling

Object = Mapping[str, Any]

# A secret or volume may be created after the pod that names it: by others, or by a repeat of a step that died in
# between. The kubelet tries such a container again after 10 to 15 s.
CONFIG_GRACE_S = 20.0
# A crash is given one restart, which the kubelet makes after 10 s.
CRASH_GRACE_S = 15.0
# A sidecar that ends after its program has seconds to do so; the Job's own verdict says more than ours.
HELD_GRACE_S = 20.0
MISSING_OBJECT = re.compile(r"not found|does not exist", re.IGNORECASE)
# Exit codes of the containers of model pods: fetch_model.EXITS, of which serving/model_server has one, too; a Job's
# step need not load them.
MODEL_CONTAINERS = ("fetch-model", "model-server")
FETCH_EXITS = {
    40: categories.Category.MODEL_MISMATCH,
    41: categories.Category.MODEL_DENIED,
    42: categories.Category.MODEL_NOT_FOUND,
    43: categories.Category.MODEL_UNREACHABLE,
}


def diagnose_pods(
    pods: Sequence[Object], events: Sequence[Object] = (), job: Object | None = None
) -> categories.Problem | None:
    """The first problem among the pods, those that can wait last."""
    problems = [item for pod in pods if (item := diagnose_waiting_pod(pod, events, job))]
    return min(problems, key=_rank_by_grace, default=None)


def _rank_by_grace(problem: categories.Problem) -> tuple[bool, bool, float]:
    """Sorts what ends the work soonest first; what a queue may hold back goes before what never ends it."""
    return problem.grace_s == categories.NO_LIMIT, problem.grace_s is None, problem.grace_s or 0.0


def diagnose_waiting_pod(
    pod: Object, events: Sequence[Object] = (), job: Object | None = None
) -> categories.Problem | None:
    """What is wrong with a pod that has not ended; None when nothing is known to be."""
    metadata, status = pod.get("metadata") or {}, pod.get("status") or {}
    if status.get("phase") in job_status.TERMINAL_PHASES or metadata.get("deletionTimestamp"):
        return None
    problem = _diagnose(pod, status, events, job)
    return replace(problem, pod=str(metadata.get("name") or "")) if problem else None


def _diagnose(pod: Object, status: Object, events: Sequence[Object], job: Object | None) -> categories.Problem | None:
    if status.get("phase") == "Unknown" or status.get("reason") == "NodeLost":
        # The node may come back; if it does not, Kubernetes replaces the pod.
        message = str(status.get("message") or "The pod's node does not answer")
        return categories.Problem(categories.Category.NODE_LOST, message, categories.NO_LIMIT)
    containers = container_ends.list_containers(pod, job)
    for entry in status.get("initContainerStatuses") or ():
        if problem := diagnose_model_fetch(entry):
            return problem
    problems = [problem for item in containers if (problem := _diagnose_container(item, pod, containers, events))]
    if problems:
        return min(problems, key=_rank_by_grace)
    if problem := _diagnose_scheduling(pod, status):
        return problem
    if problem := diagnose_held_pod(pod, job):
        return problem
    return _diagnose_start(pod, events) if status.get("phase") in (None, "Pending") else None


def _diagnose_container(
    item: container_ends.Container,
    pod: Object,
    containers: Sequence[container_ends.Container],
    events: Sequence[Object],
) -> categories.Problem | None:
    waiting = item.state.get("waiting") or {}
    problem = diagnose_waiting_container(
        str(waiting.get("reason") or ""), str(waiting.get("message") or ""), item.status
    )
    if problem is None:
        return None
    if len(containers) > 1 and item.label not in problem.detail:
        problem = problem.with_detail(f"{item.label}: {problem.detail}")
    keeps_ending = waiting.get("reason") == "CrashLoopBackOff"
    if keeps_ending:
        problem = pod_ends.add_probe_failure(problem, pod, item.name, events)
    program_began = any(other.has_begun for other in containers if other.role is container_ends.Role.MAIN)
    # A sidecar is not what the run is for; a native one that cannot start holds the program back, though.
    is_harmless = item.is_sidecar and (program_began or keeps_ending)
    is_counted = keeps_ending and (pod.get("spec") or {}).get("restartPolicy") == "OnFailure"
    grace = categories.NO_LIMIT if is_harmless or is_counted else problem.grace_s
    return replace(problem, container=item.name, grace_s=grace)


def diagnose_waiting_container(reason: str, message: str, entry: Object) -> categories.Problem | None:
    """What a container's waiting reason means. Source: pkg/kubelet (images/types.go, kubelet_pods.go)."""
    image = str(entry.get("image") or "")
    if problem := image_pull.diagnose_image_pull(image, reason, message):
        return problem
    if reason == "CreateContainerConfigError":
        return _diagnose_config(message)
    if reason in ("CreateContainerError", "RunContainerError"):
        missing = re.search(r"executable file not found|no such file or directory", message)
        category = categories.Category.COMMAND_NOT_FOUND if missing else categories.Category.CONTAINER_REFUSED
        return categories.Problem(category, message or reason, CONFIG_GRACE_S)
    if reason == "CrashLoopBackOff":
        return _diagnose_crash_loop(message, entry)
    return None


def _diagnose_crash_loop(message: str, entry: Object) -> categories.Problem:
    end = (entry.get("lastState") or {}).get("terminated")
    problem = (
        container_ends.diagnose_end(end, "it") if end else categories.Problem(categories.Category.CRASH_LOOP, message)
    )
    if problem.category in (categories.Category.EXIT_CODE, categories.Category.KILLED):
        problem = replace(problem, category=categories.Category.CRASH_LOOP, remedy="")
    end = problem.detail.removeprefix("it ")
    detail = f"{entry.get('name')} keeps ending (restarts: {entry.get('restartCount')}): {end}"
    return replace(problem, detail=detail, grace_s=CRASH_GRACE_S)


def _diagnose_config(message: str) -> categories.Problem:
    refused = "runAsNonRoot" in message or "must not" in message or "subPath" in message
    if not refused:
        return categories.Problem(categories.Category.CONFIG_MISSING, message, CONFIG_GRACE_S)
    remedy = (
        "Set securityContext.runAsUser to the number of a user that the image can run as."
        if "non-numeric" in message or "runAsNonRoot" in message
        else ""
    )
    return categories.Problem(categories.Category.CONTAINER_REFUSED, message, remedy=remedy)


def diagnose_model_fetch(entry: Object) -> categories.Problem | None:
    """What a container of a model pod says when it ends badly; it is started again and again."""
    if entry.get("name") not in MODEL_CONTAINERS:
        # Other programs have such exit codes, too.
        return None
    for state in (entry.get("state") or {}, entry.get("lastState") or {}):
        end = state.get("terminated") or {}
        if category := FETCH_EXITS.get(end.get("exitCode") or 0):
            grace_s = CRASH_GRACE_S if category == categories.Category.MODEL_UNREACHABLE else 0.0
            return categories.Problem(category, str(end.get("message") or category), grace_s)
    return None


def diagnose_held_pod(pod: Object, job: Object | None = None) -> categories.Problem | None:
    """A program that is done, and a sidecar that keeps its pod from ending. Only the Job's verdict says that the work
    is done, so it ends a run only where that verdict can no longer be a good one."""
    done, left = container_ends.find_held_program(pod, job)
    if not done or not left:
        return None
    ends = " and ".join(f"{item.name} has ended with exit code {(item.end or {}).get('exitCode')}" for item in done)
    names = " and ".join(item.name for item in left)
    still = f"{names} still {'run' if len(left) > 1 else 'runs'}, so that the pod does not end"
    codes = [code for item in done if (code := (item.end or {}).get("exitCode"))]
    name = str((pod.get("metadata") or {}).get("name") or "")
    program = next((item.name for item in done if codes and (item.end or {}).get("exitCode") == codes[0]), done[0].name)
    is_lost = bool(codes) and has_no_retry_left(pod, job or {})
    advice = advise_on_sidecar(left[0].name)
    return categories.Problem(
        categories.Category.SIDECAR_RUNNING,
        f"{ends}, and {still}{'; its Job can no longer succeed' if is_lost else ''}",
        HELD_GRACE_S if is_lost else categories.NO_LIMIT,
        remedy=f"See the last lines of {program} in log_tail. {advice}" if codes else advice,
        subject=left[0].name,
        pod=name,
        container=program,
        exit_code=codes[0] if codes else 0,
    )


def has_no_retry_left(pod: Object, job: Object) -> bool:
    """Whether a pod whose program failed makes its Job fail as soon as it ends: it is not started again, and no other
    pod takes its place. False where a policy or limits of each index decide."""
    spec = job.get("spec") or {}
    if any(spec.get(rule) is not None for rule in ("backoffLimitPerIndex", "podFailurePolicy", "successPolicy")):
        return False
    limit, failed = spec.get("backoffLimit"), (job.get("status") or {}).get("failed") or 0
    never = (pod.get("spec") or {}).get("restartPolicy") == "Never"
    return bool(spec) and never and failed >= (6 if limit is None else limit)


def advise_on_sidecar(name: str) -> str:
    """What keeps a sidecar from outliving its program."""
    native = "make it an init container with restartPolicy Always, which ends with the program"
    if "vault" in name:
        return f'Set the annotation vault.hashicorp.com/agent-pre-populate-only: "true", or {native}.'
    if "sql" in name or "alloydb" in name:
        return f"Let the program end the proxy (--quitquitquit), or {native}."
    return categories.ACTIONS[categories.Category.SIDECAR_RUNNING][1]


def _diagnose_scheduling(pod: Object, status: Object) -> categories.Problem | None:
    for entry in status.get("conditions") or ():
        if (entry.get("type"), entry.get("status")) != ("PodScheduled", "False"):
            continue
        if entry.get("reason") == "Unschedulable":
            return scheduling.diagnose_unschedulable(str(entry.get("message") or ""), pod)
        if entry.get("reason") == "SchedulingGated":
            return scheduling.diagnose_gates(str(entry.get("message") or "The pod has scheduling gates"), pod)
    return None


def _diagnose_start(pod: Object, events: Sequence[Object]) -> categories.Problem | None:
    return diagnose_events(job_status.filter_events(pod, events), pod)


def diagnose_events(events: Sequence[Object], pod: Object) -> categories.Problem | None:
    """What only the events of a pod that does not start show, the oldest first; the last one counts."""
    for event in reversed(events):
        reason, message = event.get("reason"), str(event.get("message") or "")
        if reason in ("FailedMount", "FailedAttachVolume"):
            # Attaching may take minutes on a healthy cluster, while a missing object is reported at once.
            missing = MISSING_OBJECT.search(message)
            return categories.Problem(categories.Category.VOLUME_FAILED, message, CONFIG_GRACE_S if missing else None)
        if reason in ("FailedCreatePodSandBox", "FailedCreatePodContainer", "NetworkNotReady"):
            return categories.Problem(categories.Category.SANDBOX_FAILED, container_ends.shorten_error(message), None)
        if reason == "Failed" and (image := re.search(r'Failed to pull image "([^"]+)"', message)):
            return image_pull.diagnose_failed_pull(image[1], "ErrImagePull", message)
        if reason in ("Pulled", "Created", "Started", "SuccessfulMountVolume", "SuccessfulAttachVolume"):
            return None
        if reason == "FailedScheduling":
            return scheduling.diagnose_unschedulable(message, pod)
        if reason == "Scheduled":
            return None
    return None
