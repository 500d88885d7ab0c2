"""The list of executions and shortened ids, beside an open dashboard and reconcile, on a server and on this machine.

A server's list of all jobs has one page, whatever page is asked for; those of what waits and what has ended have many.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from f.flexcore.lib.core.errors import InvalidInput, NotFound
from flexcore.client.executions import complete_id, latest
from flexcore.client.windmill import Windmill
from tests.wmlocal.engine.conftest import Writer, environments, home, write  # noqa: F401
from wmlocal.engine import Engine

NOW = datetime(2026, 11, 30, 3, tzinfo=UTC)
FLOW, READ, RECONCILE = "f/sales/nightly", "f/flexcore/dashboard/read_dashboard", "f/flexcore/operations/reconcile"
Job = dict[str, Any]


def make_job(path: str, seconds_ago: float, **more: Any) -> Job:
    """Its id begins with the time, as on both."""
    at = NOW - timedelta(seconds=seconds_ago)
    tail = uuid.uuid4().hex[12:]
    id = str(uuid.UUID(f"{int(at.timestamp() * 1000):012x}{tail}"))
    shown = {"id": id, "script_path": path, "created_at": at.isoformat().replace("+00:00", "Z"), "job_kind": "script"}
    return shown | {"type": "CompletedJob", "success": True, "duration_ms": 5} | more


def serve(jobs: list[Job]) -> Windmill:
    """A client of a server with these jobs, newest first."""

    def answer(request: httpx.Request) -> httpx.Response:
        query, path = request.url.params, request.url.path
        page, size = int(query.get("page", 1)), int(query.get("per_page", 30))
        if path.endswith("/jobs/list"):
            return httpx.Response(200, json=jobs[:size])
        of_queue = path.endswith("/jobs/queue/list")
        listed = [job for job in jobs if (job["type"] == "QueuedJob") is of_queue]
        return httpx.Response(200, json=listed[(page - 1) * size : page * size])

    return Windmill("http://windmill.example.com", "w", "t", transport=httpx.MockTransport(answer))


def housekeeping(hours: float) -> list[Job]:
    """What an open page and reconcile start meanwhile: 120 and 240 in an hour."""
    reads = [make_job(READ, 30.0 * number) for number in range(int(120 * hours))]
    passes = [make_job(RECONCILE, 15.0 * number + 7) for number in range(int(240 * hours))]
    return [*reads, *passes]


def newest_first(*jobs: Job) -> list[Job]:
    return sorted(jobs, key=lambda job: str(job["created_at"]), reverse=True)


def test_an_execution_of_hours_ago_is_listed_and_found_beside_an_open_dashboard_and_reconcile() -> None:
    wanted = make_job(FLOW, 6 * 3600)
    client = serve(newest_first(wanted, *housekeeping(8)))
    assert [run["id"] for run in latest(client, 20, None)] == [wanted["id"]]
    assert complete_id(client, wanted["id"][:8]) == wanted["id"]


def test_jobs_of_housekeeping_at_the_same_time_do_not_make_a_beginning_ambiguous() -> None:
    wanted = make_job(FLOW, 100)
    beside = [make_job(path, 100 + number / 100) for number, path in enumerate([READ, RECONCILE] * 5)]
    labeled = make_job("f/sales/copied_page", 100, labels=["dashboard"])
    client = serve(newest_first(wanted, labeled, *beside))
    assert complete_id(client, wanted["id"][:8].upper()) == wanted["id"]
    assert [run["id"] for run in latest(client, 20, None)] == [wanted["id"]]


def test_a_job_of_operations_is_found_where_no_execution_is_meant() -> None:
    learned = make_job("f/flexcore/operations/learn", 5000)
    client = serve(newest_first(learned, make_job(FLOW, 10), *housekeeping(1)))
    assert complete_id(client, learned["id"][:13]) == learned["id"]


def test_the_beginning_of_two_executions_is_refused_also_when_one_still_runs() -> None:
    both = [make_job(FLOW, 100), make_job(FLOW, 100.1, type="QueuedJob", running=True)]
    with pytest.raises(InvalidInput, match="2 runs have an id that begins with"):
        complete_id(serve(newest_first(*both, *housekeeping(1))), both[0]["id"][:8])


def test_what_waits_runs_and_has_ended_is_one_list_newest_first_without_doubles() -> None:
    running = make_job(FLOW, 50, type="QueuedJob", running=True)
    # It ended between the two lists.
    jobs = [make_job(FLOW, 10), running, {**running, "type": "CompletedJob"}, make_job(FLOW, 90)]
    listed = latest(serve(jobs), 20, None)
    assert [run["id"] for run in listed] == [jobs[0]["id"], running["id"], jobs[3]["id"]]
    assert latest(serve(jobs), 2, {FLOW}) == listed[:2] and latest(serve(jobs), 2, {"f/sales/other"}) == []


def test_a_beginning_that_no_job_has_is_told() -> None:
    with pytest.raises(NotFound, match="None of the latest runs"):
        complete_id(serve(housekeeping(1)), "ffffffff")


def test_the_embedded_engine_answers_the_same(home: Path, write: Writer) -> None:  # noqa: F811
    wanted, jobs = make_job(FLOW, 6 * 3600), housekeeping(8)
    with Engine(write.root, home) as engine:
        for job in (wanted, *jobs):
            created = datetime.fromisoformat(job["created_at"]).timestamp()
            times = {"created": created, "started": created, "finished": created + 1}
            engine.store.add_job(
                id=job["id"], kind="script", path=job["script_path"], root=job["id"], status="success", **times
            )
        engine.serve()
        with Windmill(engine.url, engine.workspace, engine.token) as client:
            assert [run["id"] for run in latest(client, 20, None)] == [wanted["id"]]
            assert complete_id(client, wanted["id"][:8]) == wanted["id"]
            assert complete_id(client, jobs[-1]["id"][:13]) == jobs[-1]["id"]
