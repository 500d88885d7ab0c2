"""What must hold over the history of any run, however bad its day was. Pure: a list of events in, breaches out.

I1  at most one live remote object per key
I2  a step succeeds only when its very object (uid) was seen to have succeeded
I3  what is not found is never taken for a success
I4  what a dead or cancelled flow owns is gone within a given time
I5  a status never goes backwards, nor does the number of the attempt
I6  no secret value in anything that leaves a step
I7  Meltano's state never passes what its target has confirmed
I8  the reaper stops nothing whose owner lives, or is not ours

A history is what the outside world could have written down: the cluster (Created, Ended, Stopped, Gone), Windmill
(Owned), the step's own words (Told, Reported, Text), Meltano's state and target (State). Seconds are of one true clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

NAMES = ("I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8")
# A status may stay or go on to a higher one.
RANKS = {"pending": 0, "running": 1, "succeeded": 2, "failed": 2, "stopped": 2}
TERMINAL = 2


@dataclass(frozen=True, slots=True)
class Event:
    at: float


@dataclass(frozen=True, slots=True)
class Created(Event):
    """A remote object came to be. key: of its execution; owner: the Windmill job that it belongs to; kept: it outlives
    its run on purpose."""

    uid: str
    key: str
    owner: str = ""
    attempt: int = 1
    kept: bool = False
    ours: bool = True


@dataclass(frozen=True, slots=True)
class Ended(Event):
    """It does not work any more, whether or not it is still listed."""

    uid: str
    success: bool


@dataclass(frozen=True, slots=True)
class Stopped(Event):
    """Somebody asked to stop or delete it. overdue: it was past its time by then."""

    uid: str
    by: Literal["step", "reaper", "somebody"] = "somebody"
    overdue: bool = False


@dataclass(frozen=True, slots=True)
class Gone(Event):
    """It is there no more, and neither is any process of it."""

    uid: str


@dataclass(frozen=True, slots=True)
class Owned(Event):
    """What became of a Windmill job."""

    owner: str
    alive: bool


@dataclass(frozen=True, slots=True)
class Told(Event):
    """A status that a step or a listing gave of an object."""

    uid: str
    status: str


@dataclass(frozen=True, slots=True)
class NotFound(Event):
    """The object was asked for, and the answer was that there is none."""

    uid: str


@dataclass(frozen=True, slots=True)
class Reported(Event):
    """How a step ended."""

    key: str
    success: bool
    uid: str | None = None


@dataclass(frozen=True, slots=True)
class Text(Event):
    """Something that leaves a step: a log line, a result, an error, a label, a stored file."""

    where: str
    text: str


@dataclass(frozen=True, slots=True)
class State(Event):
    """A bookmark that was stored for a stream, and up to where the target had confirmed rows by then."""

    stream: str
    bookmark: int
    confirmed: int


@dataclass(frozen=True, slots=True)
class Breach:
    invariant: str
    what: str


def breaches(
    history: Iterable[Event], secrets: Sequence[str] = (), gone_within_s: float = 60.0, until: float | None = None
) -> list[Breach]:
    """Every breach of an invariant. until: the moment up to which the history was recorded (None: its last event)."""
    events = sorted(history, key=lambda event: event.at)
    end = until if until is not None else (events[-1].at if events else 0.0)
    found: list[Breach] = []
    checks: dict[str, Callable[[], Iterator[str]]] = {
        "I1": lambda: _doubles(events),
        "I2": lambda: _unseen_successes(events),
        "I3": lambda: _successes_of_nothing(events),
        "I4": lambda: _left_behind(events, gone_within_s, end),
        "I5": lambda: _backwards(events),
        "I6": lambda: _leaks(events, secrets),
        "I7": lambda: _lost_rows(events),
        "I8": lambda: _wrongly_reaped(events),
    }
    for name in NAMES:
        found += [Breach(name, what) for what in checks[name]()]
    return found


def check(history: Iterable[Event], **more: object) -> None:
    """Raises AssertionError with every breach and the history that led there."""
    events = list(history)
    found = breaches(events, **more)  # type: ignore[arg-type]
    lines = [f"{item.invariant}: {item.what}" for item in found]
    assert not found, "\n".join(
        [*lines, "history:", *(f"  {event}" for event in events if not isinstance(event, Text))]
    )


def _doubles(events: Sequence[Event]) -> Iterator[str]:
    live: dict[str, str] = {}
    for event in events:
        match event:
            case Created(uid=uid, key=key, kept=False):
                others = [other for other, its in live.items() if its == key]
                if others:
                    yield f"{uid} was created for {key} while {', '.join(others)} lived"
                live[uid] = key
            case Ended(uid=uid) | Gone(uid=uid):
                live.pop(uid, None)


def _unseen_successes(events: Sequence[Event]) -> Iterator[str]:
    succeeded, owner_key = set(), {}
    for event in events:
        match event:
            case Created(uid=uid, key=key):
                owner_key[uid] = key
            case Ended(uid=uid, success=True):
                succeeded.add(uid)
            case Reported(success=True, key=key, uid=uid):
                if uid is None or uid not in succeeded:
                    yield f"{key} was reported as done, and its object {uid} was not seen to succeed"
                elif owner_key.get(uid, key) != key:
                    yield f"{key} was reported as done by the object {uid} of {owner_key[uid]}"


def _successes_of_nothing(events: Sequence[Event]) -> Iterator[str]:
    missing, seen = set(), set()
    for event in events:
        match event:
            case Told(uid=uid, status="succeeded"):
                seen.add(uid)
            case NotFound(uid=uid) | Gone(uid=uid):
                missing.add(uid)
            case Reported(success=True, key=key, uid=uid):
                if uid in missing and uid not in seen:
                    yield f"{key} was reported as done although {uid} was not there any more"


def _left_behind(events: Sequence[Event], within_s: float, end: float) -> Iterator[str]:
    died: dict[str, float] = {}
    objects: dict[str, Created] = {}
    over: dict[str, float] = {}
    for event in events:
        match event:
            case Owned(owner=owner, alive=False):
                died.setdefault(owner, event.at)
            case Owned(owner=owner, alive=True):
                died.pop(owner, None)
            case Created(uid=uid):
                objects[uid] = event
            case Ended(uid=uid) | Gone(uid=uid):
                over.setdefault(uid, event.at)
    for uid, made in objects.items():
        if made.kept or not made.ours or made.owner not in died:
            continue
        limit = max(died[made.owner], made.at) + within_s
        if over.get(uid, end) > limit:
            yield f"{uid} of {made.owner} lived on {over.get(uid, end) - limit + within_s:.0f} s after its owner"


def _backwards(events: Sequence[Event]) -> Iterator[str]:
    told: dict[str, str] = {}
    attempts: dict[str, int] = {}
    for event in events:
        match event:
            case Told(uid=uid, status=status):
                before = told.get(uid, status)
                back = RANKS[status] < RANKS[before] or (RANKS[before] == TERMINAL and status != before)
                if back:
                    yield f"{uid} was {before} and then {status}"
                told[uid] = status
            case Created(uid=uid, key=key, attempt=attempt, kept=False):
                if attempt < attempts.get(key, 1):
                    yield f"{uid} is attempt {attempt} of {key} after attempt {attempts[key]}"
                attempts[key] = max(attempt, attempts.get(key, 1))


def _leaks(events: Sequence[Event], secrets: Sequence[str]) -> Iterator[str]:
    for event in events:
        if isinstance(event, Text):
            yield from (f"a secret stands in {event.where}" for secret in secrets if secret in event.text)


def _lost_rows(events: Sequence[Event]) -> Iterator[str]:
    for event in events:
        if isinstance(event, State) and event.bookmark > event.confirmed:
            yield f"the state of {event.stream} is at {event.bookmark}, its target has {event.confirmed}"


def _wrongly_reaped(events: Sequence[Event]) -> Iterator[str]:
    alive: dict[str, bool] = {}
    objects: dict[str, Created] = {}
    for event in events:
        match event:
            case Owned(owner=owner, alive=lives):
                alive[owner] = lives
            case Created(uid=uid):
                objects[uid] = event
            case Stopped(uid=uid, by="reaper", overdue=overdue):
                made = objects.get(uid)
                if made is None or not made.ours:
                    yield f"{uid} was stopped and is none of ours"
                elif made.kept:
                    yield f"{uid} was stopped and is kept on purpose"
                elif alive.get(made.owner, True) and not overdue:
                    yield f"{uid} was stopped while its owner {made.owner} lived"
