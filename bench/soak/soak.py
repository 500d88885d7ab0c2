"""One soak: keeps executions of all kinds under way for a given time, under faults, and measures meanwhile."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from bench.soak import measures, passes
from bench.soak.faults import Faults
from bench.soak.flows import Execution, Flows
from bench.soak.leaks import find_leaks
from bench.soak.ledger import Ledger, judge, outcome
from bench.soak.places import Places
from bench.soak.slopes import Sample

SAMPLE_INTERVAL_S = 5.0
RECONCILE_INTERVAL_S = 12.0
LOOP_PAUSE_S = 0.3
# After the last start: how long everything may take to end, faults being over.
DRAIN_TIMEOUT_S = 240.0
# A finished container is deleted by Kubernetes, a finished Ray job by reconcile, some time after its end.
SETTLE_TIMEOUT_S = 90.0
RECONCILE = "f/flexcore/operations/reconcile"
PASS_TIMEOUT_S = 120.0
PEAK_INTERVAL_S = 0.005
Json = dict[str, Any]


@dataclass(slots=True)
class Soak:
    """series: samples by name. What it leaves: see `report.py`."""

    places: Places
    length_s: float
    width: int
    seed: int
    log: Callable[[str], None]
    series: dict[str, list[Sample]] = field(default_factory=dict)
    leaks: list[str] = field(default_factory=list)
    ledger: Ledger = field(init=False)
    flows: Flows = field(init=False)
    faults: Faults = field(init=False)
    passes: int = 0
    rows_of_reconcile: int = 0
    _begun: float = 0.0
    _broken: list[Exception] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.places)
        self.flows = Flows(self.places, random.Random(self.seed))
        self.faults = Faults(self.places, self.ledger, random.Random(self.seed + 1), self._say, self.length_s)

    def run(self) -> None:
        """Raises what has ended a measurement: a soak that looks no more says nothing."""
        self._begun = time.monotonic()
        besides = self._measure, self._reconcile, self._keep_control_busy
        threads = [threading.Thread(target=self._keep_up, args=(work,), daemon=True) for work in besides]
        for thread in threads:
            thread.start()
        waiting = self.flows.first_of_each()
        while self._now() < self.length_s and not self._broken:
            while len(self.ledger.live) < self.width and not self.faults.is_restarting:
                self.ledger.start(waiting.pop() if waiting else self.flows.draw())
            waiting += self._look()
            if not self.faults.is_restarting:
                self.faults.strike(self._now())
            time.sleep(LOOP_PAUSE_S)
        self.faults.stop()
        self._drain()
        self._settle()
        self._over.set()
        for thread in threads:
            thread.join()
        if self._broken:
            raise self._broken[0]

    def _keep_up(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self._broken.append(error)

    def _now(self) -> float:
        return time.monotonic() - self._begun

    def _say(self, text: str) -> None:
        self.log(f"{self._now():7.1f} s  {text}")

    def _look(self) -> list[Execution]:
        """Takes down what has ended; what is to be started because of it."""
        more = []
        for execution in self.ledger.poll():
            seconds = (execution.ended_at or 0) - execution.started_at
            wrong = judge(execution)
            self._say(
                f"{execution.kind}: {outcome(execution)} after {seconds:.1f} s{f'; WRONG: {wrong}' if wrong else ''}"
            )
            if follow_up := self.flows.follow_up(execution):
                more.append(follow_up)
        return more

    def _drain(self) -> None:
        self._say(f"no more is started; {len(self.ledger.live)} are under way")
        deadline = time.monotonic() + DRAIN_TIMEOUT_S
        while self.ledger.live and time.monotonic() < deadline:
            self._look()
            time.sleep(LOOP_PAUSE_S)
        for execution in self.ledger.live.values():
            self._say(f"lost: {execution.kind} {execution.id}")

    def _settle(self) -> None:
        """Looks for what is left over until there is nothing, or the time is over."""
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        while (leaks := find_leaks(self.places)) and time.monotonic() < deadline:
            time.sleep(3)
        self.leaks = leaks
        for leak in leaks:
            self._say(f"left over: {leak}")

    # --- beside the executions

    def _reconcile(self) -> None:
        while not self._over.wait(RECONCILE_INTERVAL_S):
            self.places.cluster.collect_garbage()
            with suppress(httpx.HTTPError, OSError):
                body = {"settings": self.places.reconcile_settings}
                job = self.places.windmill.call("POST", f"jobs/run/p/{RECONCILE}", body)
                self.places.control.look_after()
                self._follow_pass(job)

    def _follow_pass(self, job: str) -> None:
        deadline = time.monotonic() + PASS_TIMEOUT_S
        peak = self._watch_pass(job, deadline) if self.places.engine else 0
        while time.monotonic() < deadline:
            answer = self._ask(job)
            if answer["completed"]:
                self.passes += 1
                if answer["success"]:
                    head, log = self.places.head, self._read_log(job)
                    jobs = measures.count_head_jobs(head.head.temp)
                    self.rows_of_reconcile += len(answer["result"]["table-row-object"])
                    self._keep(passes.MEMORY, peak / 1024 if peak else None, head.lives)
                    self._keep(passes.JOBS, jobs, head.lives)
                    self._keep(passes.OTHERS, passes.count_others(log, jobs))
                else:
                    self._say(f"a pass of reconcile failed: {str(answer['result'])[:200]}")
                return
            time.sleep(0.05)

    def _watch_pass(self, job: str, deadline: float) -> int:
        """The most memory that it held for itself, kB; 0 when it was over before it was seen. It is read as long as the
        process lives, since nobody knows it afterwards, and often: a pass needs most at its very end."""
        mark, engine = f"WM_JOB_ID={job}".encode(), self.places.engine
        found: list[int] = []
        while engine and not found and time.monotonic() < deadline and not self._ask(job)["completed"]:
            found = [pid for pid in measures.children(engine.pid) if measures.has_entry(pid, mark)]
            time.sleep(0.02)
        peak = 0
        while found and time.monotonic() < deadline:
            held = max(measures.read_status(pid, "RssAnon") for pid in found)
            if not held:
                break
            peak = max(peak, held)
            time.sleep(PEAK_INTERVAL_S)
        return peak

    def _ask(self, job: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.places.windmill.call(
            "GET", f"jobs_u/completed/get_result_maybe/{job}?get_started=false"
        )
        return answer

    def _read_log(self, job: str) -> str:
        return str(self.places.windmill.call("GET", f"jobs_u/get_logs/{job}"))

    def _keep_control_busy(self) -> None:
        """The head without flexcore gets as many jobs as all lives of the other one have had."""
        while not self._over.wait(SAMPLE_INTERVAL_S):
            lives: dict[int, float] = {}
            for sample in list(self.series.get("head_jobs", ())):
                lives[sample.life] = max(lives.get(sample.life, 0), sample.value or 0)
            with suppress(httpx.HTTPError, OSError):
                self.places.control.keep_pace(int(sum(lives.values())))

    def _measure(self) -> None:
        while not self._over.wait(SAMPLE_INTERVAL_S):
            # A busy database is measured again a few seconds later.
            with suppress(OSError, sqlite3.Error):
                self.measure()

    def measure(self) -> None:
        engine, head, control = self.places.engine, self.places.head, self.places.control
        for name, value in measures.measure_head("head", head.pid, head.head.temp).items():
            self._keep(name, value, head.lives)
        for name, value in measures.measure_head("control", control.pid, control.head.temp).items():
            self._keep(name, value)
        if engine is None:
            return
        for name, value in measures.measure_process("engine", [engine.pid]).items():
            self._keep(name, value, engine.lives)
        self._keep("engine_threads", measures.read_status(engine.pid, "Threads"), engine.lives)
        for name, value in measures.measure_database(engine.home / "engine.db").items():
            self._keep(name, value)
        self._keep(
            "temporary_entries", measures.count_entries(engine.temp, engine.home / "jobs", engine.home / "shared")
        )
        files, size = measures.measure_tree(self.places.folder / "store")
        self._keep("store_files", files)
        self._keep("store_mb", size)
        self._keep("remote_objects", self._count_objects())
        self._keep("executions_live", len(self.ledger.live))
        self._keep("executions_ended", len(self.ledger.ended))

    def _count_objects(self) -> int:
        return len(self.places.cluster.jobs()) + len(self.places.cluster.pods())

    def _keep(self, name: str, value: float | None, life: int = 0) -> None:
        self.series.setdefault(name, []).append(Sample(self._now(), value, life))

    @property
    def executions(self) -> list[Execution]:
        return [*self.ledger.ended, *self.ledger.live.values()]
