"""What is known of runs whose engine died, and how such a run is taken up again where it was.

The flow is gone through once more from its beginning, with the arguments and the definition that were stored. Each of
its jobs is found again by the flow that it belongs to, its step, and which of that step's jobs it was:

    ended before        not run again; what it ended with is handed on
    was being run       run again under its own id, so that a step finds what it had started elsewhere
    not there           started now

A success whose result held a secret was stored with a mask; such a job is run again as well.
"""

from __future__ import annotations

import json
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from wmlocal.engine.store import LIVE, STATUS_COLUMNS, Row, Store
from wmlocal.engine.variables import MASK

if TYPE_CHECKING:
    from wmlocal.engine.jobs import Job

DIED = "EngineDied"
Place = tuple[str, str | None, str, str | None]


class RecoveredJobs:
    """The jobs of the runs that this engine has taken up."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._jobs: dict[str, Row] = {}
        self._waiting: dict[Place, deque[str]] = {}

    def load(self, root: str) -> None:
        for row in self._store.jobs("root = ?", [root], limit=1_000_000, ascending=True, columns=STATUS_COLUMNS):
            self._jobs[row["id"]] = row
            if row["parent"]:
                place = (row["parent"], row["step_id"], row["kind"], row["path"])
                self._waiting.setdefault(place, deque()).append(row["id"])

    def forget(self, root: str) -> None:
        """The run has ended; what it did not come by again has ended with it."""
        for job in [key for key, row in list(self._jobs.items()) if row["root"] == root]:
            row = self._jobs.pop(job)
            self._waiting.pop((row["parent"], row["step_id"], row["kind"], row["path"]), None)
            if row["status"] in LIVE:
                self._store.fail_live(
                    job, json.dumps(death_result("the flow went another way when it was taken up again"))
                )

    def id_of(self, parent: str, step: str, kind: str, path: str | None) -> str:
        """The id of the next job of that step; empty when there was none."""
        known = self._waiting.get((parent, step, kind, path))
        return known.popleft() if known else ""

    def take_up(self, job: Job, engine: str) -> bool:
        """Whether the job is one of an earlier engine's; then it goes on as that one."""
        row = self._jobs.get(job.id)
        if row is None:
            return False
        job.created = row["created"]
        if row["status"] in LIVE or not self._is_whole(row):
            row["status"] = "queued"
            self._store.update_job(job.id, status="queued", engine=engine, result=None, finished=None)
        if "flow" in job.kind:
            job.started = row["started"]
        if row["canceled_by"]:
            job.cancel.request(row["canceled_by"], row["canceled_reason"] or "")
        return True

    def _is_whole(self, row: Row) -> bool:
        return row["status"] != "success" or MASK not in (self._store.result_text(row["id"]) or "")

    def has_ended(self, job: Job) -> bool:
        row = self._jobs.get(job.id)
        return row is not None and row["status"] not in LIVE

    def succeeded(self, job: Job) -> bool:
        return bool(self._jobs[job.id]["status"] == "success")

    def delay(self, job: Job, delay: float) -> float:
        """What is left of a pause before the job."""
        row = self._jobs.get(job.id)
        if row is None:
            return delay
        if row["started"] or self.has_ended(job):
            return 0.0
        return max(0.0, (row["scheduled"] or 0.0) - time.time())

    def went_past(self, flow: str, step: str) -> bool:
        """Whether the flow had begun the step, and so had waited for its approvals to the end."""
        return any(parent == flow and its == step and known for (parent, its, *_), known in list(self._waiting.items()))


def death_result(what: str) -> dict[str, Any]:
    return {"error": {"name": DIED, "message": what}}
