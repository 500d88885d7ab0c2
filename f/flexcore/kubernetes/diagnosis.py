# requirements: flexcore_kubernetes
# py: ==3.11.*
"""Why work on Kubernetes does not start, or how it failed: from plain objects (Job, Pods, Events) to a category.

verdict   Job's conditions Complete and Failed; nothing else ends a Job
trouble   what keeps pods from running now, with the patience that it deserves
ending    how a failed Job failed: the container's end where there is one, else the Job's own reason

Categories are a public contract; ACTIONS says for each what to do and which error it becomes. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from f.flexcore.core.contracts import Diagnosis
from f.flexcore.core.errors import (
    DeadlineExceeded,
    ExecutionFailed,
    FlexcoreError,
    Forbidden,
    InvalidInput,
    ManifestMismatch,
    NotFound,
    Unavailable,
    Unreachable,
)

Object = Mapping[str, Any]

# The kubelet tries a failed pull again after 10 s: one such repeat is let pass.
PULL_GRACE_S = 15.0
# A secret or volume may be created a moment after the pod that names it.
CONFIG_GRACE_S = 8.0
# A crash is given one restart, which the kubelet makes after 10 s.
CRASH_GRACE_S = 15.0
NOT_IN_REGISTRY = re.compile(r"not found|manifest unknown|does not exist|name unknown", re.IGNORECASE)
NO_ACCESS = re.compile(r"unauthorized|denied|authentication required|forbidden|no basic auth", re.IGNORECASE)
# "lookup …: no such host" says nothing about the image, only about the network.
NETWORK = re.compile(
    r"dial tcp|no such host|i/o timeout|connection re|EOF|TLS handshake|x509|too many requests|50\d ", re.IGNORECASE
)

ACTIONS: dict[str, tuple[type[FlexcoreError], str]] = {
    "image_not_found": (NotFound, "Correct the image's name and tag, or push it to the registry."),
    "image_denied": (Forbidden, "Give the service account a pull secret, or correct the image's name."),
    "image_unreachable": (Unreachable, "Check that the nodes reach the registry, or correct the image's name."),
    "image_invalid": (InvalidInput, "Correct the image's name."),
    "config_missing": (NotFound, "Create the Secret or ConfigMap, or correct its name and key."),
    "volume_failed": (NotFound, "Check that the claim or volume exists and can be mounted."),
    "unschedulable": (Unavailable, "Ask for less cpu, memory or GPUs, or add nodes that fit."),
    "suspended": (Unavailable, "It waits for its queue; see why in the queue's Workload."),
    "quota_exceeded": (Unavailable, "Ask for less, wait until others have finished, or have the quota raised."),
    "admission_denied": (InvalidInput, "Change what the rule names, or choose another namespace."),
    "service_account_missing": (NotFound, "Create the service account, or correct its name."),
    "command_not_found": (InvalidInput, "Correct the command; it must exist within the image."),
    "container_refused": (InvalidInput, "Change what the message names."),
    "out_of_memory": (ExecutionFailed, "Ask for more memory, or let the program use less."),
    "exit_code": (ExecutionFailed, "See the program's last lines in log_tail."),
    "killed": (ExecutionFailed, "It was ended by a signal; see its last lines in log_tail, and the pod's events."),
    "crash_loop": (ExecutionFailed, "See the program's last lines in log_tail."),
    "not_ready": (ExecutionFailed, "See the server's last lines in log_tail, and its readiness address."),
    "model_mismatch": (ManifestMismatch, "Run the training again, or bring the files that its manifest lists."),
    "model_denied": (Forbidden, "Check the storage keys of the settings and their rights on the bucket."),
    "model_not_found": (NotFound, "Check the settings' store, or run the training again."),
    "model_unreachable": (Unreachable, "Use a storage endpoint that pods reach, too."),
    "no_address": (Unavailable, "Use service_type NodePort or ClusterIP, or a cluster with load balancers."),
    "smoke_failed": (ExecutionFailed, "Check that the server image has the libraries that the model was trained with."),
    "evicted": (Unavailable, "Run again, and ask for as much memory and disk as it needs."),
    "node_lost": (Unavailable, "Run again."),
    "preempted": (Unavailable, "Run again, or with a higher priority."),
    "deadline": (DeadlineExceeded, "Raise timeout_s, or give it more cpu or memory."),
    "deleted": (ExecutionFailed, "Somebody deleted it; run again."),
    "unknown": (ExecutionFailed, "See its events: kubectl describe."),
}  # fmt: skip
SUBJECTS = {
    "command_not_found": "command",
    "service_account_missing": "service_account",
    "out_of_memory": "memory",
    "deadline": "timeout_s",
    "no_address": "service_type",
}
# Exit codes of the model pod's first container: fetch_model.EXITS, which a Job's step need not load.
FETCH_EXITS = {40: "mismatch", 41: "denied", 42: "not_found", 43: "unreachable"}
# A repeat of the very same request ends the same way.
DETERMINISTIC = {"command_not_found", "image_invalid", "admission_denied", "container_refused"}


@dataclass(frozen=True, slots=True)
class Trouble:
    """What keeps work from running. grace_s: how long to wait for it to pass; None as long as there is time at all."""

    category: str
    detail: str
    grace_s: float | None = 0.0

    def diagnosis(self) -> Diagnosis:
        return diagnosed(self.category, self.detail)


def diagnosed(category: str, detail: str) -> Diagnosis:
    return Diagnosis(category=category, detail=" ".join(detail.split()), remedy=ACTIONS[category][1])


def error_of(diagnosis: Diagnosis, what: str, subject: str, **details: Any) -> FlexcoreError:
    """The typed error that a step raises for it. subject: the object, unless an argument of the step is at fault."""
    error = ACTIONS[diagnosis.category][0]
    subject = "image" if diagnosis.category.startswith("image_") else SUBJECTS.get(diagnosis.category, subject)
    text = f"{what}: {diagnosis.detail}"
    details["diagnosis"] = diagnosis.plain()
    return error(text, subject=subject, remedy=diagnosis.remedy, category=diagnosis.category, **details)


def condition(item: Object, kind: str) -> Object | None:
    """The named condition when it is true."""
    conditions: Iterable[Object] = _status(item).get("conditions") or ()
    return next((entry for entry in conditions if entry.get("type") == kind and entry.get("status") == "True"), None)


def verdict(job: Object) -> Literal["complete", "failed"] | None:
    """Source: https://kubernetes.io/docs/concepts/workloads/controllers/job/#terminal-job-conditions"""
    if condition(job, "Complete"):
        return "complete"
    return "failed" if condition(job, "Failed") else None


def trouble(job: Object, pods: Sequence[Object], events: Sequence[Object] = ()) -> Trouble | None:
    """Why a Job that has no verdict does not get on; None when nothing is known to be wrong."""
    if (job.get("spec") or {}).get("suspend"):
        return Trouble("suspended", "The Job is suspended until its queue admits it", None)
    if not pods:
        return creation_trouble(events)
    return pods_trouble(pods, events)


def pods_trouble(pods: Sequence[Object], events: Sequence[Object] = ()) -> Trouble | None:
    """The first trouble among the pods, those that can wait last."""
    found = [item for pod in pods if (item := pod_trouble(pod, events))]
    return min(found, key=lambda item: (item.grace_s is None, item.grace_s or 0.0), default=None)


def creation_trouble(events: Sequence[Object]) -> Trouble | None:
    """Why a controller cannot create its pods: its FailedCreate events."""
    said = next((str(event.get("message")) for event in reversed(events) if event.get("reason") == "FailedCreate"), "")
    if not said:
        return None
    if "exceeded quota" in said:
        return Trouble("quota_exceeded", said)
    if "service account" in said or "serviceaccount" in said:
        return Trouble("service_account_missing", said, CONFIG_GRACE_S)
    if "forbidden" in said or "denied" in said:
        return Trouble("admission_denied", said)
    return Trouble("unknown", said, PULL_GRACE_S)


def pod_trouble(pod: Object, events: Sequence[Object] = ()) -> Trouble | None:
    status = _status(pod)
    if status.get("phase") in ("Succeeded", "Failed"):
        return None
    for entry in status.get("initContainerStatuses") or ():
        if found := fetch_trouble(entry):
            return found
    for entry in _containers(status):
        waiting = (entry.get("state") or {}).get("waiting") or {}
        found = waiting_trouble(str(waiting.get("reason") or ""), str(waiting.get("message") or ""), entry)
        if found:
            return found
    for entry in status.get("conditions") or ():
        if (entry.get("type"), entry.get("status"), entry.get("reason")) == ("PodScheduled", "False", "Unschedulable"):
            return Trouble("unschedulable", str(entry.get("message") or "No node fits"), None)
    return _mount_trouble(pod, events)


def fetch_trouble(entry: Object) -> Trouble | None:
    """What the model pod's first container says of itself when it ends badly; it is begun again and again."""
    for state in (entry.get("state") or {}, entry.get("lastState") or {}):
        end = state.get("terminated") or {}
        if kind := FETCH_EXITS.get(end.get("exitCode") or 0):
            passing = kind == "unreachable"
            return Trouble(f"model_{kind}", str(end.get("message") or kind), CRASH_GRACE_S if passing else 0.0)
    return None


def waiting_trouble(reason: str, message: str, entry: Object) -> Trouble | None:
    """What a container's waiting reason means. Source: pkg/kubelet (images/types.go, kubelet_pods.go)."""
    image = str(entry.get("image") or "")
    if reason in ("ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "ErrImageNeverPull"):
        return _pull_trouble(image, reason, message)
    if reason == "InvalidImageName":
        return Trouble("image_invalid", f"{image} is not the name of an image")
    if reason == "CreateContainerConfigError":
        refused = "runAsNonRoot" in message or "must not" in message
        return Trouble(
            "container_refused" if refused else "config_missing", message, 0.0 if refused else CONFIG_GRACE_S
        )
    if reason in ("CreateContainerError", "RunContainerError"):
        missing = re.search(r"executable file not found|no such file or directory", message)
        return Trouble("command_not_found" if missing else "container_refused", message, CONFIG_GRACE_S)
    if reason == "CrashLoopBackOff":
        end = (entry.get("lastState") or {}).get("terminated") or {}
        category, detail = container_ending(end) if end else ("crash_loop", message)
        restarts = entry.get("restartCount")
        category = "crash_loop" if category in ("exit_code", "killed") else category
        return Trouble(category, f"{entry.get('name')} keeps ending (restarts: {restarts}): {detail}", CRASH_GRACE_S)
    return None


def _pull_trouble(image: str, reason: str, message: str) -> Trouble:
    detail = f"Image {image} cannot be pulled ({reason}){': ' + _tail(message) if message else ''}"
    if reason == "ErrImageNeverPull":
        return Trouble("image_not_found", detail)
    if NETWORK.search(message):
        return Trouble("image_unreachable", detail, PULL_GRACE_S)
    # Docker Hub answers "denied" for what does not exist as well.
    if NO_ACCESS.search(message):
        return Trouble("image_denied", detail)
    return Trouble("image_not_found", detail, 0.0 if NOT_IN_REGISTRY.search(message) else PULL_GRACE_S)


def _mount_trouble(pod: Object, events: Sequence[Object]) -> Trouble | None:
    uid = (pod.get("metadata") or {}).get("uid")
    for event in reversed(events):
        mine = (event.get("involvedObject") or {}).get("uid") == uid
        if mine and event.get("reason") in ("FailedMount", "FailedAttachVolume"):
            # Attaching may take minutes on a healthy cluster, while a missing object is told at once.
            missing = NOT_IN_REGISTRY.search(str(event.get("message")))
            return Trouble("volume_failed", str(event.get("message")), CONFIG_GRACE_S if missing else None)
    return None


def ending(job: Object, pods: Sequence[Object]) -> tuple[Diagnosis, int | None]:
    """How a failed Job failed, and the exit code when a container's end says one."""
    failed = condition(job, "Failed") or {}
    reason, message = str(failed.get("reason") or "Failed"), str(failed.get("message") or "")
    if reason == "DeadlineExceeded":
        return diagnosed("deadline", "It did not end within its time"), None
    for pod in sorted(pods, key=_started, reverse=True):
        category, detail, code = pod_ending(pod)
        if category:
            return diagnosed(category, detail), code
    return diagnosed("unknown", f"{reason}: {message}" if message else reason), None


def pod_ending(pod: Object) -> tuple[str, str, int | None]:
    """(category, detail, exit code) of a pod that failed; ("", "", None) when it did not."""
    status = _status(pod)
    disruption = condition(pod, "DisruptionTarget") or {}
    if status.get("reason") == "Evicted":
        return "evicted", str(status.get("message") or "The node evicted the pod"), None
    if disruption:
        lost = disruption.get("reason") in ("DeletionByPodGC", "DeletionByTaintManager", "TerminationByKubelet")
        said = str(disruption.get("message") or disruption.get("reason"))
        return ("node_lost" if lost else "preempted"), said, None
    if status.get("reason") in ("NodeLost", "UnexpectedAdmissionError", "NodeShutdown", "Terminated"):
        return "node_lost", str(status.get("message") or status.get("reason")), None
    for entry in _containers(status):
        end = (entry.get("state") or {}).get("terminated")
        if end and (end.get("exitCode") or end.get("reason") == "OOMKilled"):
            category, detail = container_ending(end)
            return category, f"{entry.get('name')} {detail}", end.get("exitCode")
    return "", "", None


def container_ending(end: Object) -> tuple[str, str]:
    code, reason, message = end.get("exitCode"), str(end.get("reason") or ""), str(end.get("message") or "")
    if reason == "OOMKilled":
        return "out_of_memory", f"used more memory than its limit (exit code {code})"
    if reason in ("StartError", "ContainerCannotRun"):
        missing = re.search(r"executable file not found|no such file or directory", message)
        return ("command_not_found" if missing else "container_refused"), f"could not start: {_tail(message)}"
    if reason == "ContainerStatusUnknown":
        return "node_lost", "was lost by its node"
    if code in (126, 127):
        return "command_not_found", f"ended with exit code {code}: the shell did not find or may not run the command"
    if code is not None and code > 128:
        return "killed", f"was ended by signal {code - 128} (exit code {code})"
    return "exit_code", f"ended with exit code {code}"


def exit_code(pods: Sequence[Object]) -> int | None:
    """The exit code of the pod that ended last: the first that is not 0 among its containers."""
    for pod in sorted(pods, key=_started, reverse=True):
        ends = [(entry.get("state") or {}).get("terminated") for entry in _status(pod).get("containerStatuses") or ()]
        codes = [int(end["exitCode"]) for end in ends if end and end.get("exitCode") is not None]
        if codes:
            return next((code for code in codes if code), 0)
    return None


def termination_message(pods: Sequence[Object]) -> str:
    """What the program wrote to its termination log (/dev/termination-log, at most 4 KiB): a small result."""
    for pod in sorted(pods, key=_started, reverse=True):
        for entry in _status(pod).get("containerStatuses") or ():
            end = (entry.get("state") or {}).get("terminated") or {}
            if end.get("message"):
                return str(end["message"])
    return ""


def _containers(status: Object) -> list[Object]:
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def _status(item: Object) -> Object:
    return item.get("status") or {}


def _started(pod: Object) -> str:
    return str((pod.get("metadata") or {}).get("creationTimestamp") or "")


def _tail(message: str, length: int = 300) -> str:
    """Errors of container runtimes nest ("failed to pull: failed to resolve: …"); what happened stands last."""
    text = " ".join(message.split())
    head, failed, last = text.rpartition("failed to ")
    text = failed + last if head else text
    return text if len(text) <= length else "…" + text[-length:]
