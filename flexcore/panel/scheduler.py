"""The schedules of the bundle's files, run by the engine of `flexcore up` while it is there.

A schedule that is switched on starts its script or flow at each second that its cron expression names, in its time
zone, with its arguments; with `no_flow_overlap` not while a former run lives. Files are read again when they change.
What was missed while nothing ran is not caught up: a schedule that must not miss belongs on a Windmill. What could not
be started, such as on a full disk, is tried again for half a minute.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml

from f.flexcore.lib.core.errors import InvalidInput
from flexcore.panel.cron_times import CronTimes, parse_cron
from wmlocal.engine.errors import EngineError
from wmlocal.engine.runs import Runs

TICK_S = 0.5
READ_INTERVAL_S = 2.0
# A machine that slept does not do at once all that it has missed.
MAX_LATE_S = 30


@dataclass(frozen=True, slots=True)
class Schedule:
    file: str
    path: str
    times: CronTimes
    zone: ZoneInfo
    args: dict[str, Any]
    no_overlap: bool

    def is_due(self, second: int) -> bool:
        return self.times.names(datetime.fromtimestamp(second, self.zone))


@dataclass(slots=True)
class Scheduler:
    """report: gets a sentence for each start, and for each schedule that cannot be followed; problem: why none is
    followed now, "" while they are."""

    engine: Runs
    report: Callable[[str], None] = print
    clock: Callable[[], float] = time.time
    problem: str = ""
    _stopped: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _schedules: list[Schedule] = field(default_factory=list)
    _read_at: float = float("-inf")
    _last: int = 0
    _due: list[tuple[int, Schedule]] = field(default_factory=list)
    _problems: set[str] = field(default_factory=set)

    def start(self) -> None:
        self._last = int(self.clock())
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(TICK_S):
            self.follow()

    def follow(self) -> None:
        """One tick. What stands in its way is told once and kept as the problem; the next tick tries again."""
        problem = ""
        try:
            self.tick()
        except Exception as error:  # a full disk, a folder that goes while it is read: no end of every night
            problem = f"Schedules are not followed ({type(error).__name__}: {error})"
            if problem != self.problem:
                self._say(f"{problem}; this is tried again")
        self.problem = problem

    def tick(self) -> None:
        """Starts what is due since the last call, and what could not be started then."""
        now = int(self.clock())
        if now - self._read_at >= READ_INTERVAL_S:
            self._schedules = list(self._read())
            self._read_at = now
        first = max(self._last + 1, now - MAX_LATE_S)
        self._last = max(self._last, now)
        seconds = range(first, now + 1)
        self._due += [(second, item) for second in seconds for item in self._schedules if item.is_due(second)]
        self._start_due(now)

    def _start_due(self, now: int) -> None:
        """Each of them, whatever becomes of the others. Raises the last failure."""
        due, self._due, failure = self._due, [], None
        for second, schedule in due:
            if now - second > MAX_LATE_S:
                self._complain(f"{schedule.file}: {schedule.path} could not be started in time; this run is left out")
                continue
            try:
                self._begin(schedule)
            except Exception as error:  # of the store or the disk: the schedule itself is good
                self._due.append((second, schedule))
                failure = error
        if failure:
            raise failure

    def _begin(self, schedule: Schedule) -> None:
        live = [job.path for job in list(self.engine.runtime.live.values()) if job.parent is None]
        if schedule.no_overlap and schedule.path in live:
            self._say(f"{schedule.file}: the previous run of {schedule.path} is still running; this one is skipped")
            return
        try:
            job = self.engine.start(schedule.path, schedule.args)
        except EngineError as error:
            self._complain(f"{schedule.file}: {error}")
        else:
            self._say(f"{schedule.file}: started {schedule.path} as {job.id}")

    def _read(self) -> Iterator[Schedule]:
        for file in sorted(self.engine.bundle.root.glob("[fu]/**/*.schedule.yaml")):
            name = file.relative_to(self.engine.bundle.root).as_posix()
            try:
                document = read_schedule(name, file)
            except (OSError, ValueError, KeyError, yaml.YAMLError, InvalidInput) as error:
                self._complain(f"{name}: {error}")
                continue
            if document:
                yield document

    def _complain(self, problem: str) -> None:
        """Once for each problem: the files are read every other second."""
        if problem not in self._problems:
            self._problems.add(problem)
            self._say(problem)

    def _say(self, text: str) -> None:
        # The log is a file, too: a full disk must not make of a run that has started one that is started again.
        with suppress(OSError):
            self.report(text)


def read_schedule(name: str, file: Path) -> Schedule | None:
    """None for one that is switched off. Raises InvalidInput, ValueError, OSError or YAMLError."""
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    if not isinstance(document, dict) or not document.get("enabled"):
        return None
    times = parse_cron(str(document.get("schedule")), str(document.get("cron_version") or "v2"))
    zone = ZoneInfo(str(document.get("timezone") or "UTC"))
    path, args = str(document["script_path"]), document.get("args") or {}
    return Schedule(name, path, times, zone, args, bool(document.get("no_flow_overlap")))
