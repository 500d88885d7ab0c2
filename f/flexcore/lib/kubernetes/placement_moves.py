# requirements: flexcore_kubernetes
"""When work whose cluster does not answer may start elsewhere. Pure. Unreachable is not dead.

    a model                                        move at once: two that answer do no harm
    a job  the cluster answers                     attach
           its queue sends it to clusters itself   wait: that queue starts it elsewhere, and nobody else may
           its creation was never sent             move: nothing can run there
           its form says that it may run twice     move
           a queue may start it, or start it again wait, for ever: its deadline counts from a start yet to come
           it was never seen to start              wait, for ever: likewise
           its deadline there has passed           move: the cluster itself has ended it
           else                                    wait until then

Two clocks. The last contact is by ours; the deadline is by the cluster's own, which said its time at the last contact:
what it is now is that time and what has gone by since. Kubernetes counts activeDeadlineSeconds from status.startTime.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from f.flexcore.lib.core import contracts

# Beyond deadline and grace period: the job controller's own delay, a server's time in whole seconds, and clocks that
# drift apart.
DEADLINE_MARGIN_S = 30.0

Action = Literal["attach", "wait", "move"]


class PlacedCopy(contracts.Contract):
    """Work on one cluster, as it was last seen. was_sent: a creation may have reached the cluster; started: by the
    cluster's clock, seconds since the epoch; key: by which the object says that it is ours; is_queued: a queue decides
    when it runs; is_dispatched: and on which cluster. left_at, reason: of a copy that another has replaced."""

    cluster: str
    kind: Literal["Job", "Deployment"]
    namespace: str = ""
    name: str = ""
    uid: str = ""
    key: str = ""
    was_sent: bool = False
    started: float | None = None
    limit_s: float | None = None
    grace_s: float = 30
    is_queued: bool = False
    is_dispatched: bool = False
    has_ended: bool = False
    url: str = ""
    version: str = ""
    left_at: float | None = None
    reason: str = ""


class Clocks(contracts.Contract):
    """last_contact: by our clock; server_time: the cluster's at that moment; server_now: its estimate now; deadline:
    after which nothing of the job can run there, by the cluster's clock. Seconds since the epoch; None: not known."""

    last_contact: float | None = None
    server_time: float | None = None
    server_now: float | None = None
    deadline: float | None = Field(default=None)

    @property
    def left_s(self) -> float | None:
        """Seconds until the deadline; below 0 when it has passed."""
        if self.deadline is None or self.server_now is None:
            return None
        return self.deadline - self.server_now

    def describe(self) -> str:
        """Both, for people."""
        contact = f"last contact {_format(self.last_contact)} by our clock" if self.last_contact else "never in contact"
        if self.deadline is None:
            return f"{contact}; no deadline there is known"
        left = self.left_s
        when = "" if left is None else f", in {left:.0f} s" if left > 0 else f", {-left:.0f} s ago"
        return f"{contact}; its deadline there {_format(self.deadline)} by that cluster's clock{when}"


@dataclass(frozen=True, slots=True)
class Decision:
    """wait_s: until the next decision may be another; None when no time settles it."""

    action: Action
    reason: str
    wait_s: float | None = None


def read_clocks(copy: PlacedCopy, at: float | None, server_time: float | None, now: float) -> Clocks:
    """at, server_time: of the last contact. now: by our clock."""
    # A clock of ours that was set back shows less time gone by, which is the safe way.
    server_now = None if at is None or server_time is None else server_time + max(now - at, 0)
    return Clocks(last_contact=at, server_time=server_time, server_now=server_now, deadline=find_deadline(copy))


def find_deadline(copy: PlacedCopy) -> float | None:
    """By the cluster's clock; None where no time can be named after which nothing of it runs."""
    if copy.started is None or copy.limit_s is None or copy.is_queued:
        return None
    return copy.started + copy.limit_s + copy.grace_s + DEADLINE_MARGIN_S


def decide_job(copy: PlacedCopy, clocks: Clocks, *, is_lost: bool, may_run_twice: bool) -> Decision:
    if not is_lost:
        return Decision("attach", "its cluster answers")
    if copy.is_dispatched:
        return Decision("wait", "its queue sends it to clusters itself (MultiKueue), so it is not started elsewhere")
    if not copy.was_sent:
        return Decision("move", "nothing was created there")
    if may_run_twice:
        return Decision("move", "its form says that it may run twice (safe_to_repeat)")
    if copy.has_ended:
        return Decision("wait", "it was seen to end there, and only that cluster knows how")
    if copy.is_queued:
        return Decision("wait", "a queue there may start it, or start it again, at any time")
    if copy.started is None:
        return Decision("wait", "it may be there and was never seen to start")
    left = clocks.left_s
    if left is None:
        return Decision("wait", "no deadline there is known")
    if left > 0:
        return Decision("wait", f"it may run there for {left:.0f} s more", left)
    return Decision("move", f"its deadline there has passed {-left:.0f} s ago")


def decide_model(*, is_lost: bool, has_other: bool) -> Decision:
    if not is_lost:
        return Decision("attach", "its cluster answers")
    if not has_other:
        return Decision("wait", "no other cluster can take it now")
    return Decision("move", "its cluster does not answer")


def _format(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
