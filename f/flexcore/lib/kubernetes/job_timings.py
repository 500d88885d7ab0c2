# requirements: flexcore_kubernetes
"""What a finished pod's status says about time, to the second, as Kubernetes keeps it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from f.flexcore.lib.core import contracts
from f.flexcore.lib.kubernetes import event_log

Object = Mapping[str, Any]


def measure_pod(owner: Object, pods: Sequence[Object], now: datetime) -> contracts.Timings:
    """Of the pod that was created last: waiting for a node, starting, running, and being told to us.

    now: the server's own time; it is compared with the server's other times, so that clocks need not agree.
    """
    if not pods:
        return contracts.Timings()
    pod = max(pods, key=lambda item: str((item.get("metadata") or {}).get("creationTimestamp")))
    status = pod.get("status") or {}
    conditions = {entry.get("type"): entry for entry in status.get("conditions") or ()}
    created = event_log.parse_time(owner["metadata"].get("creationTimestamp"))
    scheduled = event_log.parse_time((conditions.get("PodScheduled") or {}).get("lastTransitionTime"))
    states = [entry.get("state") or {} for entry in status.get("containerStatuses") or ()]
    ends = [state["terminated"] for state in states if state.get("terminated")]
    started = min(filter(None, (event_log.parse_time(end.get("startedAt")) for end in ends)), default=None)
    finished = max(filter(None, (event_log.parse_time(end.get("finishedAt")) for end in ends)), default=None)
    return contracts.Timings(
        queued=_between(created, scheduled),
        starting=_between(scheduled, started),
        running=_between(started, finished),
        finishing=_between(finished, now),
    )


def describe_time(job: Object, pods: Sequence[Object], events: Sequence[Object], now: datetime | None) -> str:
    """How the Job's time was spent up to now, by its last pod: `40 s waiting for a node, 12 s pulling its image, 3 s
    starting, 5 s running`; "" when nothing is known."""
    if not pods:
        return ""
    pod = max(pods, key=lambda item: str((item.get("metadata") or {}).get("creationTimestamp")))
    status = pod.get("status") or {}
    conditions = {entry.get("type"): entry for entry in status.get("conditions") or ()}
    created = event_log.parse_time((job.get("metadata") or {}).get("creationTimestamp"))
    admitted = event_log.parse_time((job.get("status") or {}).get("startTime"))
    begun = event_log.parse_time((pod.get("metadata") or {}).get("creationTimestamp"))
    placed = conditions.get("PodScheduled") or {}
    scheduled = event_log.parse_time(placed.get("lastTransitionTime")) if placed.get("status") == "True" else None
    starts, ends = _spans(status)
    started = min(starts, default=None)
    finished = max(ends) if ends and len(ends) == len(starts) else now
    pulling = min(_pulling_s(pod, events, started or now), _between(scheduled, started or now) or 0.0)
    starting = _between(scheduled, started or now)
    parts = [
        (_between(created, admitted), "in its queue"),
        (_between(begun, scheduled or (None if started else now)), "waiting for a node"),
        (pulling, "pulling its image"),
        (starting - pulling if starting is not None else None, "starting"),
        (_between(started, finished), "running"),
    ]
    return ", ".join(f"{seconds:.0f} s {what}" for seconds, what in parts if seconds and seconds >= 0.5)


def _spans(status: Object) -> tuple[list[datetime], list[datetime]]:
    """When containers began and ended."""
    starts, ends = [], []
    for entry in status.get("containerStatuses") or ():
        state = entry.get("state") or {}
        span = state.get("running") or state.get("terminated") or (entry.get("lastState") or {}).get("terminated") or {}
        starts.append(event_log.parse_time(span.get("startedAt")))
        ends.append(event_log.parse_time((state.get("terminated") or {}).get("finishedAt")))
    return [item for item in starts if item], [item for item in ends if item]


def _pulling_s(pod: Object, events: Sequence[Object], until: datetime | None) -> float:
    """Seconds between the events Pulling and Pulled."""
    total, since = 0.0, None
    for event in event_log.events_of(pod, events):
        at = event_log.parse_time(event.get("lastTimestamp")) or event_log.parse_time(event.get("eventTime"))
        if event.get("reason") == "Pulling":
            since = event_log.parse_time(event.get("firstTimestamp")) or at
        elif event.get("reason") == "Pulled" and since:
            total, since = total + (_between(since, at) or 0.0), None
    return total + (_between(since, until) or 0.0)


def age_s(item: Object, now: datetime) -> float:
    """Seconds since the object was created, by the server's clock."""
    return _between(event_log.parse_time(item["metadata"].get("creationTimestamp")), now) or 0.0


def _between(earlier: datetime | None, later: datetime | None) -> float | None:
    return max((later - earlier).total_seconds(), 0.0) if earlier and later else None
