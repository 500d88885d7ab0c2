# requirements: flexcore_api
"""Reads executions from Windmill: one by its id, and lists, newest first, in a bounded number of calls."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from f.flexcore.lib.api import executions
from f.flexcore.lib.core import errors
from f.flexcore.lib.windmill import api

# Finished jobs that one call reads; Windmill answers a page of this size within some tens of milliseconds.
PAGE = 200
# Jobs that one list looks at before it hands out what it has, with a cursor to go on from.
MOST_SEEN = 2000
# Flows that wait or run at the same time; the queue is read to this depth.
MOST_LIVE = 1000
# Windmill has `created_before` inclusive, the local engine exclusive; what comes twice is dropped by the cursor.
MARGIN = timedelta(milliseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def found(windmill: api.Windmill, id: str) -> executions.Job:
    """The job of an execution, whole. Raises NotFound, also for a job that is none of this bundle's executions."""
    missing = errors.NotFound(
        "There is no such execution", subject="id", remedy="Check the id, and that you may see it."
    )
    try:
        job = windmill.get(f"jobs_u/get/{UUID(id)}", no_logs="true", no_code="true")
    except (ValueError, errors.NotFound):
        raise missing from None
    if not executions.is_execution(job):
        raise missing
    return dict(job)


def failed_step_job(windmill: api.Windmill, job: executions.Job) -> executions.Job | None:
    step = executions.failed_job(job) if executions.failing(executions.status_of(job)) else None
    try:
        return windmill.get(f"jobs_u/get/{step}", no_logs="true", no_code="true") if step else None
    except errors.FlexcoreError:
        return None


def listed(windmill: api.Windmill, wanted: executions.ListQuery) -> tuple[list[executions.Job], str | None]:
    """At most `limit` executions, and the cursor for the next ones; None when there are no more."""
    kept: list[executions.Job] = []
    seen = 0
    last: executions.Job | None = None
    for job in _newest_first(windmill, wanted):
        if len(kept) == wanted.limit or seen == MOST_SEEN:
            return kept, _position(last) if last else None
        seen, last = seen + 1, job
        if _fits(job, wanted):
            kept.append(job)
    return kept, None


def _fits(job: executions.Job, wanted: executions.ListQuery) -> bool:
    return (
        executions.is_execution(job)
        and wanted.status in (None, executions.status_of(job))
        and (wanted.runtime is None or wanted.runtime == executions.runtime_of(job))
    )


def _newest_first(windmill: api.Windmill, wanted: executions.ListQuery) -> Iterator[executions.Job]:
    """Live and finished ones together; Windmill's own common list knows no pages."""
    query: dict[str, Any] = {"job_kinds": "flow", "has_null_parent": "true", "order_desc": "true"}
    query |= (
        {"script_path_exact": executions.FOLDER + wanted.workflow}
        if wanted.workflow
        else {"script_path_start": executions.FOLDER}
    )
    before = _before(wanted.cursor)
    live = windmill.get("jobs/queue/list", per_page=MOST_LIVE, **query, **before)
    waiting = sorted((job for job in live if _is_after(job, wanted.cursor)), key=_position, reverse=True)
    known = {job["id"] for job in waiting}
    for job in _finished(windmill, query, before):
        # One that ended between the two lists is in both.
        if not _is_after(job, wanted.cursor) or job["id"] in known:
            continue
        while waiting and _position(waiting[0]) > _position(job):
            yield waiting.pop(0)
        yield job
    yield from waiting


def _finished(windmill: api.Windmill, query: dict[str, Any], before: dict[str, str]) -> Iterator[executions.Job]:
    page = 1
    while True:
        jobs = windmill.get("jobs/completed/list", per_page=PAGE, page=page, **query, **before)
        yield from jobs
        if len(jobs) < PAGE:
            return
        page += 1


def _position(job: executions.Job) -> str:
    """Sorts as the list does: microseconds since 1970, then the id."""
    created = executions.instant(job["created_at"])
    assert created
    return f"{(created - EPOCH) // timedelta(microseconds=1):017d}_{job['id']}"


def _is_after(job: executions.Job, cursor: str) -> bool:
    return not cursor or _position(job) < cursor


def _before(cursor: str) -> dict[str, str]:
    if not cursor:
        return {}
    created = EPOCH + timedelta(microseconds=int(cursor.partition("_")[0]))
    return {"created_before": (created + MARGIN).isoformat()}
