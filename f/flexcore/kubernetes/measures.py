# requirements: flexcore_kubernetes
# py: ==3.11.*
"""What a finished pod's status says about time, to the second, as Kubernetes keeps it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from f.flexcore.core.contracts import Timings

Object = Mapping[str, Any]


def moment(text: Any) -> datetime | None:
    """An API time such as 2026-11-23T20:46:59Z."""
    return datetime.fromisoformat(text).astimezone(UTC) if isinstance(text, str) and text else None


def timings(owner: Object, pods: Sequence[Object], now: datetime) -> Timings:
    """Of the pod that was created last: waiting for a node, starting, running, and being told to us.

    now: the server's own time; it is compared with the server's other times, so that clocks need not agree.
    """
    if not pods:
        return Timings()
    pod = max(pods, key=lambda item: str(item["metadata"].get("creationTimestamp")))
    status = pod.get("status") or {}
    conditions = {entry.get("type"): entry for entry in status.get("conditions") or ()}
    created = moment(owner["metadata"].get("creationTimestamp"))
    scheduled = moment((conditions.get("PodScheduled") or {}).get("lastTransitionTime"))
    states = [entry.get("state") or {} for entry in status.get("containerStatuses") or ()]
    ends = [state["terminated"] for state in states if state.get("terminated")]
    started = min(filter(None, (moment(end.get("startedAt")) for end in ends)), default=None)
    finished = max(filter(None, (moment(end.get("finishedAt")) for end in ends)), default=None)
    return Timings(
        queued=_between(created, scheduled),
        starting=_between(scheduled, started),
        running=_between(started, finished),
        finishing=_between(finished, now),
    )


def age(item: Object, now: datetime) -> float:
    """Seconds since the object was created, by the server's clock."""
    return _between(moment(item["metadata"].get("creationTimestamp")), now) or 0.0


def _between(earlier: datetime | None, later: datetime | None) -> float | None:
    return max((later - earlier).total_seconds(), 0.0) if earlier and later else None
