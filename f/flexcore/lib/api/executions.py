# requirements: flexcore_api
"""Executions read from Windmill, listed newest first, started once for each idempotency key, and canceled.

The key, with the user and the workspace, makes the job's id: Windmill's own rule that an id exists once is what keeps a
repeat from starting a second execution. There is no store of keys that could be out of step with the jobs.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from f.flexcore.lib.api import execution_models, http, request_arguments
from f.flexcore.lib.core import errors
from f.flexcore.lib.windmill import client

# Finished jobs that one call reads; Windmill answers a page of this size within some tens of milliseconds.
PAGE_SIZE = 200
# Jobs that one list reads before it returns what it has, with a cursor to go on from.
MAX_JOBS_READ = 2000
# Flows that wait or run at the same time; the queue is read to this depth.
MAX_LIVE_JOBS = 1000
MAX_FLOWS = 1000
MAX_KEY_LENGTH = 255
MAX_REASON_LENGTH = 500
# Windmill has `created_before` inclusive, the local engine exclusive; what comes twice is dropped by the cursor.
CURSOR_MARGIN = timedelta(milliseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
STARTABLE_WORKFLOW = re.compile(r"(hybrid_pipeline|data_pipeline|templates/[a-z_][a-z0-9_]*)")
KEY_NAMESPACE = uuid.UUID("b1c2a6d4-52a5-4f0e-9a0e-5c3f6f1d7e90")


def read_execution(windmill: client.Client, id: str) -> execution_models.Job:
    """The job of an execution, whole. Raises NotFound, also for a job that is none of this bundle's executions."""
    missing = errors.NotFound(
        "There is no such execution", subject="id", remedy="Check the id, and that you may see it."
    )
    try:
        job = windmill.job(str(uuid.UUID(id)))
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
    windmill: client.Client, query: execution_models.ListQuery
) -> tuple[list[execution_models.Job], str | None]:
    """At most `limit` executions, and the cursor for the next ones; None when there are no more."""
    jobs: list[execution_models.Job] = []
    read = 0
    last: execution_models.Job | None = None
    for job in _newest_first(windmill, query):
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
        and (query.runtime is None or query.runtime == execution_models.job_runtime(job))
    )


def _newest_first(windmill: client.Client, query: execution_models.ListQuery) -> Iterator[execution_models.Job]:
    """Live and finished ones together; Windmill's own common list knows no pages."""
    filters: dict[str, Any] = {"job_kinds": "flow", "has_null_parent": "true", "order_desc": "true"}
    if query.workflow:
        filters["script_path_exact"] = execution_models.BUNDLE_FOLDER + query.workflow
    else:
        filters["script_path_start"] = execution_models.BUNDLE_FOLDER
    filters |= _created_before(query.cursor)
    live = windmill.get("jobs/queue/list", per_page=MAX_LIVE_JOBS, **filters)
    waiting = sorted((job for job in live if _is_after(job, query.cursor)), key=_position, reverse=True)
    live_ids = {job["id"] for job in waiting}
    for job in windmill.pages("jobs/completed/list", PAGE_SIZE, **filters):
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


def _created_before(cursor: str) -> dict[str, str]:
    if not cursor:
        return {}
    created = EPOCH + timedelta(microseconds=int(cursor.partition("_")[0]))
    return {"created_before": (created + CURSOR_MARGIN).isoformat()}


def list_workflows(windmill: client.Client) -> list[dict[str, Any]]:
    """Those that are deployed and that the caller may see: name, summary, description, schema."""
    folder = execution_models.BUNDLE_FOLDER
    flows = windmill.get("flows/list", path_start=folder, per_page=MAX_FLOWS)
    paths = (str(flow["path"]) for flow in flows)
    names = sorted(path.removeprefix(folder) for path in paths if path.startswith(folder))
    return [_workflow(windmill, name) for name in names if STARTABLE_WORKFLOW.fullmatch(name)]


def _workflow(windmill: client.Client, name: str) -> dict[str, Any]:
    flow = windmill.get(f"flows/get/{execution_models.BUNDLE_FOLDER}{name}")
    texts = {field: flow.get(field) or "" for field in ("summary", "description")}
    return {"name": name, **texts, "schema": request_arguments.public_schema(flow.get("schema") or {})}


def start_execution(windmill: client.Client, request: http.Request) -> tuple[execution_models.Job, bool]:
    """The job, and whether it had been started before. Raises InvalidInput, NotFound or Forbidden."""
    workflow, arguments = _parse_start(request)
    path = execution_models.BUNDLE_FOLDER + workflow
    schema = _read_schema(windmill, path)
    request_arguments.check_arguments(arguments, schema)
    arguments = request_arguments.with_defaults(arguments, schema)
    id = _job_id(windmill, request.key) if request.key else ""
    if id and (job := _find_job(windmill, id)):
        return _check_repeat(windmill, job, path, arguments), True
    try:
        id = windmill.run_flow(path, arguments, id)
    except errors.InvalidInput:
        # A repeat that came at the same time was first.
        if not (id and (job := _find_job(windmill, id))):
            raise
        return _check_repeat(windmill, job, path, arguments), True
    return windmill.job(id), False


def _parse_start(request: http.Request) -> tuple[str, dict[str, Any]]:
    fields = request.fields(("workflow", "arguments"), '{"workflow": "hybrid_pipeline", "arguments": {…}}')
    workflow, arguments = fields.get("workflow"), fields.get("arguments", {})
    if not isinstance(workflow, str) or not STARTABLE_WORKFLOW.fullmatch(workflow):
        raise errors.InvalidInput(
            "workflow: is not the name of a workflow that can be started",
            subject="workflow",
            remedy="Use hybrid_pipeline, data_pipeline or templates/NAME; GET flexcore/workflows lists them.",
        )
    if not isinstance(arguments, dict):
        raise errors.InvalidInput(
            "arguments: must be an object", subject="arguments", remedy="Send the flow's inputs by name."
        )
    return workflow, arguments


def _read_schema(windmill: client.Client, path: str) -> dict[str, Any]:
    try:
        return dict(windmill.get(f"flows/get/{path}").get("schema") or {})
    except errors.NotFound:
        raise errors.NotFound(
            f"There is no workflow {path.removeprefix(execution_models.BUNDLE_FOLDER)}",
            subject="workflow",
            remedy="GET flexcore/workflows lists those that are deployed and that you may see.",
        ) from None


def _job_id(windmill: client.Client, key: str) -> str:
    if len(key) > MAX_KEY_LENGTH or not key.isascii() or not key.isprintable():
        raise errors.InvalidInput(
            f"Idempotency-Key: must be 1 to {MAX_KEY_LENGTH} printable ASCII characters",
            subject="Idempotency-Key",
            remedy="Send a fresh UUID for each execution, and the same one when you repeat the request.",
        )
    user = windmill.get("users/whoami")["email"]
    return str(uuid.uuid5(KEY_NAMESPACE, f"{windmill.workspace}\n{user}\n{key}"))


def _find_job(windmill: client.Client, id: str) -> execution_models.Job | None:
    try:
        return windmill.job(id)
    except errors.NotFound:
        return None


def _check_repeat(
    windmill: client.Client, job: execution_models.Job, path: str, arguments: dict[str, Any]
) -> execution_models.Job:
    """The job that the key has started. Raises InvalidInput when the key was used for something else."""
    same = execution_models.is_execution(job) and job["script_path"] == path
    if not same or windmill.get(f"jobs_u/get_args/{job['id']}") != arguments:
        raise errors.InvalidInput(
            "Idempotency-Key: was used for another request",
            subject="Idempotency-Key",
            remedy="Send a fresh key for a new execution, and the same body when you repeat one.",
        )
    return job


def cancel_execution(windmill: client.Client, request: http.Request) -> execution_models.Job:
    """The job as it is now; it ends within some seconds, and to cancel it twice is the same as once.

    Raises NotFound, InvalidInput, or Conflict when it has ended otherwise."""
    reason, id = _parse_reason(request), request.params.get("id", "")
    job = read_execution(windmill, id)
    if execution_models.job_status(job) == "canceled":
        return job
    _check_live(job)
    try:
        windmill.post(f"jobs_u/queue/cancel/{job['id']}", {"reason": reason})
    except (errors.NotFound, errors.InvalidInput):
        # It ended in between.
        _check_live(read_execution(windmill, id))
        raise
    return read_execution(windmill, id)


def _check_live(job: execution_models.Job) -> None:
    if job.get("type") == "CompletedJob":
        raise errors.Conflict(
            f"Execution {job['id']} has ended already ({execution_models.job_status(job)})",
            subject="id",
            remedy="Nothing is left to do.",
        )


def _parse_reason(request: http.Request) -> str:
    reason = request.fields(("reason",), '{"reason": "…"} or nothing').get("reason", "cancelled by the API")
    if not isinstance(reason, str) or not 0 < len(reason) <= MAX_REASON_LENGTH:
        raise errors.InvalidInput(
            f"reason: must be text of 1 to {MAX_REASON_LENGTH} characters", subject="reason", remedy="Shorten it."
        )
    return reason
