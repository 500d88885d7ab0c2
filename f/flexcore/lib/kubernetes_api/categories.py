# requirements: flexcore_kubernetes
"""What can be wrong with work on Kubernetes: a category, the error that it becomes, and what to do. Pure.

Categories are a public contract. ACTIONS has the usual error and remedy of each; a Problem may know better ones, such
as a quota that can never be met (change the request) beside one that is used up (wait).

A new category is a member of Category, its row in ACTIONS, a field in SUBJECTS where one is at fault, and the function
that recognizes it: image_pull, scheduling, pod_problems (before a pod's end), pod_ends (at it), admission (no pod). One
by which work never began belongs into NEVER_BEGAN of pipeline/attempts, too, so that the next candidate gets the work.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from f.flexcore.lib.core import contracts, errors

# As long as the work has time at all.
NO_LIMIT = math.inf


class Category(StrEnum):
    IMAGE_NOT_FOUND = "image_not_found"
    IMAGE_DENIED = "image_denied"
    IMAGE_UNREACHABLE = "image_unreachable"
    IMAGE_INVALID = "image_invalid"
    CONFIG_MISSING = "config_missing"
    VOLUME_FAILED = "volume_failed"
    UNSCHEDULABLE = "unschedulable"
    SUSPENDED = "suspended"
    QUEUE_NOT_FOUND = "queue_not_found"
    QUEUE_SILENT = "queue_silent"
    QUEUE_STOPPED = "queue_stopped"
    QUEUE_DEACTIVATED = "queue_deactivated"
    KUEUE_ABSENT = "kueue_absent"
    QUOTA_EXCEEDED = "quota_exceeded"
    ADMISSION_DENIED = "admission_denied"
    ADMISSION_UNREACHABLE = "admission_unreachable"
    SERVICE_ACCOUNT_MISSING = "service_account_missing"
    SANDBOX_FAILED = "sandbox_failed"
    COMMAND_NOT_FOUND = "command_not_found"
    CONTAINER_REFUSED = "container_refused"
    OUT_OF_MEMORY = "out_of_memory"
    EXIT_CODE = "exit_code"
    KILLED = "killed"
    CRASH_LOOP = "crash_loop"
    SIDECAR_RUNNING = "sidecar_running"
    NOT_READY = "not_ready"
    MODEL_MISMATCH = "model_mismatch"
    MODEL_DENIED = "model_denied"
    MODEL_NOT_FOUND = "model_not_found"
    MODEL_UNREACHABLE = "model_unreachable"
    NO_ADDRESS = "no_address"
    SMOKE_FAILED = "smoke_failed"
    EVICTED = "evicted"
    NODE_LOST = "node_lost"
    PREEMPTED = "preempted"
    DEADLINE = "deadline"
    DELETED = "deleted"
    UNKNOWN = "unknown"


ACTIONS: dict[Category, tuple[type[errors.FlexcoreError], str]] = {
    Category.IMAGE_NOT_FOUND: (errors.NotFound, "Correct the image's name and tag, or push it to the registry."),
    Category.IMAGE_DENIED: (errors.Forbidden, "Give the service account a pull secret, or correct the image's name."),
    Category.IMAGE_UNREACHABLE: (
        errors.Unreachable,
        "Check that the nodes reach the registry, or correct the image's name.",
    ),
    Category.IMAGE_INVALID: (errors.InvalidInput, "Correct the image's name."),
    Category.CONFIG_MISSING: (errors.NotFound, "Create the Secret or ConfigMap, or correct its name and key."),
    Category.VOLUME_FAILED: (errors.NotFound, "Check that the claim or volume exists and can be mounted."),
    Category.UNSCHEDULABLE: (errors.Unavailable, "Ask for less cpu, memory or GPUs, or add nodes that fit."),
    Category.SUSPENDED: (errors.Unavailable, "It waits for its queue; see why in the queue's Workload."),
    Category.QUEUE_NOT_FOUND: (errors.NotFound, "Correct the queue's name, or create the LocalQueue."),
    Category.QUEUE_SILENT: (errors.Unavailable, "Check that Kueue runs and manages Jobs in this namespace."),
    Category.QUEUE_STOPPED: (errors.Unavailable, "Ask who keeps the queue to start it again, or name another."),
    Category.QUEUE_DEACTIVATED: (errors.Unavailable, "Have its Workload activated again, or run the step again."),
    Category.KUEUE_ABSENT: (errors.NotFound, "Install Kueue, or leave the queue empty."),
    Category.QUOTA_EXCEEDED: (
        errors.Unavailable,
        "Ask for less, wait until others have finished, or have the quota raised.",
    ),
    Category.ADMISSION_DENIED: (errors.InvalidInput, "Change what the rule names, or choose another namespace."),
    Category.ADMISSION_UNREACHABLE: (
        errors.Unreachable,
        "Ask the cluster's operator to check the admission webhook that is named.",
    ),
    Category.SERVICE_ACCOUNT_MISSING: (errors.NotFound, "Create the service account, or correct its name."),
    Category.SANDBOX_FAILED: (
        errors.Unavailable,
        "Ask the cluster's operator to check the node's network and runtime.",
    ),
    Category.COMMAND_NOT_FOUND: (errors.InvalidInput, "Correct the command; it must exist within the image."),
    Category.CONTAINER_REFUSED: (errors.InvalidInput, "Change what the message names."),
    Category.OUT_OF_MEMORY: (errors.ExecutionFailed, "Ask for more memory, or let the program use less."),
    Category.EXIT_CODE: (errors.ExecutionFailed, "See the program's last lines in log_tail."),
    Category.KILLED: (
        errors.ExecutionFailed,
        "It was ended by a signal; see its last lines in log_tail, and the pod's events.",
    ),
    Category.CRASH_LOOP: (errors.ExecutionFailed, "See the program's last lines in log_tail."),
    Category.SIDECAR_RUNNING: (
        errors.ExecutionFailed,
        'Keep the proxy out of this pod (label or annotation sidecar.istio.io/inject: "false", '
        "linkerd.io/inject: disabled), or make it an init container with restartPolicy Always, which ends with the "
        "program.",
    ),
    Category.NOT_READY: (errors.ExecutionFailed, "See the server's last lines in log_tail, and its readiness address."),
    Category.MODEL_MISMATCH: (
        errors.ManifestMismatch,
        "Run the training again, or bring the files that its manifest lists.",
    ),
    Category.MODEL_DENIED: (errors.Forbidden, "Check the storage keys of the settings and their rights on the bucket."),
    Category.MODEL_NOT_FOUND: (errors.NotFound, "Check the settings' store, or run the training again."),
    Category.MODEL_UNREACHABLE: (errors.Unreachable, "Use a storage endpoint that pods reach, too."),
    Category.NO_ADDRESS: (
        errors.Unavailable,
        "Use service_type NodePort or ClusterIP, or a cluster with load balancers.",
    ),
    Category.SMOKE_FAILED: (
        errors.ExecutionFailed,
        "Check that the server image has the libraries that the model was trained with.",
    ),
    Category.EVICTED: (errors.Unavailable, "Run again, and ask for as much memory and disk as it needs."),
    Category.NODE_LOST: (errors.Unavailable, "Run again."),
    Category.PREEMPTED: (errors.Unavailable, "Run again, or with a higher priority."),
    Category.DEADLINE: (errors.DeadlineExceeded, "Raise timeout_s, or give it more cpu or memory."),
    Category.DELETED: (errors.ExecutionFailed, "Somebody deleted it; run again."),
    Category.UNKNOWN: (errors.ExecutionFailed, "See its events: kubectl describe."),
}
SUBJECTS: dict[Category, str] = {
    Category.COMMAND_NOT_FOUND: "command",
    Category.SERVICE_ACCOUNT_MISSING: "service_account",
    Category.OUT_OF_MEMORY: "memory",
    Category.DEADLINE: "timeout_s",
    Category.KUEUE_ABSENT: "options.queue",
    Category.NO_ADDRESS: "service_type",
}
# A repeat of the very same request ends the same way.
DETERMINISTIC = {
    Category.COMMAND_NOT_FOUND,
    Category.IMAGE_INVALID,
    Category.ADMISSION_DENIED,
    Category.CONTAINER_REFUSED,
}


@dataclass(frozen=True, slots=True)
class Trouble:
    """What an operator reports of an object. category: a public word; grace_s: how long it is given to pass (0: it
    never does)."""

    category: str
    error: type[errors.FlexcoreError]
    remedy: str
    grace_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Problem:
    """What keeps work from running, or how it failed.

    grace_s: how long to wait for it to pass; None as long as a queue may hold the work back, NO_LIMIT as long as there
    is time at all. remedy, subject, error: where the category's usual ones do not fit. pod, container, exit_code: of
    the end that was its cause.
    """

    category: Category
    detail: str
    grace_s: float | None = 0.0
    remedy: str = ""
    subject: str = ""
    error: type[errors.FlexcoreError] | None = None
    pod: str = ""
    container: str = ""
    exit_code: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not self.remedy:
            object.__setattr__(self, "remedy", ACTIONS[self.category][1])

    def to_diagnosis(self) -> contracts.Diagnosis:
        return contracts.Diagnosis(
            category=str(self.category), detail=" ".join(self.detail.split()), remedy=self.remedy
        )

    @property
    def error_type(self) -> type[errors.FlexcoreError]:
        return self.error or ACTIONS[self.category][0]

    @property
    def is_deterministic(self) -> bool:
        """Whether the very same request would end in the same way."""
        return self.category in DETERMINISTIC or issubclass(self.error_type, errors.InvalidInput)

    def with_detail(self, detail: str) -> Problem:
        return replace(self, detail=detail)

    def name_subject(self, default: str) -> str:
        """The argument or field that is at fault, else `default`."""
        if self.subject:
            return self.subject
        return "image" if self.category.startswith("image_") else SUBJECTS.get(self.category, default)

    def to_error(self, what: str, default_subject: str, **details: Any) -> errors.FlexcoreError:
        """The typed error that a step raises for it. what: the object and what became of it."""
        diagnosis = self.to_diagnosis()
        return self.error_type(
            f"{what}: {diagnosis.detail}",
            subject=self.name_subject(default_subject),
            remedy=diagnosis.remedy,
            category=diagnosis.category,
            **details,
            diagnosis=diagnosis.plain(),
        )
