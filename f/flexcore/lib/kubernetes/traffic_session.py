# requirements: flexcore_kubernetes
"""One driver's hold on the weights of a target: claimed by the execution's key, fenced by a token of its own.

claim     the record of before is on the object, and nothing else has changed yet
check     still ours, and nobody has moved the weights
change    other shares and the next record in one write, on top of what was read
end       how it ended; the mark is gone

The answer of a write may be lost after it was applied: what we have sent and then find there is ours, and done.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from f.flexcore.lib.core import errors, identity
from f.flexcore.lib.kubernetes import traffic_decision, traffic_record, traffic_target

Object = dict[str, Any]
# A controller writes the object's status while we write its weights; each time we look again.
MAX_CONFLICTS = 20
MAX_PAUSE_S = 0.2


@dataclass(slots=True)
class ShiftSession:
    """record: as this driver has written it; sent: as it has last tried to."""

    target: traffic_target.Target
    record: traffic_record.ShiftRecord
    sleep: Callable[[float], None] = field(default=time.sleep)
    sent: traffic_record.ShiftRecord | None = field(default=None, init=False)

    def check(self) -> Object:
        """The object as it is now. Raises Conflict when the weights are no longer ours to move, NotFound when it is
        gone."""
        return self._check(read_existing(self.target))

    def _check(self, item: Object) -> Object:
        found = traffic_record.read_record(item)
        if found is not None and found == self.sent:
            self.record = found
        traffic_record.check_fence(found, self.record, self.target.what)
        shares = self.target.read_shares(item)
        if not self.target.is_as_written(shares, self.record):
            writer = self.target.name_writer(item)
            raise errors.Conflict(
                f"The weights of {self.target.what} were moved by {writer or 'another client'}: "
                f"{describe(shares)} instead of {describe(self.record.current)}",
                subject="route",
                category="weights_moved",
                remedy=f"They are left as they are. Let only one move them: stop {writer or 'the other one'}, then run "
                "again.",
                found=shares,
                writer=writer,
            )
        return item

    def change(self, shares: Mapping[str, int] | None, **changes: Any) -> Object:
        """The object with these shares (None: those it has), and the record with these changes. Raises Conflict."""
        current = dict(shares) if shares is not None else self.record.current
        # Of a target that is written in parts, some may still be as they are found now.
        earlier = self.target.read_shares(self.check()) if shares is not None else self.record.earlier
        record = self.sent = replace(self.record, current=current, earlier=earlier, **changes)
        item = self._write(traffic_record.mark(record), shares)
        self.record = record
        return item

    def end(self, last: traffic_record.LastShift) -> Object:
        return self._write(traffic_record.unmark(last), None)

    def release(self) -> None:
        """Takes the mark off weights that somebody else has moved; those stay."""
        for _ in range(MAX_CONFLICTS):
            item = self.target.read()
            found = traffic_record.read_record(item) if item else None
            if item is None or found is None or found.token != self.record.token:
                return
            if self.target.write(item, traffic_record.unmark(), None) is not None:
                return

    def _write(self, metadata: Mapping[str, Any], shares: Mapping[str, int] | None) -> Object:
        for _ in range(MAX_CONFLICTS):
            item = read_existing(self.target)
            if traffic_record.is_marked(item, metadata):
                return item
            if (stored := self.target.write(self._check(item), metadata, shares)) is not None:
                return stored
            self.sleep(random.uniform(0, MAX_PAUSE_S))
        raise busy(self.target)


def claim(
    target: traffic_target.Target,
    key: identity.ExecutionKey,
    attempt: int,
    names: tuple[str, str],
    deadline: float,
    now: float,
    store: Callable[[traffic_record.ShiftRecord], None],
    sleep: Callable[[float], None] = time.sleep,
) -> ShiftSession:
    """A session on the target, which is made where it does not exist. names: (stable, candidate); store: keeps the
    record elsewhere, too, before the object has it. Raises Conflict that names who has it, or InvalidInput for a target
    that is not ours."""
    for _ in range(MAX_CONFLICTS):
        item = target.read() or target.create(traffic_target.make_labels(key))
        if item is None:
            continue
        traffic_target.check_ours(item, target.what)
        record = _next_record(target, item, key, attempt, names, deadline, now)
        store(record)
        if target.write(item, traffic_record.mark(record), None) is not None:
            return ShiftSession(target, record, sleep)
        sleep(random.uniform(0, MAX_PAUSE_S))
    raise busy(target)


def _next_record(
    target: traffic_target.Target,
    item: Object,
    key: identity.ExecutionKey,
    attempt: int,
    names: tuple[str, str],
    deadline: float,
    now: float,
) -> traffic_record.ShiftRecord:
    """The record of a new shift, or of the one that this execution has begun already: that keeps what was before."""
    known = traffic_record.read_record(item)
    traffic_record.check_claim(known, key, target.what)
    owner: dict[str, Any] = {
        "key": key.value,
        "attempt": attempt,
        "token": uuid4().hex,
        "owner_job": key.owner_job,
        "root_job": key.root_job,
        "flow_step": key.step,
        "workspace": key.workspace,
    }
    if known is not None:
        if (known.stable, known.candidate) != names:
            raise errors.Conflict(
                f"{target.what} is being shifted from {known.stable} to {known.candidate}",
                subject="candidate",
                remedy="Go on with these two, or let operations/reconcile move the weights back first.",
            )
        goes_on = known.key == key.value
        state: traffic_record.State = "back" if known.state == "back" else "shifting"
        step = known.step if goes_on else 0
        return replace(known, **owner, step=step, deadline=deadline, state=state)
    before, shares = target.find_before(item), target.read_shares(item)
    if others := traffic_decision.find_other_shares(before, *names):
        raise errors.Conflict(
            f"{target.what} leads to further versions: {describe(others)}",
            subject="stable",
            remedy="Give their share to the stable version first: a canary moves the weights of two.",
        )
    stable, candidate = names
    times: dict[str, Any] = {"started": now, "deadline": deadline}
    shift: dict[str, Any] = {
        "stable": stable,
        "candidate": candidate,
        "before": before,
        "current": before,
        "earlier": shares,
    }
    return traffic_record.ShiftRecord(**owner, **shift, **times)


def read_existing(target: traffic_target.Target) -> Object:
    item = target.read()
    if item is None:
        raise errors.NotFound(f"{target.what} was deleted", subject="route", category="deleted", remedy="Run again.")
    return item


def describe(shares: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {share}" for name, share in shares.items())


def busy(target: traffic_target.Target) -> errors.Unavailable:
    return errors.Unavailable(
        f"{target.what} keeps being changed by another client",
        subject="route",
        remedy="See who writes it (kubectl get -o yaml --show-managed-fields), then run again.",
    )
