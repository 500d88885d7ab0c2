"""The process that `flexcore up` leaves behind: it keeps the engine with its panel, and a Ray head as its child.

    python -m flexcore.panel.stack ROOT PORT [--without-ray]

One for each home, by a lock that ends with the process. What a killed one has left is ended before anything starts;
runs of its engine go on where they were. Schedules of the bundle are followed meanwhile. The head starts again when it
dies, and its resource then has its new address. When this process is killed the kernel ends the head, and the engine's
watchdog its steps.
"""

from __future__ import annotations

import argparse
import fcntl
import signal
import sqlite3
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from f.flexcore.lib.core.errors import FlexcoreError
from flexcore.panel.engine import PanelEngine
from flexcore.panel.local_reconcile import LocalReconcile
from flexcore.panel.local_resources import write_resources
from flexcore.panel.processes import Process
from flexcore.panel.scheduler import Scheduler
from flexcore.panel.stack_state import FAILED, NOT_STARTED, READY, STOPPED, TAKEN, StackState, StateFile
from wmlocal.engine.engine import SIGNALS, default_home
from wmlocal.engine.errors import EngineError
from wmlocal.engine.runs import check_port

if TYPE_CHECKING:
    from flexcore.ray_head import RayHead

WATCH_INTERVAL_S = 0.5
# Between two starts of a head that does not stay.
FIRST_PAUSE_S, MAX_PAUSE_S = 1.0, 60.0
# A head that lived so long did start; the next pause is short again.
STEADY_S = 120.0
# What keeps the stack or its head from starting: each says so itself.
TROUBLE = (EngineError, FlexcoreError, RuntimeError, OSError, sqlite3.Error)


class Stack:
    def __init__(self, root: Path, port: int, with_ray: bool, home: Path) -> None:
        self.root, self.port, self.home = root, port, home
        self.file = StateFile(home)
        self.head = open_head(home) if with_ray else None
        self.problem = ""
        self._started, self._pause = 0.0, FIRST_PAUSE_S
        self._engine: PanelEngine | None = None
        self._scheduler: Scheduler | None = None
        self.state = StackState(Process.current(), str(root))

    def run(self) -> None:
        """Until a signal ends it, which raises SystemExit here."""
        before = self.file.read()
        self.state = self.file.write(self.state)
        if before and before.ray_temp:
            from flexcore.ray_head import end_leftovers

            end_leftovers(Path(before.ray_temp))
        # Ray takes many seconds to say no.
        check_port(self.port)
        with ExitStack() as stack:
            if self.head:
                stack.callback(self.head.stop)
                self.start_head(self.head)
            self._publish()
            engine = PanelEngine(self.root, self.home, port=self.port, take_up=True, reasons=self.find_reasons)
            self._engine = stack.enter_context(engine)
            stack.callback(self._note_end)
            engine.serve()
            self._scheduler = Scheduler(engine, lambda text: print(text, flush=True))
            self._scheduler.start()
            stack.callback(self._scheduler.stop)
            self.state = self.file.write(self.state, phase=READY, url=engine.url)
            reconcile = LocalReconcile(engine)
            while True:
                time.sleep(WATCH_INTERVAL_S)
                if self.head:
                    self._look_after(self.head, reconcile)

    def _look_after(self, head: RayHead, reconcile: LocalReconcile) -> None:
        if not head.is_running():
            self._restart_head(head)
            return
        # A full disk ends no run: the next round tries again.
        with suppress(*TROUBLE):
            reconcile.tick()

    def start_head(self, head: RayHead) -> None:
        """Raises RayHeadError or OSError."""
        self._started = time.monotonic()
        head.start(wait=False)
        self.state = self.file.write(self.state, ray=head.address, ray_temp=str(head.temp))
        head.wait_ready()

    def _restart_head(self, head: RayHead) -> None:
        """Until it runs and its resource says where. What stands in the way, such as a full disk, ends no run: the next
        round tries again."""
        self._tell(f"The Ray head exited and is being restarted; see {head.log}")
        head.stop()
        self._pause = FIRST_PAUSE_S if time.monotonic() - self._started > STEADY_S else self._pause
        time.sleep(self._pause)
        self._pause = min(2 * self._pause, MAX_PAUSE_S)
        try:
            self.start_head(head)
            self._publish()
            self.problem = ""
        except TROUBLE as error:
            # Not one that runs where nobody is told of it.
            head.stop()
            self._tell(f"No Ray head: {error}")

    def _tell(self, problem: str) -> None:
        self.problem = problem.partition("\n")[0]
        # The log is on the disk that may be full.
        with suppress(OSError):
            print(problem, flush=True)

    def _publish(self) -> None:
        """Writes the resources: before the engine opens, since runs that it takes up name them."""
        from wmlocal.engine.store import Store

        store = Store(self.home)
        try:
            write_resources(store, self.root, self.home, self.head.resource if self.head else None)
        finally:
            store.close()

    def find_reasons(self) -> list[str]:
        """Why /readyz says no."""
        return [item for item in (self.problem, self._scheduler.problem if self._scheduler else "") if item]

    def _note_end(self) -> None:
        """The runs that end with the engine."""
        assert self._engine is not None
        live = [job.id for job in list(self._engine.runtime.live.values()) if job.parent is None]
        self.state = self.file.write(self.state, canceled=live)


def open_head(home: Path) -> RayHead:
    """Ray's part of the library is read only where it is wanted."""
    from flexcore.ray_head import RayHead

    return RayHead(home / "up/ray")


def hold(lock: Path) -> IO[str] | None:
    """The lock, for as long as the process lives; None when another one has it."""
    handle = lock.open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        return None
    return handle


def _end(number: int, *_: Any) -> None:
    for other in SIGNALS:
        # One is enough; what is being stopped must not be left half-way.
        signal.signal(other, signal.SIG_IGN)
    raise SystemExit(0)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("--without-ray", action="store_true")
    given = parser.parse_args()
    home = default_home()
    lock = hold(StateFile(home).lock)
    if lock is None:
        return TAKEN
    for number in SIGNALS:
        signal.signal(number, _end)
    stack = Stack(given.root, given.port, not given.without_ray, home)
    try:
        stack.run()
    except TROUBLE as error:
        stack.file.write(stack.state, phase=FAILED, error=str(error))
        return NOT_STARTED
    except SystemExit:
        with suppress(OSError):
            stack.file.write(stack.state, phase=STOPPED)
    finally:
        lock.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
