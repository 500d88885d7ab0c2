# requirements: flexcore_base
"""Executions as the dashboard lists them: a first page, then only what has changed since.

cursor ─┬─ none, stale, or of another filter → the first page, `full`
        └─ fresh → those that live, and those that have ended since; an id that is in neither any more is `removed`
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from f.flexcore.lib.core import errors, redaction
from f.flexcore.lib.dashboard import shapes
from f.flexcore.lib.windmill import client, execution_models, executions, live_runtimes, result_figures

PAGE_ROWS = 500
OLDER_ROWS = 2000
# Results read for one answer: each is a request of some milliseconds, and a page is looked at from its top.
MAX_RESULTS_READ = 40
MAX_ERROR_CHARS = 200
# A page that was hidden for longer starts anew: what has ended meanwhile may be more than one page.
CURSOR_LIFE = timedelta(hours=1)
# Windmill notes the end of a job some moments before the list shows it.
CURSOR_MARGIN = timedelta(seconds=5)
MAX_CHANGED = 1000
# More live executions than that make a cursor too long to be sent.
MAX_LIVE_IN_CURSOR = 300


class PageQuery(execution_models.ListQuery):
    """limit: the API's own is lower, since its answers are whole executions."""

    limit: int = PAGE_ROWS


@dataclass(frozen=True, slots=True)
class Cursor:
    """at: by the server's clock; live: ids that had not ended."""

    at: datetime
    filter: str
    live: tuple[str, ...]

    def text(self) -> str:
        plain = {"at": self.at.isoformat(), "filter": self.filter, "live": self.live}
        return base64.urlsafe_b64encode(json.dumps(plain).encode()).decode()


def parse_cursor(text: str) -> Cursor | None:
    """None for what is no cursor of this version: the page then gets everything anew."""
    try:
        plain = json.loads(base64.urlsafe_b64decode(text.encode()))
        at = datetime.fromisoformat(plain["at"])
        return Cursor(at, str(plain["filter"]), tuple(map(str, plain["live"]))) if at.tzinfo else None
    except (ValueError, TypeError, KeyError):
        return None


def digest_filter(chosen: shapes.Filter) -> str:
    return hashlib.sha256(chosen.model_dump_json().encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Page:
    executions: shapes.Executions
    cursor: str
    full: bool


def read_page(windmill: client.Client, chosen: shapes.Filter, cursor: str, now: datetime) -> Page:
    """What has changed since the cursor, else the first page. Raises as the client does."""
    last = parse_cursor(cursor)
    fresh = last and last.filter == digest_filter(chosen) and timedelta(0) <= now - last.at <= CURSOR_LIFE
    changed = _read_changed(windmill, chosen, last) if last and fresh else None
    if changed is None:
        return _read_first(windmill, chosen, now)
    rows, removed, live = changed
    return Page(shapes.Executions(rows=rows, removed=removed), _cursor_text(now, chosen, live), False)


def read_older(windmill: client.Client, chosen: shapes.Filter, older: str) -> tuple[list[shapes.Row], str | None]:
    """At most OLDER_ROWS executions that are older than `older`, and the position for the next ones."""
    query = errors.validate(PageQuery, {**_conditions(chosen), "limit": OLDER_ROWS, "cursor": older}, "")
    jobs, position = executions.list_executions(windmill, query, chosen.since, chosen.until)
    return [row_from_job(job) for job in jobs], position


def _read_first(windmill: client.Client, chosen: shapes.Filter, now: datetime) -> Page:
    query = errors.validate(PageQuery, _conditions(chosen), "")
    with ThreadPoolExecutor(1) as beside:
        workflows = beside.submit(_list_workflows, windmill)
        jobs, older = executions.list_executions(windmill, query, chosen.since, chosen.until)
        jobs = [job for job in jobs if not is_for_later(job, now)]
        rows = _fill(windmill, jobs)
    counts = None if older else dict(Counter(row.status for row in rows))
    live = [row.id for row in rows if row.status in executions.LIVE_STATUSES]
    found = shapes.Executions(rows=rows, older=older, counts=counts, workflows=workflows.result())
    return Page(found, _cursor_text(now, chosen, live), True)


def _list_workflows(windmill: client.Client) -> list[str]:
    """[] where they cannot be listed: they are only offered as a filter, beside those of the rows."""
    try:
        return executions.list_workflows(windmill)
    except errors.FlexcoreError:
        return []


def _read_changed(
    windmill: client.Client, chosen: shapes.Filter, last: Cursor
) -> tuple[list[shapes.Row], list[str], list[str]] | None:
    """(rows, removed, live); None when it is too much for a change."""
    filters: dict[str, Any] = {"job_kinds": "flow", "has_null_parent": "true", "order_desc": "true"}
    if chosen.workflow:
        filters["script_path_exact"] = execution_models.BUNDLE_FOLDER + chosen.workflow
    else:
        filters["script_path_start"] = execution_models.BUNDLE_FOLDER
    queued = windmill.get("jobs/queue/list", per_page=executions.MAX_LIVE_JOBS, **filters)
    live = live_runtimes.complete_jobs(windmill, queued)
    ended_after = (last.at - CURSOR_MARGIN).isoformat()
    pages = windmill.pages("jobs/completed/list", executions.PAGE_SIZE, completed_after=ended_after, **filters)
    ended = []
    for job in pages:
        ended.append(job)
        if len(ended) > MAX_CHANGED:
            return None
    by_id = {str(job["id"]): job for job in [*live, *ended] if not is_for_later(job, last.at)}
    shown = [job for job in by_id.values() if execution_models.is_execution(job)]
    missing = [id for id in last.live if id not in by_id]
    shown += windmill.jobs(missing).values()
    kept = [job for job in shown if _matches(job, chosen)]
    kept.sort(key=lambda job: (str(job["created_at"]), str(job["id"])), reverse=True)
    ids = {str(job["id"]) for job in kept}
    still_live = [id for id in ids if _is_live(by_id.get(id))]
    return _fill(windmill, kept), [id for id in last.live if id not in ids], still_live


def _matches(job: execution_models.Job, chosen: shapes.Filter) -> bool:
    created = execution_models.parse_instant(job["created_at"])
    return (
        chosen.status in (None, execution_models.job_status(job))
        and chosen.runtime in (None, *execution_models.job_runtimes(job))
        and not (chosen.since and created and created < chosen.since)
        and not (chosen.until and created and created >= chosen.until)
    )


def _is_live(job: execution_models.Job | None) -> bool:
    return bool(job) and job is not None and execution_models.job_status(job) in executions.LIVE_STATUSES


def is_for_later(job: execution_models.Job, now: datetime) -> bool:
    """Whether it is the next run of a schedule, which Windmill keeps in its queue until its time comes."""
    due = execution_models.parse_instant(job.get("scheduled_for"))
    return bool(job.get("schedule_path")) and not job.get("running") and due is not None and due > now


def _conditions(chosen: shapes.Filter) -> dict[str, Any]:
    return {name: value for name in ("workflow", "runtime", "status") if (value := getattr(chosen, name))}


def _cursor_text(now: datetime, chosen: shapes.Filter, live: Iterable[str]) -> str:
    ids = tuple(sorted(live))
    return Cursor(now, digest_filter(chosen), ids).text() if len(ids) <= MAX_LIVE_IN_CURSOR else ""


def _fill(windmill: client.Client, jobs: list[execution_models.Job]) -> list[shapes.Row]:
    """Rows, with the figures and errors of the newest that have ended."""
    ended = [str(job["id"]) for job in jobs if execution_models.job_status(job) in ("success", "failure", "canceled")]
    whole = windmill.jobs(ended[:MAX_RESULTS_READ])
    return [row_from_job(whole.get(str(job["id"]), job)) for job in jobs]


def row_from_job(job: execution_models.Job) -> shapes.Row:
    """Of a listed job, or of a whole one, which knows its result."""
    item = execution_models.execution_from_job(job)
    fields = item.model_dump(exclude={"labels"})
    result = job.get("result")
    if execution_models.is_failure(item.status):
        fields["failed_step"] = execution_models.failed_step_id(job)
        fields["error"] = error_line(job)
    elif isinstance(result, Mapping):
        figures = result_figures.read_figures(result)
        fields["rows"] = None if figures.rows is None else int(figures.rows)
        fields["cost"], fields["currency"] = figures.cost_usd, None if figures.cost_usd is None else "USD"
    return shapes.Row.model_validate(fields)


def error_line(job: execution_models.Job) -> str | None:
    """One line of at most MAX_ERROR_CHARS; None when the result was not read."""
    if job.get("canceled"):
        reason = job.get("canceled_reason") or "no reason given"
        return _one_line(f"Canceled by {job.get('canceled_by') or 'someone'}: {reason}")
    if "result" not in job:
        return None
    return _one_line(execution_models.error_from_results(job["result"], None, None).message)


def _one_line(text: str) -> str:
    line = " ".join(redaction.Redactor().text(text[: 20 * MAX_ERROR_CHARS]).split())
    return line if len(line) <= MAX_ERROR_CHARS else line[: MAX_ERROR_CHARS - 1] + "…"
