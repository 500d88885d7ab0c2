"""Whatever happens to steps, objects, flows, servers and the reaper, in whatever order: the invariants hold.

Each history is a sequence of rules, found by hypothesis and shrunk when it breaks one. A step's rule also has a plan of
what happens at which of its interactions; see world.py.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from f.flexcore.lib.core.identity import ExecutionKey, execution_key
from f.flexcore.lib.operations import reconciler
from tests.faults.invariants import check
from tests.faults.kubernetes_world import KubernetesWorld
from tests.faults.ray_world import RayWorld
from tests.faults.world import SECRET, Killed, World

TIMEOUT_S = 60
# Whatever lives after so many passes of a reaper that comes by every 15 s is left behind.
EVERY_S, PASSES = 15.0, 2
FLOWS = ("flow-1", "flow-2")
FAULTS = ("429", "500", "503", "cut", "cut after", "outage")
BETWEEN = ("start", "finish", "fail", "delete", "cancel", "skew", "head", "deaf", *FAULTS)
INSIDE = ("kill", "zombie", "reap", "copy", "retry", *BETWEEN)
Plan = list[tuple[int, str]]
flows = st.sampled_from(FLOWS)
plans = st.lists(st.tuples(st.integers(1, 30), st.sampled_from(INSIDE)), max_size=4)
# Most steps see their object end while they watch it.
ends = st.lists(st.tuples(st.integers(2, 12), st.sampled_from(("finish", "finish", "fail"))), max_size=1)


class Histories(RuleBasedStateMachine):
    """A few flows of one step each. Windmill runs a step anew after a worker's death (same call) or a failure (new
    call); what it was told of a success it does not ask again."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.runtime: Any = self.made()
        self.calls = 0
        self.done: set[str] = set()

    def made(self) -> Any:
        raise NotImplementedError

    def head_restarts(self) -> None:
        """Only Ray has a head that forgets its jobs."""

    # --- what happens

    @initialize()
    def flows_start(self) -> None:
        for flow in FLOWS:
            self.world.owns(flow, "running")

    @rule(flow=flows, again=st.booleans(), end=ends, plan=plans)
    def a_step_runs(self, flow: str, again: bool, end: Plan, plan: Plan) -> None:
        if self.startable(flow):
            self.calls += not again
            self.world.plan = self.planned(flow, [*plan, *end])
            self.step(flow, f"call-{self.calls}")

    @rule(flow=flows, plan=plans)
    def a_step_submits_and_its_flow_waits(self, flow: str, plan: Plan) -> None:
        if self.startable(flow):
            self.calls += 1
            self.world.plan = self.planned(flow, plan)
            submitted = self.runtime.run(key_of(flow), f"call-{self.calls}", TIMEOUT_S, defer=True)
            if submitted and self.world.jobs[flow] == "running":
                self.world.owns(flow, "suspended")

    @rule(flow=flows, kind=st.sampled_from(BETWEEN), seconds=st.sampled_from((0.0, 5.0, 200.0)))
    def something_happens(self, flow: str, kind: str, seconds: float) -> None:
        self.world.plan = []
        self.action(kind, flow)()
        self.world.advance(seconds)

    @rule(flow=flows, plan=plans, down=st.booleans())
    def the_reaper_passes(self, flow: str, plan: Plan, down: bool) -> None:
        self.world.plan = self.planned(flow, [(at, kind) for at, kind in plan if kind != "reap"])
        self.world.windmill_down = down
        self.runtime.reconcile()
        self.world.windmill_down = False

    # --- in the middle of a step

    def action(self, kind: str, flow: str) -> Any:
        world = self.world
        mine = key_of(flow).value

        def each(act: Any) -> None:
            for thing in world.live():
                if thing.key == mine:
                    act(thing)

        def kill() -> None:
            if world.acting == "step":
                raise Killed

        def delete() -> None:
            with world.as_actor("somebody"):
                each(lambda thing: world.stop(thing, leave=True))

        def cancel() -> None:
            world.owns(flow, "ended")
            kill()

        actions: dict[str, Any] = {
            "kill": kill,
            "start": lambda: each(world.start),
            "finish": lambda: each(lambda thing: world.end(thing, "succeeded")),
            "fail": lambda: each(lambda thing: world.end(thing, "failed")),
            "delete": delete,
            "cancel": cancel,
            # Windmill takes the worker for dead, and it is not.
            "zombie": lambda: world.owns(flow, "ended"),
            "reap": self.runtime.reconcile,
            "copy": lambda: self.step(flow, f"call-{self.calls}"),
            "retry": lambda: self.step(flow, f"call-{self.calls}-again"),
            "outage": lambda: setattr(world, "outage_until", world.now + 30),
            "skew": lambda: setattr(world, "skew", {0.0: 600.0, 600.0: -600.0}.get(world.skew, 0.0)),
            "head": self.head_restarts,
            "deaf": lambda: setattr(world, "stop_honoured", not world.stop_honoured),
        }
        return actions.get(kind) or (lambda: world.faults.append(kind))

    def planned(self, flow: str, plan: Plan) -> list[tuple[int, Any]]:
        return [(at, self.action(kind, flow)) for at, kind in plan]

    def step(self, flow: str, call: str) -> None:
        if self.runtime.run(key_of(flow), call, TIMEOUT_S):
            self.done.add(flow)

    def startable(self, flow: str) -> bool:
        """Windmill starts the step of a flow that runs and has no success of it."""
        return self.world.jobs[flow] == "running" and flow not in self.done

    # --- what must hold

    @invariant()
    def all_invariants_hold(self) -> None:
        check(self.world.history, secrets=[SECRET], gone_within_s=float("inf"))

    def teardown(self) -> None:
        """Every flow ends, the servers are well again, and the reaper comes by: nothing may be left."""
        world = self.world
        world.plan, world.faults, world.outage_until, world.stop_honoured = [], [], 0.0, True
        for flow in world.jobs:
            world.owns(flow, "ended")
        for _ in range(PASSES):
            world.advance(EVERY_S)
            self.runtime.reconcile()
        world.advance(EVERY_S)
        check(world.history, secrets=[SECRET], gone_within_s=float("inf"))
        left = [thing.uid for thing in world.live()]
        assert not left, f"left behind: {left}"


def key_of(flow: str) -> ExecutionKey:
    return execution_key({"WM_FLOW_JOB_ID": flow, "WM_FLOW_STEP_ID": "ml", "WM_WORKSPACE": "test"})


class OnKubernetes(Histories):
    def made(self) -> Any:
        return KubernetesWorld(self.world)


class OnRay(Histories):
    def made(self) -> Any:
        self.folder = Path(tempfile.mkdtemp())
        return RayWorld(self.world, self.folder)

    def head_restarts(self) -> None:
        for thing in list(self.world.things.values()):
            self.world.remove(thing)

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            shutil.rmtree(self.folder)


class InTurn:
    """A pool of no threads: a history is the same each time."""

    map = staticmethod(map)

    def __init__(self, at_once: int) -> None: ...

    def __enter__(self) -> InTurn:
        return self

    def __exit__(self, *_: object) -> None: ...


BOUNDED = settings(
    max_examples=60,
    stateful_step_count=15,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.slow
@pytest.mark.parametrize("machine", [OnKubernetes, OnRay])
def test_the_invariants_hold_over_any_history(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciler, "ThreadPoolExecutor", InTurn)
    run_state_machine_as_test(machine, settings=BOUNDED)
