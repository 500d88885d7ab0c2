# requirements: flexcore_base
"""Executions of this bundle read from Windmill, listed newest first, and canceled."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.windmill import client, execution_models, live_runtimes

# Finished jobs that one call reads; Windmill answers a page of this size within some tens of milliseconds.
PAGE_SIZE = 200
# The most that one call reads.
MAX_PAGE_SIZE = 1000
# Jobs that one list reads before it returns what it has, with a cursor to go on from.
MAX_JOBS_READ = 2000
# Flows that wait or run at the same time; the queue is read to this depth.
MAX_LIVE_JOBS = 1000
MAX_WORKFLOWS = 1000
# Windmill has `created_before` inclusive, the local engine exclusive; what comes twice is dropped by the cursor.
CURSOR_MARGIN = timedelta(milliseconds=1)
LIVE_STATUSES = ("queued", "running", "suspended")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def list_workflows(windmill: client.Client) -> list[str]:
    """Names of the bundle's flows that are deployed and that the caller may see, in their order."""
    folder = execution_models.BUNDLE_FOLDER
    flows = windmill.get("flows/list", path_start=folder, per_page=MAX_WORKFLOWS)
    paths = (str(flow["path"]) for flow in flows)
    return sorted(path.removeprefix(folder) for path in paths if path.startswith(folder))


def read_execution(windmill: client.Client, id: str) -> execution_models.Job:
    """The job of an execution, whole. Raises NotFound, also for a job that is none of this bundle's executions."""
    missing = errors.NotFound(
        "There is no such execution", subject="id", remedy="Check the id, and that you may see it."
    )
    try:
        job = windmill.job(str(uuid.UUID(str(id))))
    except (ValueError, errors.NotFound):
        raise missing from None
    if not execution_models.is_execution(job):
        raise missing
    return job


def read_failed_step_job(windmill: client.Client, job: execution_models.Job) -> execution_models.Job | None:
    """The job of the step that failed; None when none did, or when it cannot be read."""
    if not execution_models.is_failure(execution_models.job_status(job)):
        return None
    step = execution_models.failed_step_job_id(job)
    try:
        return windmill.job(step) if step else None
    except errors.FlexcoreError:
        return None


def list_executions(
    windmill: client.Client,
    query: execution_models.ListQuery,
    since: datetime | None = None,
    until: datetime | None = None,
) -> tuple[list[execution_models.Job], str | None]:
    """At most `limit` executions, and the cursor for the next ones; None when there are no more. since, until: of their
    creation."""
    jobs: list[execution_models.Job] = []
    read = 0
    last: execution_models.Job | None = None
    for job in _newest_first(windmill, query, since, until):
        if len(jobs) == query.limit or read == MAX_JOBS_READ:
            return jobs, _position(last) if last else None
        read, last = read + 1, job
        if _matches(job, query):
            jobs.append(job)
    return jobs, None


def _matches(job: execution_models.Job, query: execution_models.ListQuery) -> bool:
    return (
        execution_models.is_execution(job)
        and query.status in (None, execution_models.job_status(job))
        and (query.runtime is None or query.runtime in execution_models.job_runtimes(job))
    )


def ended_since(windmill: client.Client, since: datetime) -> Iterator[client.Job]:
    """All that have ended since, without their results, read page by page; Windmill sorts them by their end, the local
    engine by their beginning."""
    query: dict[str, Any] = {"job_kinds": "flow", "has_null_parent": "true", "order_desc": "false"}
    query |= {"script_path_start": execution_models.BUNDLE_FOLDER, "completed_after": since.isoformat()}
    listed = windmill.pages("jobs/completed/list", MAX_PAGE_SIZE, **query)
    return (job for job in listed if execution_models.is_execution(job))


def _newest_first(
    windmill: client.Client, query: execution_models.ListQuery, since: datetime | None, until: datetime | None
) -> Iterator[execution_models.Job]:
    """Live and finished ones together; Windmill's own common list knows no pages."""
    filters: dict[str, Any] = {"job_kinds": "flow", "has_null_parent": "true", "order_desc": "true"}
    if query.workflow:
        filters["script_path_exact"] = execution_models.BUNDLE_FOLDER + query.workflow
    else:
        filters["script_path_start"] = execution_models.BUNDLE_FOLDER
    filters |= _created_between(query.cursor, since, until)
    live = live_runtimes.complete_jobs(windmill, windmill.get("jobs/queue/list", per_page=MAX_LIVE_JOBS, **filters))
    waiting = sorted((job for job in live if _is_after(job, query.cursor)), key=_position, reverse=True)
    live_ids = {job["id"] for job in waiting}
    # One more than is asked for says whether there are more.
    page_size = min(max(PAGE_SIZE, query.limit + 1), MAX_PAGE_SIZE)
    for job in _finished(windmill, filters, query.status, page_size):
        # One that ended between the two lists is in both.
        if not _is_after(job, query.cursor) or job["id"] in live_ids:
            continue
        while waiting and _position(waiting[0]) > _position(job):
            yield waiting.pop(0)
        yield job
    yield from waiting


def _position(job: execution_models.Job) -> str:
    """Sorts as the list does: microseconds since 1970, then the id."""
    created = execution_models.parse_instant(job["created_at"])
    assert created
    return f"{(created - EPOCH) // timedelta(microseconds=1):017d}_{job['id']}"


def _is_after(job: execution_models.Job, cursor: str) -> bool:
    return not cursor or _position(job) < cursor


def _finished(
    windmill: client.Client, filters: Mapping[str, Any], status: execution_models.Status | None, page_size: int
) -> Iterator[execution_models.Job]:
    """None for a status that no finished one has; of another, Windmill leaves out what it can."""
    if status in LIVE_STATUSES:
        return iter(())
    query = dict(filters)
    if status is not None:
        query["success"] = str(status in ("success", "skipped")).lower()
    return windmill.pages("jobs/completed/list", page_size, **query)


def _created_between(cursor: str, since: datetime | None, until: datetime | None) -> dict[str, str]:
    ends = [until] if until else []
    if cursor:
        ends.append(EPOCH + timedelta(microseconds=int(cursor.partition("_")[0])) + CURSOR_MARGIN)
    bounds = {"created_before": min(ends).isoformat()} if ends else {}
    return bounds | ({"created_after": since.isoformat()} if since else {})


def cancel_execution(windmill: client.Client, id: str, reason: str) -> execution_models.Job:
    """The job as it is now; it ends within some seconds, and to cancel it twice is the same as once.

    Raises NotFound, or Conflict when it has ended otherwise."""
    job = read_execution(windmill, id)
    if execution_models.job_status(job) == "canceled":
        return job
    _check_live(job)
    try:
        windmill.post(f"jobs_u/queue/cancel/{job['id']}", {"reason": clean_reason(reason)})
    except (errors.NotFound, errors.InvalidInput):
        # It ended in between.
        _check_live(read_execution(windmill, id))
        raise
    return read_execution(windmill, id)


def clean_reason(reason: str) -> str:
    """One line without control characters and halves of surrogates, which Windmill's database cannot hold."""
    return " ".join("".join(char if char.isprintable() else " " for char in reason).split())


def _check_live(job: execution_models.Job) -> None:
    if job.get("type") == "CompletedJob":
        raise errors.Conflict(
            f"Execution {job['id']} has ended already ({execution_models.job_status(job)})",
            subject="id",
            remedy="Nothing is left to do.",
        )
