# requirements: flexcore_base
"""Leases: several executions share one cluster, and the last one releases it. Pure; who stores the book swaps it
atomically (compare, then set), so that of two changes at once one is made on top of the other.

    acquire   a lease of the holder, new or renewed; a new one has a higher fencing token than all before it
    renew     the heartbeat; refused for a lease that was ended meanwhile
    release   one lease fewer; the book is idle from the moment when none is left

A lease is written down as `holder:token`. Whoever deletes a cluster does it on the condition that its book is still the
one that had no lease: that is what keeps a release from deleting a cluster under a new lease.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from f.flexcore.lib.core import errors, identity

# A lease that nobody renews is over after this, whatever is known of its owner.
DURATION_S = 24 * 3600.0
# A heartbeat costs a request; reconcile looks every few minutes.
HEARTBEAT_INTERVAL_S = 60.0
# An annotation holds 256 KiB, a lease some 300 bytes.
MAX_LEASES = 200


@dataclass(frozen=True, slots=True)
class Owner:
    """The execution that holds a lease, as our labels name it."""

    key: str
    owner_job: str
    root_job: str
    step: str
    workspace: str

    def labels(self) -> dict[str, str]:
        key = identity.ExecutionKey(self.key, self.owner_job, self.root_job, self.step, self.workspace)
        return key.labels(1)


@dataclass(frozen=True, slots=True)
class Lease:
    """acquired and renewed in seconds since the epoch, by the clock of whoever stores the book."""

    owner: Owner
    token: int
    acquired: float
    renewed: float
    duration_s: float = DURATION_S

    @property
    def reference(self) -> str:
        return f"{self.owner.key}:{self.token}"

    @property
    def deadline(self) -> float:
        return self.renewed + self.duration_s


@dataclass(frozen=True, slots=True)
class LeaseBook:
    """All leases of one cluster. last_token: of the newest lease there ever was; keep_idle_s: how long the cluster is
    kept without one; idle_since: when the last one ended, None while there is one, or before the first."""

    leases: tuple[Lease, ...] = ()
    last_token: int = 0
    keep_idle_s: float = 0.0
    idle_since: float | None = None

    @property
    def delete_after(self) -> float | None:
        """When an idle cluster's time is over; None while somebody has a lease."""
        return None if self.leases or self.idle_since is None else self.idle_since + self.keep_idle_s


@dataclass(frozen=True, slots=True)
class Change:
    """A book after a change, and the lease that it is about; None when there was none."""

    book: LeaseBook
    lease: Lease | None = field(default=None)


def make_owner(key: identity.ExecutionKey) -> Owner:
    return Owner(key.value, key.owner_job, key.root_job, key.step, key.workspace)


def acquire(
    book: LeaseBook, owner: Owner, now: float, duration_s: float = DURATION_S, keep_idle_s: float | None = None
) -> Change:
    """The holder's lease: the one it has, renewed, or a new one. Raises Unavailable when there are too many.

    keep_idle_s: how long to keep the cluster without leases; of several wishes the longest holds."""
    known = find_by_key(book, owner.key)
    kept_s = max(book.keep_idle_s, keep_idle_s or 0.0)
    if known:
        lease = replace(known, renewed=max(now, known.renewed), duration_s=duration_s)
    elif len(book.leases) >= MAX_LEASES:
        raise errors.Unavailable(
            f"The cluster has {MAX_LEASES} leases already, the most that are kept",
            subject="cluster",
            category="too_many_leases",
            remedy="Wait until others have released it, or use another cluster.",
        )
    else:
        lease = Lease(owner, book.last_token + 1, now, now, duration_s)
    others = tuple(item for item in book.leases if item.owner.key != owner.key)
    last = max(book.last_token, lease.token)
    return Change(LeaseBook((*others, lease), last, kept_s, None), lease)


def renew(book: LeaseBook, reference: str, now: float) -> Change:
    """The heartbeat of a lease. Raises Conflict when it was ended."""
    lease = find(book, reference)
    if lease is None:
        raise ended_error(reference)
    renewed = replace(lease, renewed=max(now, lease.renewed))
    leases = tuple(renewed if item is lease else item for item in book.leases)
    return Change(replace(book, leases=leases), renewed)


def release(book: LeaseBook, reference: str, now: float) -> Change:
    """Without this lease; a lease that is not there, or whose holder has a newer one, is released already."""
    lease = find(book, reference)
    if lease is None:
        return Change(book)
    rest = tuple(item for item in book.leases if item is not lease)
    return Change(replace(book, leases=rest, idle_since=None if rest else now), lease)


def find(book: LeaseBook, reference: str) -> Lease | None:
    return next((item for item in book.leases if item.reference == reference), None)


def find_by_key(book: LeaseBook, key: str) -> Lease | None:
    return next((item for item in book.leases if item.owner.key == key), None)


def find_of_flow(book: LeaseBook, key: identity.ExecutionKey) -> Lease | None:
    """The newest lease that a step of the same run holds: a release that names none means it."""
    ours = [item for item in book.leases if item.owner.owner_job == key.owner_job]
    ours = ours or [item for item in book.leases if item.owner.root_job == key.root_job]
    return max(ours, key=lambda item: item.token, default=None)


def ended_error(reference: str) -> errors.Conflict:
    return errors.Conflict(
        f"The lease {reference} of the Ray cluster has ended: it was released, or nobody renewed it in time",
        subject="cluster.lease",
        category="lease_ended",
        remedy="Run f/flexcore/ray/ensure_cluster again, and pass on what it returns.",
    )


def dump(book: LeaseBook) -> dict[str, Any]:
    return {
        "leases": [asdict(item) for item in book.leases],
        "last_token": book.last_token,
        "keep_idle_s": book.keep_idle_s,
        "idle_since": book.idle_since,
    }


def parse(stored: Any) -> LeaseBook:
    """Raises DataError for what is no book: nothing may be deleted on the word of a damaged one."""
    try:
        value = json.loads(stored) if isinstance(stored, str) else stored
        leases = tuple(Lease(**(item | {"owner": Owner(**item["owner"])})) for item in value["leases"])
        idle = value["idle_since"]
        return LeaseBook(
            leases, int(value["last_token"]), float(value["keep_idle_s"]), None if idle is None else float(idle)
        )
    except (ValueError, TypeError, KeyError) as error:
        raise errors.DataError(
            f"The leases of the Ray cluster cannot be read: {type(error).__name__}",
            subject="cluster",
            category="leases_damaged",
            remedy="Look at the annotation flexcore/leases of the RayCluster, or the file in the store.",
        ) from None
