# requirements: flexcore_kubernetes
"""Moves requests from one version to another, step by step, and back by itself: what the driver needs of it.

find      the record on the route, or in the store
create    both versions are there and ready → claim: what was before is recorded, nothing is moved
observe   for each weight: write → settled → checks until the pause is over → next, or back
bad, inconclusive, refused by the controller        back to the shares before, then the error
somebody else moves the weights, or has the route   Conflict; nothing is moved back: they have taken over
no contact                                          raised: a repeat goes on, or reconcile moves them back
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from f.flexcore.lib.core import attempts, contracts, driver, errors, operation, redaction, resources
from f.flexcore.lib.kubernetes import (
    traffic_decision,
    traffic_measure,
    traffic_opening,
    traffic_record,
    traffic_request,
    traffic_result,
    traffic_session,
    traffic_target,
)
from f.flexcore.lib.kubernetes_api import progress
from f.flexcore.lib.storage import attempt_records, object_store

Object = dict[str, Any]
Invocation = operation.Invocation[traffic_request.TrafficRequest, resources.KubernetesCluster]

SETTLE_INTERVAL_S = 0.25
# Status does not tell when the data plane has the weights: Traefik follows after 0.4 to 2.8 s.
DATA_PLANE_LAG_S = 3.0
CHECK_INTERVAL_S = 1.0
# An answer that is not clear at the end of the pause gets as much time again.
MAX_WINDOWS = 2
# Giving requests back to the version that works is not given up because of some lost answers.
GO_BACK_TIMEOUT_S = 60.0
RECORD = "traffic.json"


@dataclass(slots=True)
class ShiftAdapter:
    """One execution that moves the weights of one target."""

    request: traffic_request.TrafficRequest
    invocation: Invocation
    opened: traffic_opening.Opened
    records: attempt_records.StoreRecords
    redactor: redaction.Redactor
    report: Callable[[str], None] = progress.report_now
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    steps: list[Object] = field(default_factory=list)

    # --- the driver's verbs

    def find(self, number: int) -> attempts.Attempt | None:
        item = self.opened.target.read()
        record = traffic_record.read_record(item) if item else None
        last = traffic_record.read_last(item) if item else None
        key = self.invocation.key.value
        for known in (record, last):
            if item and known and (known.key, known.attempt) == (key, number):
                return attempts.Attempt(number, "running", self._remote(item))
        # The mark was taken off by somebody else: what the store has says so.
        if item and self._has_begun(number, item):
            return attempts.Attempt(number, "running", self._remote(item))
        return None

    def _has_begun(self, number: int, item: Object) -> bool:
        """Whether the store knows of this shift. One that was cut short within its claim has moved nothing, and is
        claimed anew."""
        stored = self._read_stored(number)
        if not stored:
            return False
        record = traffic_record.parse_record(stored.get("record") or {})
        shares = self.opened.target.read_shares(item)
        return record.step > 0 or not self.opened.target.is_as_written(shares, record)

    def create(self, number: int, earlier: Sequence[attempts.Attempt]) -> contracts.Remote:
        self._check_ready()
        for note in self.opened.prepare(self.invocation.key):
            self.report(note)
        self._claim(number)
        return self._remote(traffic_session.read_existing(self.opened.target))

    def observe(self, number: int, remote: contracts.Remote) -> driver.Verdict:
        item = traffic_session.read_existing(self.opened.target)
        self.steps = list(self._read_stored(number).get("steps") or [])
        last = traffic_record.read_last(item)
        if last and (last.key, last.attempt) == (self.invocation.key.value, number):
            return self._conclude(number, remote, last)
        if traffic_record.read_record(item) is None:
            return self._report_lost_mark(number, item)
        session = self._claim(number)
        started = self.clock()
        try:
            last = self._shift(number, session)
        except errors.Conflict as error:
            session.release()
            return driver.Verdict(error=error)
        except (errors.UserError, errors.DataError) as error:
            # A query that is refused, a right that was taken away: nobody watches the candidate any more.
            with suppress(errors.UserError):
                self._go_back(number, session, str(error), error.category)
            return driver.Verdict(error=error)
        verdict = self._conclude(number, remote, last)
        if verdict.result:
            verdict.result.timings.running = round(self.clock() - started, 3)
        return verdict

    def finish(self, result: contracts.StepResult) -> contracts.StepResult:
        return result

    # --- beginning

    def _check_ready(self) -> None:
        """Raises Conflict before anything is moved: a version without a ready endpoint would only lose requests."""
        versions = [("stable", self.opened.stable), ("candidate", self.opened.candidate)]
        if self.request.steps == [0]:
            # Replicas are made ready before others go.
            versions = [] if self.opened.mode == "replicas" else versions[:1]
        for subject, version in versions:
            if not traffic_target.count_ready(self.opened.kubernetes, version):
                raise errors.Conflict(
                    f"{subject}: Service {version.name} in namespace {version.namespace} has no ready endpoint",
                    subject=subject,
                    category="not_ready",
                    remedy="Deploy it, or see why its pods are not ready; nothing was moved.",
                )

    def _claim(self, number: int) -> traffic_session.ShiftSession:
        opened, now = self.opened, time.time()
        steps = len(self.request.steps) + 1
        needed = (
            steps * (opened.target.settle_timeout_s + DATA_PLANE_LAG_S + MAX_WINDOWS * self.request.pause_s)
            + GO_BACK_TIMEOUT_S
        )

        def store(record: traffic_record.ShiftRecord) -> None:
            self._store(number, record, list(self._read_stored(number).get("steps") or []))

        names = opened.names
        return traffic_session.claim(
            opened.target, self.invocation.key, number, names, now + needed, now, store, self.sleep
        )

    def _read_stored(self, number: int) -> Object:
        """What `_store` has kept last; {} when nothing."""
        stored: Object = self.records.store.read_json(self.records.uri(number, RECORD)) or {}
        return stored

    def _store(self, number: int, record: traffic_record.ShiftRecord, steps: list[Object]) -> None:
        value = {"route": self.opened.target.what, "record": asdict(record), "steps": steps}
        self.records.store.write_json(self.records.uri(number, RECORD), value)

    # --- the steps

    def _shift(self, number: int, session: traffic_session.ShiftSession) -> traffic_record.LastShift:
        """How it ended. Raises Conflict, or what keeps it from the cluster."""
        weights, record = self.request.steps, session.record
        if record.state == "back":
            return self._go_back(number, session, record.reason, record.category)
        if weights == [0]:
            return self._go_back(number, session, "as asked", "", self.opened.target.plan_shares(0, record.before))
        source = self.opened.source
        # What the stable version did before it lost requests to the candidate.
        earlier_s = source.baseline_latency_s()
        for index, weight in enumerate(weights[record.step - 1 if record.step else 0 :], max(record.step, 1)):
            shares = self.opened.target.plan_shares(weight, record.before)
            if index > session.record.step:
                written = replace(session.record, step=index, current=shares, earlier=session.record.current)
                self._store(number, written, self.steps)
                session.change(shares, step=index)
                self.report(f"{self.opened.target.what}: {traffic_session.describe(shares)} (step {index})")
            if problem := self._wait_until_settled(session, shares):
                return self._go_back(number, session, problem, "not_settled")
            judgement, earlier_s = self._analyze(weight, session, earlier_s)
            self._store(number, session.record, self.steps)
            if judgement.answer != "good":
                return self._go_back(number, session, judgement.reason, f"canary_{judgement.answer}")
        return self._end(number, session, weights[-1])

    def _end(self, number: int, session: traffic_session.ShiftSession, weight: int) -> traffic_record.LastShift:
        shares, key = session.record.current, session.record.key
        if weight == traffic_decision.WHOLE:
            last = traffic_record.LastShift(key, number, "promoted", shares)
            session.end(last)
            self.report(f"{self.opened.target.what}: {session.record.candidate} is promoted")
            return last
        session.change(None, state="held", deadline=time.time() + self.request.hold_s)
        self.report(f"{self.opened.target.what} is held at {weight} % for at most {self.request.hold_s} s")
        return traffic_record.LastShift(key, number, "held", shares)

    def _wait_until_settled(self, session: traffic_session.ShiftSession, shares: Mapping[str, int]) -> str:
        """What stands against the shares; "" once they are in effect."""
        until, problem = self.clock() + self.opened.target.settle_timeout_s, ""
        while self.clock() < until:
            settled = self.opened.target.settle(session.check(), shares)
            if settled.is_settled:
                self.sleep(DATA_PLANE_LAG_S)
                return ""
            problem = settled.problem
            self.sleep(SETTLE_INTERVAL_S)
        return f"{self.opened.target.what} has not taken up the weights: {problem}"

    def _analyze(
        self, weight: int, session: traffic_session.ShiftSession, earlier_s: float | None
    ) -> tuple[traffic_decision.Judgement, float | None]:
        """(what the checks say in the end, the stable version's latency as last measured)."""
        opened, started, pause_s = self.opened, self.clock(), self.request.pause_s
        opened.source.begin()
        while True:
            self.sleep(CHECK_INTERVAL_S)
            window_s = self.clock() - started
            found = opened.source.measure(window_s)
            found = traffic_measure.add_readiness(opened.kubernetes, found, opened.stable, opened.candidate)
            earlier_s = found.baseline.latency_s or earlier_s
            is_over = window_s >= pause_s
            judgement = traffic_decision.judge(
                found.candidate, found.baseline, self.request.limits, earlier_s, is_over=is_over
            )
            is_clear = judgement.answer == "bad" or (is_over and judgement.answer == "good")
            if is_clear or window_s >= MAX_WINDOWS * pause_s:
                break
            self._check_hold(session)
        if found.note and judgement.answer == "inconclusive":
            judgement = traffic_decision.Judgement("inconclusive", f"{judgement.reason} ({found.note})")
        self.steps.append(traffic_result.make_step(weight, judgement, found, window_s, opened.source.name))
        self.report(f"{weight} %: {judgement.answer}: {judgement.reason}")
        return judgement, earlier_s

    def _check_hold(self, session: traffic_session.ShiftSession) -> None:
        try:
            session.check()
        except errors.TransientError as error:
            self.report(f"Seen: {error}")

    # --- the way back

    def _go_back(
        self,
        number: int,
        session: traffic_session.ShiftSession,
        reason: str,
        category: str,
        shares: traffic_decision.Shares | None = None,
    ) -> traffic_record.LastShift:
        """shares: those before the shift, where no others are given."""
        before = shares or session.record.before
        target, key = self.opened.target, session.record.key
        last = traffic_record.LastShift(key, number, "back", before, reason, category)
        self._repeat(lambda: session.change(before, state="back", reason=reason, category=category))
        self.report(f"{target.what} goes back to {traffic_session.describe(before)}: {reason}")
        until = self.clock() + target.settle_timeout_s
        while not target.settle(self._repeat(session.check), before, is_urgent=bool(category)).is_settled:
            if self.clock() > until:
                self.report(f"{target.what} has not settled after {target.settle_timeout_s:.0f} s")
                break
            self.sleep(SETTLE_INTERVAL_S)
        self._repeat(lambda: session.end(last))
        return last

    def _repeat(self, call: Callable[[], Object]) -> Object:
        """What the call returns, once the cluster answers."""
        until = self.clock() + GO_BACK_TIMEOUT_S
        while True:
            try:
                return call()
            except errors.TransientError:
                if self.clock() > until:
                    raise
                self.sleep(CHECK_INTERVAL_S)

    def _report_lost_mark(self, number: int, item: Object) -> driver.Verdict:
        """Without the record on the route somebody has taken over; the weights are moved back when they still are
        those that we have written."""
        record = traffic_record.parse_record(self._read_stored(number).get("record") or {})
        shares = self.opened.target.read_shares(item)
        text = f"The record of this shift was removed from {self.opened.target.what}"
        # The store has them before the route does.
        known = (record, replace(record, current=record.earlier))
        if any(self.opened.target.is_as_written(shares, version) for version in known):
            last = traffic_record.LastShift(record.key, number, "back", record.before, text, "shift_lost")
            end = traffic_record.unmark(last)
            stored = self.opened.target.write(item, end, record.before)
            # None, too, when its answer was lost and the client has sent it again.
            if traffic_record.is_marked(stored or traffic_session.read_existing(self.opened.target), end):
                text = f"{text}; its weights are back at {traffic_session.describe(record.before)}"
        error = errors.Conflict(
            text, subject="route", category="shift_lost", remedy="See who writes it, then run again."
        )
        return driver.Verdict(error=error)

    def _conclude(self, number: int, remote: contracts.Remote, last: traffic_record.LastShift) -> driver.Verdict:
        if last.category:
            error = traffic_result.make_error(self.opened, last, self.steps)
            return driver.Verdict(error=error, is_deterministic=last.category == "canary_bad")
        key = self.invocation.key.value
        return driver.Verdict(traffic_result.make_result(self.opened, last, self.steps, key, number, remote))

    def _remote(self, item: Object) -> contracts.Remote:
        metadata = item["metadata"]
        return contracts.Remote(kind=self.opened.target.uid_kind, name=metadata["name"], uid=metadata["uid"])


@contextmanager
def open_shift(invocation: Invocation) -> Iterator[ShiftAdapter]:
    opened = traffic_opening.open_traffic(invocation)
    records = attempt_records.StoreRecords(object_store.Store(invocation.settings), invocation.key)
    yield ShiftAdapter(invocation.request, invocation, opened, records, opened.kubernetes.redactor)
