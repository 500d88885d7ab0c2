# requirements: flexcore_base
"""What becomes of a remote object, by its own state and its owner's. Pure.

                 owner lives       owner has ended     owner cannot be asked about
    running      leave             stop (an orphan)    leave
    overdue      stop                stop                stop
    finished     leave, or resume  leave, later delete leave, later delete
    leaving      leave             leave               leave
    kept         leave             leave               leave
    waiting      leave             stop                leave
    due          leave, or submit  stop                leave
    superseded   stop              stop                stop

Later means past its time to live. `kept` outlives its run on purpose (a deployed model). `waiting` is work that its
cluster has no room for yet, `due` when it has: a step that waits submits it itself, that of a suspended flow reconcile
does. `superseded` was lost with its cluster, and another copy is used in its place. "Could not ask" is never "has
ended": a Windmill that does not know a job may be another one that shares the cluster, or may not show it to this user.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from f.flexcore.lib.core import identity

State = Literal["running", "finished", "leaving", "kept", "waiting", "due", "superseded"]
Owner = Literal["running", "suspended", "ended", "unknown"]
Action = Literal["stop", "delete", "resume", "submit", "leave"]

# A step that still watches its object stops it itself; clocks may differ.
OVERDUE_S = 120.0


@dataclass(frozen=True, slots=True)
class RemoteObject:
    """An object that carries our labels, as last seen. place: the cluster it is in; delete_after: seconds since the
    epoch after which it may be deleted, None where the cluster itself takes it away; deadline: likewise, after which
    it must not run, None where the cluster itself ends it; held_by: what keeps one that is being deleted; created_at:
    likewise, by the cluster's clock, None where it does not say."""

    runtime: str
    place: str
    kind: str
    name: str
    uid: str
    state: State
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace: str = ""
    delete_after: float | None = None
    deadline: float | None = None
    held_by: str = ""
    created_at: float | None = None

    @property
    def owner(self) -> str:
        return self.labels.get("flexcore/owner-job", "")

    @property
    def is_head_job(self) -> bool:
        return (self.runtime, self.kind) == ("ray", "job")

    @property
    def is_deferred(self) -> bool:
        return self.labels.get(identity.DEFERRED) == "true"


def depends_on_owner(item: RemoteObject, now: float) -> bool:
    """Whether what is done about `item` depends on an owner that is in no queue of Windmill any more."""
    if item.state == "finished":
        return item.delete_after is not None and now > item.delete_after
    return item.state == "running" or item.delete_after is not None


def end_surplus(items: Sequence[RemoteObject], kept: int) -> list[RemoteObject]:
    """`items`, the time to live over for the finished jobs of Ray heads before the newest `kept`."""
    finished = [item for item in items if item.is_head_job and item.state == "finished"]
    finished.sort(key=lambda item: item.created_at or 0, reverse=True)
    surplus = {id(item) for item in finished[kept:]}
    return [replace(item, delete_after=0.0) if id(item) in surplus else item for item in items]


@dataclass(frozen=True, slots=True)
class Decision:
    action: Action
    reason: str


def decide_cleanup(item: RemoteObject, owner: Owner, now: float) -> Decision:
    """What to do with `item`; `now` is in seconds since the epoch."""
    if item.state == "kept":
        return Decision("leave", "outlives its run on purpose")
    if item.state == "leaving":
        return Decision("leave", "is being deleted" + (f"; held by {item.held_by}" if item.held_by else ""))
    if item.state == "superseded":
        return Decision("stop", "another copy is used in its place")
    if item.state == "finished":
        return _decide_finished(item, owner, now)
    if item.deadline is not None and now > item.deadline + OVERDUE_S:
        return Decision("stop", "its time is over")
    if owner == "ended":
        return Decision("stop", "its owner has ended")
    if item.state == "due" and item.is_deferred and owner == "suspended":
        return Decision("submit", "its turn has come")
    return Decision("leave", "its owner could not be asked about" if owner == "unknown" else "its owner lives")


def _decide_finished(item: RemoteObject, owner: Owner, now: float) -> Decision:
    if item.is_deferred and owner == "suspended":
        return Decision("resume", "its flow waits for the verdict")
    if item.is_deferred and owner == "running":
        return Decision("leave", "its flow will wait for the verdict")
    if item.delete_after is not None and now > item.delete_after and owner in ("ended", "unknown"):
        return Decision("delete", "its time to live is over")
    return Decision("leave", "has finished")
