"""A Windmill that lists the jobs that have ended, and that cannot answer for some of them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from tests.operations.fake_windmill import FakeWindmill


class ListingWindmill(FakeWindmill):
    """refused: the status with which it answers for a job; a list has no results, and is sorted by the jobs' ends."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: dict[str, int] = {}

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        if path.endswith("/jobs/completed/list"):
            since = datetime.fromisoformat(query["completed_after"][0])
            jobs = sorted((job for job in self.ended.values() if _end(job) > since), key=_end)
            size, page = int(query["per_page"][0]), int(query["page"][0])
            listed = [{name: value for name, value in job.items() if name != "result"} for job in jobs]
            return 200, listed[(page - 1) * size : page * size]
        if status := self.refused.get(path.rsplit("/", 1)[-1]):
            return status, "no"
        return super().answer(method, path, query, body)

    def add(self, job: dict[str, Any]) -> str:
        self.ended[job["id"]] = job
        return str(job["id"])


def make_job(number: int, began: datetime, **more: Any) -> dict[str, Any]:
    """A flow that took a second."""
    return {
        "id": f"019375a0-0000-7000-8000-{number:012d}",
        "type": "CompletedJob",
        "job_kind": "flow",
        "script_path": "f/flexcore/templates/toy",
        "created_at": began.isoformat(),
        "started_at": began.isoformat(),
        "duration_ms": 1000,
        "success": True,
        "created_by": "bob",
        "result": {"success": True, "runtime": "ray", "execution_key": "fc-1", "attempt": 1, "data": {}},
        **more,
    }


def _end(job: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(job["started_at"]) + timedelta(milliseconds=job["duration_ms"])
