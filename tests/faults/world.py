"""A small world in one thread and virtual time: a Windmill, a Kubernetes API and a Ray dashboard in memory, and a
history of what really happened there.

The runners and the reconcile pass are the real ones. Each request and each pause of theirs is an interaction; a plan
says what else happens at which one: the step is killed, its object ends or is deleted, the API fails, a second copy of
the step runs, a flow is cancelled, the reaper passes by. So every interleaving that requests can show can be planned,
and is the same each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from f.flexcore.lib.core.errors import FlexcoreError, NotFound, Unreachable
from f.flexcore.lib.core.remote_objects import Owner
from f.flexcore.lib.operations.reconciler import ReconcileRow
from tests.faults.invariants import Ended, Event, Gone, Owned, Reported, Stopped, Text, Told

Json = dict[str, Any]
Actor = Literal["step", "reaper", "somebody"]
SECRET = "sesame-open-1234"
EPOCH = 1_800_000_000.0
# A request over a network takes a moment, so that no two events share one.
REQUEST_S = 0.01


class Killed(BaseException):
    """SIGKILL: no handler of the step runs any more."""


class Cut(Exception):
    """The connection breaks and no answer comes."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Thing:
    """A remote object. status: pending, running, succeeded, failed or stopped; leaving: when it will be gone;
    deadline: when its cluster ends it, in true time."""

    uid: str
    name: str
    key: str
    owner: str
    labels: dict[str, str]
    body: Json
    made_at: float
    deadline: float
    status: str = "pending"
    ended_at: float = 0.0
    suspended: bool = False
    leaving: float | None = None

    @property
    def ended(self) -> bool:
        return self.status in ("succeeded", "failed", "stopped")


class World:
    """now: true time in seconds; skew: how much our own clock is ahead of the cluster's, which is true."""

    def __init__(self) -> None:
        self.now = EPOCH
        self.skew = 0.0
        self.history: list[Event] = []
        self.jobs: dict[str, Owner] = {}
        self.resumed: list[str] = []
        self.windmill_down = False
        self.things: dict[str, Thing] = {}
        self.faults: list[str] = []
        self.outage_until = 0.0
        self.linger_s = 12.0
        self.stop_honoured = True
        self.plan: list[tuple[int, Callable[[], None]]] = []
        self.acting: Actor = "somebody"
        self._made = 0
        self._told: dict[str, str] = {}

    # --- time and interactions

    def clock(self) -> float:
        """Our own time of day, which somebody may set."""
        return self.now + self.skew

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.advance(max(seconds, 0.0))
        self.interact()

    def advance(self, seconds: float) -> None:
        self.now += seconds
        for thing in list(self.things.values()):
            if not thing.ended and not thing.suspended and self.now >= thing.deadline:
                self.end(thing, "failed")
            if thing.leaving is not None and self.now >= thing.leaving:
                self.remove(thing)

    def interact(self) -> None:
        """What the plan has for this moment. Something that happens meanwhile is not part of what was interrupted."""
        self.plan = [(left - 1, action) for left, action in self.plan]
        due = [action for left, action in self.plan if left <= 0]
        self.plan = [(left, action) for left, action in self.plan if left > 0]
        for action in due:
            action()

    @contextmanager
    def as_actor(self, actor: Actor) -> Iterator[None]:
        before, self.acting = self.acting, actor
        try:
            yield
        finally:
            self.acting = before

    def note(self, event: Event) -> None:
        self.history.append(event)

    def say(self, text: str) -> None:
        self.note(Text(self.now, "log", text))

    # --- the cluster's side

    def new_uid(self) -> str:
        self._made += 1
        return f"uid-{self._made}"

    def start(self, thing: Thing) -> None:
        if thing.status == "pending":
            thing.status = "running"

    def end(self, thing: Thing, status: str) -> None:
        if not thing.ended:
            thing.status, thing.ended_at = status, self.now
            self.note(Ended(self.now, thing.uid, status == "succeeded"))

    def stop(self, thing: Thing, leave: bool) -> None:
        """Somebody (`acting`) asks to end it; leave: and to take it away."""
        self.note(Stopped(self.now, thing.uid, self.acting, overdue=self.now > thing.deadline))
        if leave and thing.leaving is None:
            thing.leaving = self.now + (0.0 if thing.ended else self.linger_s)
            if thing.ended:
                self.remove(thing)

    def remove(self, thing: Thing) -> None:
        if self.things.get(thing.name) is thing:
            del self.things[thing.name]
            self.note(Gone(self.now, thing.uid))

    def live(self) -> list[Thing]:
        return [thing for thing in self.things.values() if not thing.ended]

    def shown(self, thing: Thing) -> None:
        if self._told.get(thing.uid) != thing.status:
            self._told[thing.uid] = thing.status
            self.note(Told(self.now, thing.uid, thing.status))

    def passing_fault(self) -> Answer | None:
        """The answer of a server that has a bad moment; None when it has none. Raises Cut."""
        if self.now < self.outage_until:
            raise Cut
        kind = self.faults.pop(0) if self.faults and self.faults[0] != "cut after" else ""
        if kind == "cut":
            raise Cut
        said = {"kind": "Status", "message": f"token {SECRET} is busy", "code": int(kind or 0)}
        return Answer(int(kind), said, {"Retry-After": "1"} if kind == "429" else {}) if kind else None

    def cut_after(self) -> bool:
        """Whether this request takes effect and its answer is lost."""
        if self.faults and self.faults[0] == "cut after":
            self.faults.pop(0)
            return True
        return False

    # --- Windmill's side

    def owns(self, job: str, state: Owner) -> None:
        if (self.jobs.get(job) == "ended") != (state == "ended") or job not in self.jobs:
            self.note(Owned(self.now, job, alive=state != "ended"))
        self.jobs[job] = state


class Jobs:
    """The world's Windmill, as the reconcile pass asks it."""

    workspace = "test"

    def __init__(self, world: World) -> None:
        self.world = world

    def queued_jobs(self) -> dict[str, Json]:
        self._ask()
        return {
            job: {"id": job, "suspend": int(state == "suspended")}
            for job, state in self.world.jobs.items()
            if state in ("running", "suspended")
        }

    def look_up(self, ids: list[str]) -> dict[str, Owner]:
        self._ask()
        return {job: self.world.jobs.get(job, "unknown") for job in ids}

    def resume(self, flow_job: str, payload: Json) -> str:
        self._ask()
        if self.world.jobs.get(flow_job) == "suspended":
            self.world.owns(flow_job, "running")
            self.world.resumed.append(flow_job)
        return "resumed"

    def arguments(self, job: str) -> Json:
        self._ask()
        raise NotFound(f"There is no job {job}")

    def _ask(self) -> None:
        self.world.advance(REQUEST_S)
        self.world.interact()
        if self.world.windmill_down:
            raise Unreachable("Windmill does not answer")


def run_step(world: World, key: str, work: Callable[[], tuple[str | None, str] | None]) -> bool | None:
    """Runs a step to its end and notes what it said: True, False, or None when it was killed meanwhile.

    work: returns the uid of the object that did it, and its whole result as text; None when it has only submitted. An
    error that is none of ours is let through: no step may end in one.
    """
    with world.as_actor("step"):
        try:
            done = work()
        except Killed:
            return None
        except FlexcoreError as error:
            world.note(Text(world.now, "error", f"{error} {error.__dict__}"))
            world.note(Reported(world.now, key, False))
            return False
        if done:
            world.note(Text(world.now, "result", done[1]))
            world.note(Reported(world.now, key, True, done[0]))
        return True


def reconcile(world: World, run: Callable[[], list[ReconcileRow]]) -> list[ReconcileRow]:
    """One pass of the reaper; a Windmill that cannot be asked ends it."""
    with world.as_actor("reaper"):
        try:
            lines = run()
        except FlexcoreError as error:
            world.note(Text(world.now, "reaper", str(error)))
            return []
    world.note(Text(world.now, "reaper", str(lines)))
    return lines
