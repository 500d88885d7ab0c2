# requirements: flexcore_kubernetes
"""What a Job itself says: its verdict, why it failed, which of its indexes did. Pure.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/job/#terminal-job-conditions
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

Object = Mapping[str, Any]

# Labels by which a queueing controller is asked to start the Job.
QUEUE_LABELS = ("kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/queue")
INDEX = "batch.kubernetes.io/job-completion-index"
# Container shard for pod work/shards-0-a failed with exit code 42 matching FailJob rule at index 0
POLICY_CONTAINER = re.compile(r"Container (\S+) for pod (?:\S+/)?(\S+) failed with exit code (\d+)")
POLICY_POD = re.compile(r"[Pp]od (?:\S+/)?(\S+) has condition (\S+)")
MAX_INDEXES_SHOWN = 200


def condition(item: Object, kind: str) -> Object | None:
    """The named condition when it is true."""
    conditions: Iterable[Object] = (item.get("status") or {}).get("conditions") or ()
    return next((entry for entry in conditions if entry.get("type") == kind and entry.get("status") == "True"), None)


def verdict(job: Object) -> Literal["complete", "failed"] | None:
    """Complete or Failed; nothing else ends a Job."""
    if condition(job, "Complete"):
        return "complete"
    return "failed" if condition(job, "Failed") else None


def failure(job: Object) -> tuple[str, str]:
    """(reason, message) of its failure; FailureTarget says it before the last pods have ended."""
    entry = condition(job, "Failed") or condition(job, "FailureTarget") or {}
    return str(entry.get("reason") or ""), str(entry.get("message") or "")


def failure_time(job: Object) -> Any:
    """The API time at which the controller began to stop what still ran, or None."""
    entries = [condition(job, kind) for kind in ("FailureTarget", "SuccessCriteriaMet", "Failed", "Complete")]
    return next((entry["lastTransitionTime"] for entry in entries if entry and entry.get("lastTransitionTime")), None)


def queue_name(job: Object) -> str:
    """The queue that starts the Job, or ""."""
    metadata = job.get("metadata") or {}
    marks = {**(metadata.get("annotations") or {}), **(metadata.get("labels") or {})}
    return next((str(marks[name]) for name in QUEUE_LABELS if marks.get(name)), "")


def policy_pod(message: str) -> tuple[str, str, int | None]:
    """(pod, container, exit code) that a podFailurePolicy's message names; "" and None where it does not."""
    if found := POLICY_CONTAINER.search(message):
        return found[2], found[1], int(found[3])
    found = POLICY_POD.search(message)
    return (found[1], "", None) if found else ("", "", None)


def index_of(pod: Object) -> str:
    """The pod's completion index, or ""."""
    metadata = pod.get("metadata") or {}
    marks = {**(metadata.get("annotations") or {}), **(metadata.get("labels") or {})}
    return str(marks.get(INDEX, ""))


def in_indexes(index: str, text: str) -> bool:
    """Whether an index stands in a list such as 0,2-4."""
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        if index.isdigit() and first.isdigit() and int(first) <= int(index) <= int(last or first):
            return True
    return False


def count_indexes(text: str) -> int:
    parts = [part.partition("-") for part in text.split(",") if part]
    return sum(int(last or first) - int(first) + 1 for first, _, last in parts if first.isdigit())


def describe_indexes(job: Object) -> str:
    """`indexes 0,2,4 failed, 1,3,5 are done, 3 of 9 did not run`, or "" when no index is told."""
    spec, status = job.get("spec") or {}, job.get("status") or {}
    failed, done = str(status.get("failedIndexes") or ""), str(status.get("completedIndexes") or "")
    if not failed and not done:
        return ""
    parts = [f"indexes {_cut(failed)} failed"] if failed else []
    parts.append(f"{'' if failed else 'indexes '}{_cut(done)} are done" if done else "none is done")
    wanted = spec.get("completions")
    left = wanted - count_indexes(failed) - count_indexes(done) if isinstance(wanted, int) else 0
    if left > 0:
        parts.append(f"{left} of {wanted} did not end")
    return ", ".join(parts)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_INDEXES_SHOWN else text[:MAX_INDEXES_SHOWN].rpartition(",")[0] + ",…"


def describe_failure(job: Object) -> str:
    """The Job's own words on its failure, with the limit that was reached."""
    reason, message = failure(job)
    spec, status = job.get("spec") or {}, job.get("status") or {}
    limits = {
        "BackoffLimitExceeded": "backoffLimit",
        "MaxFailedIndexesExceeded": "maxFailedIndexes",
        "FailedIndexes": "backoffLimitPerIndex",
        "DeadlineExceeded": "activeDeadlineSeconds",
    }
    limit = limits.get(reason, "")
    facts = [f"{limit} {spec[limit]}"] if spec.get(limit) is not None else []
    if status.get("failed"):
        facts.append(f"failed pods: {status['failed']}")
    said = f"{reason}: {message}" if reason and message else reason or message
    return f"{said} ({', '.join(facts)})" if facts else said
