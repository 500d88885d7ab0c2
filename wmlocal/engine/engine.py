"""The engine as a library: open it on a bundle, run a path, get the result.

    with Engine(root) as engine:
        done = engine.run("f/x/y", {"k": 1})
        print(done.success, done.result)

An engine owns what it starts: leaving the `with` block, a signal, or the death of the process ends every step. A run
whose engine died is marked as failed by the next engine on the same home, or taken up again: see recovery.py.
"""

from __future__ import annotations

import contextlib
import select
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, Self

from wmlocal.engine.runs import JobResult, Runs, default_home

if TYPE_CHECKING:
    from starlette.types import ASGIApp

__all__ = ["SIGNALS", "Engine", "JobResult", "default_home"]

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def answering_signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Has Ctrl-C, termination and hang-up handled so, until the end of the block."""
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


class Engine(Runs):
    """Runs with the REST API of a server, which starts at the first connection."""

    _api: Any = None

    def start_listening(self) -> None:
        threading.Thread(target=self._serve_when_asked, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def handling_signals(self) -> Iterator[None]:
        """Ctrl-C, termination and hang-up cancel all that runs, and the caller still gets the (failed) results; where
        nothing runs, they raise KeyboardInterrupt."""

        def stop(number: int, frame: FrameType | None) -> None:
            if all(job.parent for job in list(self.runtime.live.values())):
                raise KeyboardInterrupt
            self.cancel_all(f"signal {signal.Signals(number).name}")

        with answering_signals(stop):
            yield

    def serve(self) -> None:
        """Starts the REST API now; otherwise it starts at the first connection."""
        if self._api is None:
            from wmlocal.engine.api import Server

            self._api = Server(self.application(), self._socket)
            self._api.start()

    def application(self) -> ASGIApp:
        """What answers on the engine's port; a subclass may put more around it."""
        from wmlocal.engine.api import application

        return application(self)

    def _serve_when_asked(self) -> None:
        """Importing a web server takes longer than most steps, and most steps never ask."""
        while not self._closing and self._api is None:
            with contextlib.suppress(OSError, ValueError):
                ready, _, _ = select.select([self._socket], [], [], 1)
                if ready and not self._closing:
                    self.serve()
                    return

    def stop_listening(self) -> None:
        if self._api:
            self._api.stop()
