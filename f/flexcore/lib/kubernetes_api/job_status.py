# requirements: flexcore_kubernetes
"""What a Job, its pods and their events say in their status: verdict, failure, indexes, timings. Pure.

Events outlive what they are about, and an object of the same name may have been there before: what has another uid, or
is older than the object, is left out.
Source: https://kubernetes.io/docs/concepts/workloads/controllers/job/#terminal-job-conditions
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from f.flexcore.lib.core import contracts

Object = Mapping[str, Any]

# Labels by which a queueing controller is asked to start the Job.
QUEUE_LABELS = ("kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/queue")
INDEX = "batch.kubernetes.io/job-completion-index"
# Container shard for pod work/shards-0-a failed with exit code 42 matching FailJob rule at index 0
POLICY_CONTAINER = re.compile(r"Container (\S+) for pod (?:\S+/)?(\S+) failed with exit code (\d+)")
POLICY_POD = re.compile(r"[Pp]od (?:\S+/)?(\S+) has condition (\S+)")
# Of a pod: nothing of it runs any more, and nothing will.
TERMINAL_PHASES = ("Succeeded", "Failed")
MAX_INDEXES_SHOWN = 200
LONG_AGO = datetime.min.replace(tzinfo=UTC)


def object_name(item: Object) -> str:
    return str((item.get("metadata") or {}).get("name") or "")


def jobs_path(namespace: str, name: str = "") -> str:
    return f"/apis/batch/v1/namespaces/{namespace}/jobs" + (f"/{name}" if name else "")


def attempt_number(job: Object) -> int:
    label = str((job["metadata"].get("labels") or {}).get("flexcore/attempt") or "")
    return int(label) if label.isdigit() else 1


# --- conditions


def find_condition(item: Object, kind: str) -> Object | None:
    """The named condition when it is true."""
    conditions: Iterable[Object] = (item.get("status") or {}).get("conditions") or ()
    return next((entry for entry in conditions if entry.get("type") == kind and entry.get("status") == "True"), None)


def find_verdict(job: Object) -> Literal["complete", "failed"] | None:
    """Complete or Failed; nothing else ends a Job."""
    if find_condition(job, "Complete"):
        return "complete"
    return "failed" if find_condition(job, "Failed") else None


def find_failure(job: Object) -> tuple[str, str]:
    """(reason, message) of its failure; FailureTarget says it before the last pods have ended."""
    entry = find_condition(job, "Failed") or find_condition(job, "FailureTarget") or {}
    return str(entry.get("reason") or ""), str(entry.get("message") or "")


def find_failure_time(job: Object) -> Any:
    """The API time at which the controller began to stop what still ran, or None."""
    entries = [find_condition(job, kind) for kind in ("FailureTarget", "SuccessCriteriaMet", "Failed", "Complete")]
    return next((entry["lastTransitionTime"] for entry in entries if entry and entry.get("lastTransitionTime")), None)


def find_queue_name(job: Object) -> str:
    """The queue that starts the Job, or ""."""
    metadata = job.get("metadata") or {}
    marks = {**(metadata.get("annotations") or {}), **(metadata.get("labels") or {})}
    return next((str(marks[name]) for name in QUEUE_LABELS if marks.get(name)), "")


def parse_policy_message(message: str) -> tuple[str, str, int | None]:
    """(pod, container, exit code) that a podFailurePolicy's message names; "" and None where it does not."""
    if match := POLICY_CONTAINER.search(message):
        return match[2], match[1], int(match[3])
    match = POLICY_POD.search(message)
    return (match[1], "", None) if match else ("", "", None)


def find_index(pod: Object) -> str:
    """The pod's completion index, or ""."""
    metadata = pod.get("metadata") or {}
    marks = {**(metadata.get("annotations") or {}), **(metadata.get("labels") or {})}
    return str(marks.get(INDEX, ""))


def has_index(index: str, text: str) -> bool:
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
    """`indexes 0,2,4 failed, 1,3,5 are done, 3 of 9 did not run`, or "" when none is known."""
    spec, status = job.get("spec") or {}, job.get("status") or {}
    failed, done = str(status.get("failedIndexes") or ""), str(status.get("completedIndexes") or "")
    if not failed and not done:
        return ""
    parts = [f"indexes {_shorten(failed)} failed"] if failed else []
    parts.append(f"{'' if failed else 'indexes '}{_shorten(done)} are done" if done else "none is done")
    wanted = spec.get("completions")
    left = wanted - count_indexes(failed) - count_indexes(done) if isinstance(wanted, int) else 0
    if left > 0:
        parts.append(f"{left} of {wanted} did not end")
    return ", ".join(parts)


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_INDEXES_SHOWN else text[:MAX_INDEXES_SHOWN].rpartition(",")[0] + ",…"


def describe_failure(job: Object) -> str:
    """The Job's own reason and message of its failure, with the limit that was reached."""
    reason, message = find_failure(job)
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
    text = f"{reason}: {message}" if reason and message else reason or message
    return f"{text} ({', '.join(facts)})" if facts else text


# --- events


def parse_time(text: Any) -> datetime | None:
    """An API time such as 2026-11-23T20:46:59Z, or None."""
    if not isinstance(text, str) or not text:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)


def find_event_time(event: Object) -> datetime | None:
    """When it was seen last."""
    series = (event.get("series") or {}).get("lastObservedTime")
    metadata = event.get("metadata") or {}
    times = (series, event.get("lastTimestamp"), event.get("eventTime"), event.get("firstTimestamp"))
    return next(filter(None, map(parse_time, (*times, metadata.get("creationTimestamp")))), None)


def filter_events(item: Object, events: Sequence[Object]) -> list[Object]:
    """The events of this very object, the oldest first."""
    own = [event for event in events if _is_about(event, item.get("metadata") or {})]
    return sorted(own, key=lambda event: find_event_time(event) or LONG_AGO)


def _is_about(event: Object, metadata: Object) -> bool:
    about = event.get("involvedObject") or event.get("regarding") or {}
    created, seen = parse_time(metadata.get("creationTimestamp")), find_event_time(event)
    if created and seen and seen < created:
        return False
    if about.get("uid") and metadata.get("uid"):
        return bool(about["uid"] == metadata["uid"])
    # An event without an object comes from a query that asked for this object alone.
    return not about.get("name") or about["name"] == metadata.get("name")


# --- timings


def measure_timings(owner: Object, pods: Sequence[Object], now: datetime) -> contracts.Timings:
    """Of the pod that was created last: waiting for a node, starting, running, and being reported to us.

    now: the server's own time; it is compared with the server's other times, so that clocks need not agree.
    """
    if not pods:
        return contracts.Timings()
    pod = max(pods, key=lambda item: str((item.get("metadata") or {}).get("creationTimestamp")))
    status = pod.get("status") or {}
    conditions = {entry.get("type"): entry for entry in status.get("conditions") or ()}
    created = parse_time(owner["metadata"].get("creationTimestamp"))
    scheduled = parse_time((conditions.get("PodScheduled") or {}).get("lastTransitionTime"))
    states = [entry.get("state") or {} for entry in status.get("containerStatuses") or ()]
    ends = [state["terminated"] for state in states if state.get("terminated")]
    started = min(filter(None, (parse_time(end.get("startedAt")) for end in ends)), default=None)
    finished = max(filter(None, (parse_time(end.get("finishedAt")) for end in ends)), default=None)
    return contracts.Timings(
        queued=_seconds_between(created, scheduled),
        starting=_seconds_between(scheduled, started),
        running=_seconds_between(started, finished),
        finishing=_seconds_between(finished, now),
        began_at=created if scheduled else started,
    )


def describe_time(job: Object, pods: Sequence[Object], events: Sequence[Object], now: datetime | None) -> str:
    """How the Job's time was spent up to now, by its last pod: `40 s waiting for a node, 12 s pulling its image, 3 s
    starting, 5 s running`; "" when nothing is known."""
    if not pods:
        return ""
    pod = max(pods, key=lambda item: str((item.get("metadata") or {}).get("creationTimestamp")))
    status = pod.get("status") or {}
    conditions = {entry.get("type"): entry for entry in status.get("conditions") or ()}
    created = parse_time((job.get("metadata") or {}).get("creationTimestamp"))
    admitted = parse_time((job.get("status") or {}).get("startTime"))
    began = parse_time((pod.get("metadata") or {}).get("creationTimestamp"))
    placed = conditions.get("PodScheduled") or {}
    scheduled = parse_time(placed.get("lastTransitionTime")) if placed.get("status") == "True" else None
    starts, ends = _find_run_spans(status)
    started = min(starts, default=None)
    finished = max(ends) if ends and len(ends) == len(starts) else now
    pulling = min(_measure_pull_s(pod, events, started or now), _seconds_between(scheduled, started or now) or 0.0)
    starting = _seconds_between(scheduled, started or now)
    parts = [
        (_seconds_between(created, admitted), "in its queue"),
        (_seconds_between(began, scheduled or (None if started else now)), "waiting for a node"),
        (pulling, "pulling its image"),
        (starting - pulling if starting is not None else None, "starting"),
        (_seconds_between(started, finished), "running"),
    ]
    return ", ".join(f"{seconds:.0f} s {what}" for seconds, what in parts if seconds and seconds >= 0.5)


def _find_run_spans(status: Object) -> tuple[list[datetime], list[datetime]]:
    """When containers began and ended."""
    starts, ends = [], []
    for entry in status.get("containerStatuses") or ():
        state = entry.get("state") or {}
        span = state.get("running") or state.get("terminated") or (entry.get("lastState") or {}).get("terminated") or {}
        starts.append(parse_time(span.get("startedAt")))
        ends.append(parse_time((state.get("terminated") or {}).get("finishedAt")))
    return [item for item in starts if item], [item for item in ends if item]


def _measure_pull_s(pod: Object, events: Sequence[Object], until: datetime | None) -> float:
    """Seconds between the events Pulling and Pulled."""
    total, since = 0.0, None
    for event in filter_events(pod, events):
        at = parse_time(event.get("lastTimestamp")) or parse_time(event.get("eventTime"))
        if event.get("reason") == "Pulling":
            since = parse_time(event.get("firstTimestamp")) or at
        elif event.get("reason") == "Pulled" and since:
            total, since = total + (_seconds_between(since, at) or 0.0), None
    return total + (_seconds_between(since, until) or 0.0)


def measure_age_s(item: Object, now: datetime) -> float:
    """Seconds since the object was created, by the server's clock."""
    return _seconds_between(parse_time(item["metadata"].get("creationTimestamp")), now) or 0.0


def _seconds_between(earlier: datetime | None, later: datetime | None) -> float | None:
    return max((later - earlier).total_seconds(), 0.0) if earlier and later else None
