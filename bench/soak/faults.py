"""The faults of a soak, each in its time: steps, engine and head are killed, services are away for a while."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from bench.soak import measures
from bench.soak.ledger import Ledger
from bench.soak.places import Places
from tests.live.works import environment, step_processes

OUTAGE_S = (1.0, 6.0)
# Mean seconds between two faults of a kind.
STEP_KILL_INTERVAL_S, OUTAGE_INTERVAL_S = 25.0, 45.0
# An engine or head that lives shorter than this says little of its slopes.
LEAST_LIFE_S = 240.0
# Parts of the soak: an engine's memory is level after some two hundred runs only, a head's after some dozen jobs.
ENGINE_LIFE, HEAD_LIFE = 0.45, 0.3
Log = Callable[[str], None]


@dataclass(slots=True)
class Fault:
    """due_s: when it comes next, in seconds of the soak."""

    name: str
    due_s: float
    interval_s: float
    strike: Callable[[], int]
    is_random: bool = True


@dataclass(slots=True)
class Faults:
    """Strikes what is due; every fault is noted at the executions that it may have hit. counts: faults by name."""

    places: Places
    ledger: Ledger
    chance: random.Random
    log: Log
    length_s: float
    counts: dict[str, int] = field(default_factory=dict)
    _faults: list[Fault] = field(default_factory=list)
    _outages: list[threading.Timer] = field(default_factory=list)
    # Its one thread lives as long as the soak: a head ends with the thread that has started it.
    _starter: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "head"))
    _restart: Future[None] | None = None

    def __post_init__(self) -> None:
        life, head_life = (max(LEAST_LIFE_S, self.length_s * part) for part in (ENGINE_LIFE, HEAD_LIFE))
        self._faults = [
            Fault("step killed", 15, STEP_KILL_INTERVAL_S, self.kill_step),
            Fault("outage", 30, OUTAGE_INTERVAL_S, self.begin_outage),
            Fault("head killed", head_life / 3, head_life, self.kill_head, is_random=False),
        ]
        if self.places.engine:
            self._faults.append(Fault("engine killed", life, life, self.kill_engine, is_random=False))

    def strike(self, now_s: float) -> None:
        for fault in self._faults:
            if now_s < fault.due_s:
                continue
            hit = fault.strike()
            self.counts[fault.name] = self.counts.get(fault.name, 0) + 1
            self.log(f"{fault.name}: {hit} executions may have felt it")
            wait = self.chance.expovariate(1 / fault.interval_s) if fault.is_random else fault.interval_s
            fault.due_s = now_s + max(wait, 2.0)

    @property
    def is_restarting(self) -> bool:
        """Whether a killed head is not there again yet, which takes minutes on a busy machine. Raises RayHeadError."""
        if self._restart is None or not self._restart.done():
            return self._restart is not None
        self._restart.result()
        return False

    def stop(self) -> None:
        """Ends outages at once."""
        if self._restart:
            self._restart.result()
        for timer in self._outages:
            timer.cancel()
        for service in self.places.services:
            service.mend()

    def kill_step(self) -> int:
        """SIGKILL of one process that runs a step, once at most for each execution: it is not tried for ever."""
        live = [flow for flow, item in self.ledger.live.items() if "step killed" not in item.touched]
        self.chance.shuffle(live)
        for flow in live:
            pids = self._processes(flow)
            if pids:
                self.ledger.live[flow].touched.add("step killed")
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(self.chance.choice(pids), signal.SIGKILL)
                return 1
        return 0

    def _processes(self, flow: str) -> list[int]:
        if self.places.engine is None:
            return step_processes(flow)
        mark = f"WM_ROOT_JOB_ID={flow}".encode()
        return [pid for pid in measures.children(self.places.engine.pid) if mark in environment(pid).split(b"\0")]

    def begin_outage(self) -> int:
        service = self.chance.choice(self.places.services)
        seconds, is_cut = self.chance.uniform(*OUTAGE_S), self.chance.random() < 0.5
        service.fail(is_cut)
        timer = threading.Timer(seconds, service.mend)
        timer.daemon = True
        timer.start()
        self._outages = [item for item in self._outages if item.is_alive()] + [timer]
        self.log(f"{service.name} is {'cut off' if is_cut else 'answering 503'} for {seconds:.1f} s")
        return self.ledger.touch(f"{service.name} away", service.name)

    def kill_head(self) -> int:
        """The next one starts beside: what ends meanwhile is to be looked at before it is dropped."""
        hit = self.ledger.touch("head killed", "ray")
        self._restart = self._starter.submit(self.places.head.kill)
        return hit

    def kill_engine(self) -> int:
        engine = self.places.engine
        assert engine is not None
        hit = self.ledger.touch("engine killed")
        engine.kill()
        time.sleep(self.chance.uniform(0, 2))
        engine.start()
        return hit
