"""Passes of reconcile by `flexcore up`: what a canceled run has left on its Ray head is stopped, and a run that waits
for a job there goes on.

For the stack's own head alone. Clusters that others use as well belong to the schedule of reconcile on their server.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from flexcore.panel.local_resources import SETTINGS
from wmlocal.engine.runs import Runs

PATH = "f/flexcore/operations/reconcile"
# Jobs of the bundle that leave nothing on a cluster.
OVERHEAD = ("f/flexcore/operations/", "f/flexcore/dashboard/")
INTERVAL_S = 60.0
# After the last run: what it has left may take some minutes to end.
LINGER_S = 900.0


@dataclass(slots=True)
class LocalReconcile:
    """A pass each minute while something runs and for a while after it: an idle stack starts no jobs."""

    engine: Runs
    clock: Callable[[], float] = time.monotonic
    _next: float = field(default=0.0, init=False)
    _until: float = field(init=False)

    def __post_init__(self) -> None:
        # An earlier stack may have been killed.
        self._until = self.clock() + LINGER_S

    def tick(self) -> None:
        now = self.clock()
        live = {job.path or "" for job in list(self.engine.runtime.live.values()) if job.parent is None}
        if not all(path.startswith(OVERHEAD) for path in live):
            self._until = now + LINGER_S
        if self._next <= now <= self._until and PATH not in live and self.engine.bundle.script(PATH):
            self._next = now + INTERVAL_S
            self.engine.start(PATH, {"settings": f"$res:{SETTINGS}"})
