"""A job while it lives: who it is, whose child it is, and how it is canceled.

Identity is Windmill's: `root` is the outermost job, `innermost` the flow whose scope the results of a step belong to
(it starts anew at a subflow and at each iteration of a parallel loop, hence WM_ROOT_FLOW_JOB_ID's odd meaning).
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from wmlocal.engine.errors import WindmillError


class Cancel:
    """A request to stop that reaches a job and everything below it, at once."""

    def __init__(self, parent: Cancel | None = None) -> None:
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []
        self.event = threading.Event()
        self.by, self.reason = "", ""
        if parent:
            parent.listen(lambda: self.request(parent.by, parent.reason))

    @property
    def requested(self) -> bool:
        return self.event.is_set()

    def request(self, by: str, reason: str) -> None:
        with self._lock:
            if self.event.is_set():
                return
            self.by, self.reason = by, reason
            self.event.set()
            listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener()

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Calls the listener on cancel, at once if that has happened. Returns the way to stop listening."""
        with self._lock:
            if not self.event.is_set():
                self._listeners.append(listener)
                return lambda: self._ignore(listener)
        listener()
        return lambda: None

    def _ignore(self, listener: Callable[[], None]) -> None:
        with self._lock:
            if listener in self._listeners:
                self._listeners.remove(listener)

    def as_error(self) -> dict[str, str]:
        return {
            "message": f"Job canceled: {self.reason} by {self.by}",
            "name": "Canceled",
            "reason": self.reason,
            "canceler": self.by,
        }


class LeafJobs:
    """The latest job of each step id, for one scope; a step not found here is looked for in the enclosing scope."""

    def __init__(self, outer: LeafJobs | None) -> None:
        self.outer = outer
        self.of_step: dict[str, str | list[str]] = {}

    def find(self, step: str) -> str | list[str] | None:
        scope: LeafJobs | None = self
        while scope is not None:
            if step in scope.of_step:
                return scope.of_step[step]
            scope = scope.outer
        return None


@dataclass(slots=True, eq=False)
class Job:
    kind: str
    path: str | None
    args: dict[str, Any]
    step_id: str | None = None
    parent: Job | None = None
    innermost: str | None = None
    root: str = ""
    same_worker: bool = False
    timeout: float | None = None
    id: str = ""
    created: float = 0.0
    started: float | None = None
    scheduled: float | None = None
    depth: int = 0
    # Of what the job runs, as its file has them; a step of a flow has none, as on a server.
    labels: tuple[str, ...] = ()
    cancel: Cancel = field(default_factory=Cancel)
    # For the thread that waits for an outermost job.
    done: threading.Event = field(default_factory=threading.Event)
    ended: Any = None
    # For flow jobs only.
    leaf_jobs: LeafJobs = field(default_factory=lambda: LeafJobs(None))
    flow_env: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self.id = self.id or new_id()
        self.created = self.created or time.time()
        self.root = self.root or (self.parent.root if self.parent else self.id)
        if self.parent:
            self.depth = self.parent.depth + 1
            self.cancel = Cancel(self.parent.cancel)

    @property
    def runnable_path(self) -> str:
        return "tmp/main" if self.path is None else self.path


@dataclass(frozen=True, slots=True)
class Ended:
    """How a job ended, as the flow above sees it.

    `success` can differ from what is stored: a flow that its failure module recovered is stored as a success, and is
    a failure for the flow above. `stopped` is None unless the job stopped early; then it says whether that is a skip.
    """

    job: str
    success: bool
    result: Any
    stopped: bool | None = None
    error_handled: bool = False
    stored_success: bool | None = None
    identity: bool = False
    # Such an end may lead to the failure module, but to no retry, and is not passed over by continue_on_error.
    unrecoverable: bool = False

    @property
    def counts_as_success(self) -> bool:
        return self.success if self.stored_success is None else self.stored_success


@dataclass(frozen=True)
class Child:
    """A job to start. A flow has a value, a script has a way to run, an identity has neither."""

    kind: str
    path: str | None
    args: dict[str, Any]
    value: dict[str, Any] | None = None
    run: Callable[[Job], Ended] | None = None
    timeout: float | None = None
    error: WindmillError | None = None


def new_id() -> str:
    """Sortable by time, as Windmill's ids are (UUID version 7)."""
    now = int(time.time() * 1000)
    value = (now << 80) | (0x7 << 76) | (uuid.uuid4().int & ((1 << 76) - 1))
    return str(uuid.UUID(int=(value & ~(0x3 << 62)) | (0x2 << 62)))


@dataclass(frozen=True, slots=True)
class Event:
    """What happens, as it happens: for progress displays."""

    kind: str  # started | finished | suspended | retrying | log
    job: str
    parent: str | None
    root: str
    step_id: str | None
    path: str | None
    depth: int
    at: float
    is_flow: bool = False
    success: bool | None = None
    skipped: bool = False
    seconds: float | None = None
    message: str = ""
