from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any, get_args

import pytest

from f.flexcore.lib.core.identity import DEFERRED
from f.flexcore.lib.core.remote_objects import OVERDUE_S, Action, Owner, RemoteObject, State, decide_cleanup

NOW = 1_000_000.0
OWNERS, STATES = get_args(Owner), get_args(State)


def item(
    state: State, deferred: bool = False, delete_after: float | None = None, deadline: float | None = None
) -> RemoteObject:
    labels = {"flexcore/owner-job": "flow", **({DEFERRED: "true"} if deferred else {})}
    return RemoteObject(
        "ray", "f/x/ray", "job", "fc-1", "uid", state, labels, delete_after=delete_after, deadline=deadline
    )


@pytest.mark.parametrize(
    ("found", "owner", "action"),
    [
        (item("running"), "running", "leave"),
        (item("running"), "suspended", "leave"),
        (item("running"), "ended", "stop"),
        (item("running", deferred=True), "ended", "stop"),
        (item("running"), "unknown", "leave"),
        (item("finished"), "ended", "leave"),
        (item("finished", deferred=True), "suspended", "resume"),
        (item("finished", deferred=True), "running", "leave"),
        (item("finished", deferred=True), "ended", "leave"),
        (item("finished", delete_after=NOW - 1), "ended", "delete"),
        (item("finished", delete_after=NOW - 1), "unknown", "delete"),
        (item("finished", delete_after=NOW - 1), "running", "leave"),
        (item("finished", delete_after=NOW + 1), "ended", "leave"),
        (item("finished", deferred=True, delete_after=NOW - 1), "suspended", "resume"),
        (item("finished", delete_after=NOW), "ended", "leave"),
        (item("running", deadline=NOW - 1), "running", "leave"),
        (item("running", deadline=NOW - OVERDUE_S), "running", "leave"),
        (item("running", deadline=NOW - OVERDUE_S - 1), "suspended", "stop"),
        (item("running", deadline=NOW - OVERDUE_S - 1), "unknown", "stop"),
        (item("finished", deadline=NOW - OVERDUE_S - 1), "ended", "leave"),
        (item("leaving"), "ended", "leave"),
        (item("waiting", deferred=True), "suspended", "leave"),
        (item("waiting"), "running", "leave"),
        (item("waiting"), "ended", "stop"),
        (item("due", deferred=True), "suspended", "submit"),
        (item("due"), "running", "leave"),
        (item("due", deferred=True), "running", "leave"),
        (item("due", deferred=True), "ended", "stop"),
        (item("due", deferred=True), "unknown", "leave"),
        (item("due", deferred=True, deadline=NOW - OVERDUE_S - 1), "suspended", "stop"),
        (item("kept", delete_after=NOW - 1), "ended", "leave"),
    ],
)
def test_what_becomes_of_an_object_depends_on_its_state_and_its_owner(
    found: RemoteObject, owner: Owner, action: Action
) -> None:
    decision = decide_cleanup(found, owner, NOW)
    assert decision.action == action
    assert decision.reason


@pytest.mark.parametrize(
    ("found", "owner", "reason"),
    [
        (item("kept"), "running", "outlives its run on purpose"),
        (item("leaving"), "running", "is being deleted"),
        (replace(item("leaving"), held_by="foreground"), "ended", "is being deleted; held by foreground"),
        (item("superseded"), "running", "another copy is used in its place"),
        (item("running", deadline=NOW - OVERDUE_S - 1), "running", "its time is over"),
        (item("running"), "ended", "its owner has ended"),
        (item("due", deferred=True), "suspended", "its turn has come"),
        (item("running"), "unknown", "its owner could not be asked about"),
        (item("running"), "suspended", "its owner lives"),
        (item("finished", deferred=True), "suspended", "its flow waits for the verdict"),
        (item("finished", deferred=True), "running", "its flow will wait for the verdict"),
        (item("finished", delete_after=NOW - 1), "ended", "its time to live is over"),
        (item("finished", deferred=True), "ended", "has finished"),
    ],
)
def test_a_decision_tells_a_person_its_reason(found: RemoteObject, owner: Owner, reason: str) -> None:
    assert decide_cleanup(found, owner, NOW).reason == reason


@pytest.mark.parametrize(("state", "owner"), list(product(STATES, OWNERS)))
def test_only_what_has_no_owner_or_is_superseded_is_stopped_before_its_time(state: State, owner: Owner) -> None:
    for deferred, after in product([False, True], [None, NOW - 1, NOW + 1]):
        stopped = decide_cleanup(item(state, deferred, after), owner, NOW).action == "stop"
        is_orphan = state in ("running", "waiting", "due") and owner == "ended"
        # What another copy is used in place of is stopped, whoever owns both.
        assert stopped == (is_orphan or state == "superseded")


def test_an_object_without_an_owner_has_none() -> None:
    bare: dict[str, Any] = {"runtime": "ray", "place": "", "kind": "job", "name": "x", "uid": "1", "state": "running"}
    assert (RemoteObject(**bare).owner, RemoteObject(**bare).is_deferred) == ("", False)


def test_an_object_is_known_by_its_labels() -> None:
    owned = item("running", deferred=True)
    assert (owned.owner, owned.is_deferred, item("running").is_deferred) == ("flow", True, False)
