"""Each fault at each interaction of a step with its cluster, one history for each: before the object is created, after
that, while it runs, after its end. Kubernetes and Ray by turns; in virtual time, see world.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core.identity import ExecutionKey, execution_key
from f.flexcore.lib.operations import reconciler
from tests.faults.invariants import Created, Event, Reported, check
from tests.faults.kubernetes_world import KubernetesWorld
from tests.faults.ray_world import RayWorld
from tests.faults.test_histories import InTurn
from tests.faults.world import SECRET, Killed, World

FLOW = "flow-1"
KEY: ExecutionKey = execution_key({"WM_FLOW_JOB_ID": FLOW, "WM_FLOW_STEP_ID": "ml", "WM_WORKSPACE": "test"})
# A step that sees its object end after some looks has so many interactions, and then some.
MOMENTS = range(1, 22)
# Its object ends so early that the last moments are after its end.
ENDS_AT = 12
TIMEOUT_S = 60
HOUR_S = 3600.0
# A reaper that comes by every 15 s, and pods that take 12 s to end.
GONE_S = 45.0


class Day:
    """One history: a flow whose step runs, with a plan."""

    def __init__(self, runtime: str, folder: Path) -> None:
        self.world = World()
        self.runtime: Any = KubernetesWorld(self.world) if runtime == "kubernetes" else RayWorld(self.world, folder)
        self.world.owns(FLOW, "running")
        self.said: list[bool | None] = []
        self.timeout_s = TIMEOUT_S

    def step(self, *plan: tuple[int, Callable[[], Any]], call: str = "call", end: str = "succeeded") -> bool | None:
        self.world.plan = [*([(ENDS_AT, lambda: self.end(end))] if end else []), *plan]
        done = self.inner(call)
        self.world.plan = []
        return done

    def inner(self, call: str) -> bool | None:
        """The step, within whatever is planned already: a copy of it."""
        self.said.append(self.runtime.run(KEY, call, self.timeout_s))
        return self.said[-1]

    def end(self, how: str) -> None:
        for thing in self.world.live():
            self.world.end(thing, how)

    def kill(self) -> None:
        if self.world.acting == "step":
            raise Killed

    def cancel(self) -> None:
        self.world.owns(FLOW, "ended")
        self.kill()

    def go_away(self) -> None:
        self.world.outage_until = self.world.now + 30

    def delete(self) -> None:
        with self.world.as_actor("somebody"):
            for thing in self.world.live():
                self.world.stop(thing, leave=True)

    def reap(self) -> None:
        self.runtime.reconcile()

    def passes(self, seconds: float = GONE_S) -> None:
        """The reaper comes by every 15 s."""
        for _ in range(int(seconds / 15)):
            self.reap()
            self.world.advance(15)

    def check(self) -> list[Event]:
        check(self.world.history, secrets=[SECRET], gone_within_s=GONE_S, until=self.world.now)
        return self.world.history

    @property
    def created(self) -> int:
        return sum(isinstance(event, Created) for event in self.world.history)


@pytest.fixture(params=["kubernetes", "ray"])
def days(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Iterator[tuple[int, Day]]]:
    """A new day for each moment."""
    monkeypatch.setattr(reconciler, "ThreadPoolExecutor", InTurn)

    def each() -> Iterator[tuple[int, Day]]:
        for moment in MOMENTS:
            yield moment, Day(request.param, tmp_path / str(moment))

    return each


Days = Callable[[], Iterator[tuple[int, Day]]]


@pytest.mark.fault(1, "I1", "I2", "I5", "I8")
@pytest.mark.fault(37, "I1", "I8")
def test_a_step_killed_at_any_moment_and_started_again_ends_with_its_one_object(days: Days) -> None:
    killed = 0
    for moment, day in days():
        first = day.step((moment, day.kill))
        killed += first is None
        day.world.advance(65)
        day.reap()
        # By now the object may have been ended by its own deadline: then the repeat tells of that.
        second = day.step((moment, day.reap), end="succeeded") if first is None else first
        assert second is not None
        day.check()
        assert day.created == 1
    assert killed >= ENDS_AT, "the kill has to hit"


@pytest.mark.fault(1, "I1", "I2")
def test_a_step_killed_and_started_again_at_once_succeeds(days: Days) -> None:
    for moment, day in days():
        assert day.step((moment, day.kill)) or day.step()
        day.check()
        assert day.created == 1


@pytest.mark.fault(2, "I2", "I4")
@pytest.mark.fault(1, "I4")
def test_what_a_flow_cancelled_at_any_moment_has_left_is_gone_within_a_minute(days: Days) -> None:
    left = 0
    for moment, day in days():
        day.step((moment, day.cancel), end="")
        left += bool(day.world.live())
        day.passes()
        day.check()
        assert day.world.live() == []
    assert left, "something has to be left at some moment"


@pytest.mark.fault(4, "I1", "I2", "I5")
@pytest.mark.fault(10, "I1")
@pytest.mark.fault(21, "I1", "I2")
@pytest.mark.parametrize("call", ["call", "another"])
def test_a_second_copy_at_any_moment_shares_the_object_and_the_answer(days: Days, call: str) -> None:
    for moment, day in days():
        assert day.step((moment, partial(day.inner, call)))
        day.check()
        assert day.created == 1 and set(day.said) == {True}


@pytest.mark.fault(5, "I1", "I2")
@pytest.mark.fault(6, "I1", "I2")
@pytest.mark.fault(7, "I1", "I2")
@pytest.mark.fault(20, "I1", "I2")
@pytest.mark.parametrize("kind", ["429", "500", "503", "cut", "cut after"])
def test_a_bad_answer_at_any_moment_is_asked_again_and_makes_no_second_object(days: Days, kind: str) -> None:
    for moment, day in days():
        assert day.step((moment, partial(day.world.faults.append, kind)))
        day.check()
        assert day.created == 1


@pytest.mark.fault(7, "I1", "I2", "I3")
def test_a_server_away_for_a_while_at_any_moment_loses_nothing(days: Days) -> None:
    for moment, day in days():
        day.step((moment, day.go_away))
        day.world.advance(31)
        if not day.said[-1]:
            assert day.step(call="a retry")
        day.check()
        assert day.created == 1


@pytest.mark.fault(8, "I1", "I2", "I6", "I8")
@pytest.mark.fault(9, "I2", "I6", "I8")
@pytest.mark.parametrize("kind", ["401", "403"])
def test_refused_credentials_at_any_moment_end_the_step_and_a_retry_attaches(days: Days, kind: str) -> None:
    for moment, day in days():
        day.step((moment, partial(day.world.faults.extend, [kind] * 30)))
        day.reap()
        day.world.faults.clear()
        if not day.said[-1]:
            assert day.step(call="a retry")
        day.check()
        assert day.created == 1


@pytest.mark.fault(13, "I1", "I2")
@pytest.mark.fault(18, "I1", "I2", "I5")
def test_a_failed_object_is_told_and_a_retry_is_the_next_attempt(days: Days) -> None:
    for moment, day in days():
        first = day.step((moment, partial(day.end, "failed")))
        # At the last moments it had succeeded before.
        assert first or day.step(call="a retry")
        day.check()
        assert day.created == (1 if first else 2)


@pytest.mark.fault(19, "I1", "I2", "I3")
def test_an_object_that_somebody_deletes_at_any_moment_is_no_success(days: Days) -> None:
    for moment, day in days():
        first = day.step((moment, day.delete))
        if not first:
            day.step(call="a retry")
        day.check()


@pytest.mark.fault(35, "I2", "I4", "I8")
@pytest.mark.parametrize("ahead", [600.0, -600.0])
def test_a_clock_that_is_set_at_any_moment_ends_nothing_early_and_nothing_late(days: Days, ahead: float) -> None:
    for moment, day in days():
        assert day.step((moment, partial(setattr, day.world, "skew", ahead)), (moment, day.reap))
        day.check()


@pytest.mark.fault(35, "I2", "I4", "I8")
@pytest.mark.parametrize("ahead", [600.0, -600.0])
def test_a_time_limit_is_kept_and_the_reaper_is_right_whatever_our_clock_says(days: Days, ahead: float) -> None:
    for moment, day in days():
        day.world.skew = ahead
        began = day.world.now
        assert day.step((moment, day.reap), end="") is False, "the time limit"
        assert TIMEOUT_S - 5 < day.world.now - began < TIMEOUT_S + 60
        day.passes()
        day.check()
        assert day.world.live() == []


@pytest.mark.fault(36, "I2", "I8")
def test_a_windmill_that_does_not_answer_lets_nothing_be_stopped(days: Days) -> None:
    for moment, day in days():
        day.world.windmill_down = True
        assert day.step((moment, day.reap))
        day.check()
        assert day.created == 1


@pytest.mark.fault(6, "I8")
@pytest.mark.fault(7, "I8")
@pytest.mark.parametrize("kind", ["500", "cut", "cut after"])
def test_a_server_that_fails_under_the_reaper_loses_nothing_that_lives(days: Days, kind: str) -> None:
    for moment, day in days():
        day.step((6, day.kill))
        day.world.plan = [(moment % 4 + 1, partial(day.world.faults.extend, [kind] * 3))]
        day.reap()
        day.world.plan, day.world.faults = [], []
        assert day.step()
        day.check()


@pytest.mark.fault(37, "I1", "I4", "I8")
def test_a_flow_that_ends_under_the_reaper_or_the_restart_leaves_nothing(days: Days) -> None:
    for moment, day in days():
        day.step((8, day.kill))
        passes = [(moment + later, day.reap) for later in range(0, 200, 20)]
        day.step(*passes, (moment, partial(day.world.owns, FLOW, "ended")), end="")
        day.passes(60)
        day.check()
        assert day.world.live() == []


@pytest.mark.fault(9, "I4")
@pytest.mark.fault(24, "I2", "I4")
@pytest.mark.fault(25, "I4")
def test_what_cannot_be_stopped_now_is_told_and_goes_by_its_own_deadline(days: Days) -> None:
    for _, day in days():
        day.world.stop_honoured = False
        day.world.linger_s = 600
        assert day.step(end="") is False
        day.world.owns(FLOW, "ended")
        day.passes(90)
        day.check()
        assert day.world.live() == []


@pytest.mark.fault(23, "I1", "I2", "I3", "I5")
def test_a_head_that_restarts_at_any_moment_has_lost_the_job_which_is_no_success(days: Days) -> None:
    for moment, day in days():

        def restart(day: Day = day) -> None:
            for thing in list(day.world.things.values()):
                day.world.remove(thing)

        first = day.step((moment, restart))
        if not first:
            assert day.step(call="a retry")
        reports = [event for event in day.check() if isinstance(event, Reported)]
        assert reports[-1].success


def suspended(day: Day) -> None:
    """A queue holds the Job back as soon as it is there."""
    for thing in day.world.live():
        thing.suspended = True


@pytest.mark.fault(16, "I2", "I5")
@pytest.mark.parametrize("days", ["kubernetes"], indirect=True)
def test_a_job_that_its_queue_admits_after_an_hour_succeeds(days: Days) -> None:
    for moment, day in days():
        day.timeout_s = 2 * int(HOUR_S)

        def admit(day: Day = day) -> None:
            day.world.advance(HOUR_S)
            for thing in day.world.live():
                thing.suspended, thing.deadline = False, day.world.now + day.timeout_s

        assert day.step((3, partial(suspended, day)), (moment + 3, day.reap), (ENDS_AT - 4, admit))
        day.check()
        assert day.created == 1


@pytest.mark.fault(16, "I4")
@pytest.mark.parametrize("days", ["kubernetes"], indirect=True)
def test_a_suspended_job_of_a_cancelled_flow_goes_although_its_own_deadline_stands_still(days: Days) -> None:
    for moment, day in days():
        day.step((3, partial(suspended, day)), (moment + 3, day.cancel), end="")
        day.passes()
        day.check()
        assert day.world.live() == []
