"""When work whose cluster is silent may start elsewhere: pure, by tables."""

from __future__ import annotations

from typing import Any

import pytest

from f.flexcore.lib.core.errors import Unavailable, Unreachable
from f.flexcore.lib.kubernetes.cluster_contact import is_lost_contact
from f.flexcore.lib.kubernetes.far_job import describe_job
from f.flexcore.lib.kubernetes.multikueue import list_checks
from f.flexcore.lib.kubernetes.placement_moves import (
    DEADLINE_MARGIN_S,
    PlacedCopy,
    decide_job,
    decide_model,
    find_deadline,
    read_clocks,
)
from f.flexcore.lib.kubernetes.placement_records import PlacementRecord, forget_left, replace_copy

NOW = 1_800_000_000.0
# The cluster's clock is an hour behind ours, and was heard of 100 s ago.
AT, SERVER_TIME = NOW - 100, NOW - 3700
STARTED = SERVER_TIME - 50


def copy(**more: Any) -> PlacedCopy:
    known = {"was_sent": True, "started": STARTED, "limit_s": 600, "grace_s": 3, "uid": "u", **more}
    return PlacedCopy(cluster="f/a", kind="Job", **known)


def decide(job: PlacedCopy, *, lost: bool = True, twice: bool = False, now: float = NOW, at: float | None = AT) -> Any:
    clocks = read_clocks(job, at, None if at is None else SERVER_TIME, now)
    return decide_job(job, clocks, is_lost=lost, may_run_twice=twice)


PASSED = AT + 600 - 50 + 3 + DEADLINE_MARGIN_S


@pytest.mark.parametrize(
    "job, options, action, reason",
    [
        (copy(), {"lost": False}, "attach", "its cluster answers"),
        (copy(), {}, "wait", "it may run there for 483 s more"),
        (copy(), {"now": PASSED - 1}, "wait", "it may run there for 1 s more"),
        (copy(), {"now": PASSED + 1}, "move", "its deadline there has passed 1 s ago"),
        (copy(), {"twice": True}, "move", "safe_to_repeat"),
        (copy(was_sent=False, started=None), {}, "move", "nothing was created there"),
        (copy(started=None), {"now": NOW + 1e6}, "wait", "never seen to start"),
        (copy(is_queued=True), {"now": NOW + 1e6}, "wait", "a queue there may start it"),
        (copy(limit_s=None), {"now": NOW + 1e6}, "wait", "no deadline there is known"),
        (copy(), {"at": None, "now": NOW + 1e6}, "wait", "no deadline there is known"),
        (copy(has_ended=True), {"now": NOW + 1e6}, "wait", "seen to end there"),
        # MultiKueue starts it elsewhere itself; not even a form that bears two copies makes a second one of ours.
        (copy(is_dispatched=True), {"twice": True}, "wait", "MultiKueue"),
    ],
)
def test_a_job_moves_only_when_it_cannot_run_there_any_more_or_may_run_twice(
    job: PlacedCopy, options: dict[str, Any], action: str, reason: str
) -> None:
    found = decide(job, **options)
    assert found.action == action and reason in found.reason


def test_the_deadline_counts_by_the_clock_of_the_cluster_and_both_clocks_are_shown() -> None:
    clocks = read_clocks(copy(), AT, SERVER_TIME, NOW)
    assert clocks.server_now == SERVER_TIME + 100
    assert clocks.deadline == STARTED + 600 + 3 + DEADLINE_MARGIN_S
    shown = clocks.describe()
    assert "last contact 2027-01-15T07:58:20Z by our clock" in shown
    assert "its deadline there 2027-01-15T07:08:03Z by that cluster's clock, in 483 s" in shown
    assert "never in contact; no deadline there is known" in read_clocks(copy(limit_s=None), None, None, NOW).describe()


def test_a_clock_of_ours_that_was_set_back_never_lets_a_deadline_pass() -> None:
    assert read_clocks(copy(), AT, SERVER_TIME, AT - 5000).server_now == SERVER_TIME


@pytest.mark.parametrize("spec", [{"suspend": True}, {"template": {"spec": {}}}])
def test_a_job_that_a_queue_holds_has_no_deadline(spec: dict[str, Any]) -> None:
    labels = {} if spec.get("suspend") else {"kueue.x-k8s.io/queue-name": "q"}
    full = {"activeDeadlineSeconds": 60, "template": {"spec": {}}, **spec}
    status = {"startTime": "2027-01-15T07:00:00Z"}
    facts = describe_job({"metadata": {"uid": "u", "labels": labels}, "spec": full, "status": status})
    assert facts["is_queued"] and find_deadline(copy(**facts)) is None


def test_a_job_that_has_started_is_described_with_its_limits() -> None:
    spec = {"activeDeadlineSeconds": 60, "template": {"spec": {"terminationGracePeriodSeconds": 3}}}
    facts = describe_job({"metadata": {"uid": "u"}, "spec": spec, "status": {"startTime": "2027-01-15T07:00:00Z"}})
    assert facts == {
        "uid": "u",
        "started": 1_799_996_400.0,
        "limit_s": 60,
        "grace_s": 3.0,
        "is_queued": False,
        "is_dispatched": False,
        "has_ended": False,
    }


@pytest.mark.parametrize("is_lost, has_other, action", [(0, 1, "attach"), (1, 0, "wait"), (1, 1, "move")])
def test_a_model_moves_at_once_when_another_cluster_can_take_it(is_lost: int, has_other: int, action: str) -> None:
    assert decide_model(is_lost=bool(is_lost), has_other=bool(has_other)).action == action


@pytest.mark.parametrize(
    "error, expected",
    [
        (Unreachable("x", subject="cluster.server"), True),
        (Unavailable("x", subject="cluster"), True),
        (Unreachable("x", subject="cluster.ca_certificate", category="tls"), False),
        (Unreachable("the store", subject="storage_uri"), False),
        (Unreachable("Windmill", subject="windmill"), False),
        (Unavailable("quota", subject="namespace", category="quota_exceeded"), False),
        (None, False),
    ],
)
def test_only_a_cluster_that_cannot_be_asked_is_lost(error: Any, expected: bool) -> None:
    assert is_lost_contact(error) is expected


# --- records


def record(**more: Any) -> PlacementRecord:
    return PlacementRecord(kind="jobs", id="fc-1", name="fc-1-1", copies=[copy()], **more)


def test_a_copy_that_is_replaced_is_left_until_it_is_seen_to_be_gone() -> None:
    moved = replace_copy(record(), "f/a", PlacedCopy(cluster="f/b", kind="Job"), "why", NOW)
    assert [item.cluster for item in moved.copies] == ["f/b"]
    (left,) = moved.left
    assert (left.cluster, left.uid, left.left_at, left.reason) == ("f/a", "u", NOW, "why")
    assert [(item.source, item.to) for item in moved.moves] == [("f/a", "f/b")]
    assert forget_left(moved, "f/a", "another") is None
    forgotten = forget_left(moved, "f/a", "u")
    assert forgotten is not None and forgotten.left == []


def test_work_that_moves_back_is_no_longer_left_there() -> None:
    moved = replace_copy(record(), "f/a", PlacedCopy(cluster="f/b", kind="Job", was_sent=True), "why", NOW)
    back = replace_copy(moved, "f/b", PlacedCopy(cluster="f/a", kind="Job"), "why", NOW)
    assert [item.cluster for item in back.left] == ["f/b"]


def test_a_copy_that_was_never_sent_leaves_nothing_behind() -> None:
    fresh = record().model_copy(update={"copies": [copy(was_sent=False)]})
    assert replace_copy(fresh, "f/a", PlacedCopy(cluster="f/b", kind="Job"), "why", NOW).left == []


@pytest.mark.parametrize(
    "spec",
    [{"admissionChecks": ["mk"]}, {"admissionChecksStrategy": {"admissionChecks": [{"name": "mk", "onFlavors": []}]}}],
)
def test_both_ways_to_name_an_admission_check_are_read(spec: dict[str, Any]) -> None:
    assert list_checks({"spec": spec}) == ["mk"] and list_checks({}) == []
