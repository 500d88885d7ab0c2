"""The check of the invariants can fail: for each there is a history that breaks it, and one beside it that does not."""

from __future__ import annotations

import pytest

from tests.faults.invariants import (
    NAMES,
    Created,
    Ended,
    Event,
    Gone,
    NotFound,
    Owned,
    Reported,
    State,
    Stopped,
    Text,
    Told,
    breaches,
    check,
)

SECRET = "sesame-open-1234"
LIVES, DIES = Owned(0, "flow", alive=True), Owned(2, "flow", alive=False)
MADE = Created(1, "u1", "key", "flow")
WELL = [LIVES, MADE, Told(2, "u1", "running"), Told(3, "u1", "succeeded"), Ended(3, "u1", True)]
DONE = Reported(4, "key", True, "u1")

BROKEN: list[tuple[str, str, list[Event]]] = [
    ("I1", "two at once", [MADE, Created(2, "u2", "key", "flow", attempt=2)]),
    ("I2", "it failed", [MADE, Ended(2, "u1", False), DONE]),
    ("I2", "it still runs", [MADE, DONE]),
    ("I2", "a namesake succeeded", [MADE, Ended(2, "u1", True), Reported(4, "key", True, "u2")]),
    ("I2", "nobody knows which", [*WELL, Reported(4, "key", True, None)]),
    ("I2", "another step's object", [*WELL, Reported(4, "other", True, "u1")]),
    ("I3", "gone before anybody saw it succeed", [MADE, Ended(2, "u1", True), Gone(3, "u1"), DONE]),
    ("I3", "not found", [MADE, Ended(2, "u1", True), NotFound(3, "u1"), DONE]),
    ("I4", "never stopped", [LIVES, MADE, DIES, Told(100, "u1", "running")]),
    ("I4", "stopped too late", [LIVES, MADE, DIES, Gone(80, "u1")]),
    ("I4", "made after its owner died", [LIVES, DIES, Created(5, "u1", "key", "flow"), Told(99, "u1", "running")]),
    ("I5", "runs again", [MADE, Told(2, "u1", "succeeded"), Told(3, "u1", "running")]),
    ("I5", "failed after all", [MADE, Told(2, "u1", "succeeded"), Told(3, "u1", "failed")]),
    ("I5", "an attempt before", [Created(1, "a", "key", attempt=2), Ended(2, "a", False), Created(3, "b", "key")]),
    ("I6", "in a label", [MADE, Text(2, "label", f"owner-{SECRET}")]),
    ("I7", "past what was loaded", [State(1, "orders", bookmark=3, confirmed=2)]),
    ("I8", "its owner lives", [LIVES, MADE, Stopped(2, "u1", "reaper")]),
    ("I8", "nobody knows its owner", [MADE, Stopped(2, "u1", "reaper")]),
    ("I8", "not ours", [Created(1, "u1", "", "flow", ours=False), DIES, Stopped(3, "u1", "reaper")]),
    ("I8", "kept on purpose", [Created(1, "u1", "key", "flow", kept=True), DIES, Stopped(3, "u1", "reaper")]),
    ("I8", "its owner came back", [LIVES, MADE, DIES, Owned(3, "flow", alive=True), Stopped(4, "u1", "reaper")]),
]

SOUND: list[tuple[str, list[Event]]] = [
    ("nothing happened", []),
    ("a success", [*WELL, DONE]),
    ("gone after it was seen to succeed", [*WELL, Gone(3.5, "u1"), DONE]),
    ("a second attempt after the first has ended", [MADE, Ended(2, "u1", False), Created(3, "u2", "key", "flow", 2)]),
    ("reaped after its owner's end", [MADE, DIES, Stopped(30, "u1", "reaper"), Gone(40, "u1")]),
    ("stopped past its time while its owner lives", [LIVES, MADE, Stopped(99, "u1", "reaper", overdue=True)]),
    ("a kept object of a dead flow", [Created(1, "u1", "key", "flow", kept=True), DIES, Text(999, "log", "fine")]),
    ("its owner has just ended", [LIVES, MADE, DIES, Told(20, "u1", "running")]),
    ("a state of what was loaded", [State(1, "orders", 3, 3), State(2, "orders", 3, 5)]),
    ("a failure of what is not there", [MADE, NotFound(2, "u1"), Reported(3, "key", False)]),
]


@pytest.mark.parametrize(("name", "events"), [item[::2] for item in BROKEN], ids=[f"{n}-{w}" for n, w, _ in BROKEN])
def test_a_history_that_breaks_an_invariant_is_found(name: str, events: list[Event]) -> None:
    assert {item.invariant for item in breaches(events, [SECRET])} == {name}
    with pytest.raises(AssertionError, match=name):
        check(events, secrets=[SECRET])


@pytest.mark.parametrize("events", [events for _, events in SOUND], ids=[name for name, _ in SOUND])
def test_a_history_that_keeps_them_all_is_let_through(events: list[Event]) -> None:
    assert breaches(events, [SECRET]) == []


def test_every_invariant_can_be_broken() -> None:
    assert {name for name, _, _ in BROKEN} == set(NAMES)
