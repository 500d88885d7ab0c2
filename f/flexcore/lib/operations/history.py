# requirements: flexcore_base
"""Windmill's own jobs as rows of history: no second store.

A data pipeline leaves its row in its result, where its label `workflow:TYPE` finds it. Of any other flow or script of
ours (TYPE is then its path) the row is made of the job and the StepResult that it ended with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError

from f.flexcore.lib.core import contracts, errors, pipeline_result, workloads
from f.flexcore.lib.operations import outcomes, weekly_report
from f.flexcore.lib.windmill import client

# A forecast gains nothing from more of them, and each costs a request to Windmill.
MAX_RUNS = 1000
FLOWS, FLOWS_AND_SCRIPTS = "flow", "flow,script"
PATH_PREFIXES = ("f/", "u/", "g/")
LIST_PAGE_SIZE = 1000
# Of one report: a list costs some ten milliseconds for a hundred jobs, each result some milliseconds.
MAX_OUTCOMES, MAX_RESULTS = 20_000, 2_000
MAX_PAGES = MAX_OUTCOMES // LIST_PAGE_SIZE
OUTERMOST_FLOWS = {"job_kinds": FLOWS, "has_null_parent": "true"}
# The bundle's flows, and flows of others with our label.
SCOPES = ({"script_path_start": outcomes.BUNDLE_FOLDER}, {"label": "flexcore"})
RECONCILE, ORPHANS_LABEL = "f/flexcore/operations/reconcile", "orphans"
MAX_PASSES = 1000
# Windmill's bounds are inclusive, and its times have microseconds: what ends at midnight is of one week alone.
SMALLEST_TIME = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Outcomes:
    """rows: the newest first. complete: whether there were no more than were read; read: of how many the result was."""

    rows: list[outcomes.Outcome]
    complete: bool
    read: int


def parse_time(text: str | None, field: str) -> datetime | None:
    """A time with its zone, UTC when the text names none; None for an empty text. Raises InvalidInput."""
    try:
        time = datetime.fromisoformat(text) if text else None
    except (TypeError, ValueError):
        remedy = "Write it as 2026-01-31T06:00:00+00:00."
        raise errors.InvalidInput(f"{field}: {text!r} is not a time", subject=field, remedy=remedy) from None
    return time and (time if time.tzinfo else time.replace(tzinfo=UTC))


def read_runs(
    windmill: client.Client,
    workflow_type: str,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int = MAX_RUNS,
) -> list[workloads.Run]:
    """The newest `limit` finished runs of a workflow type, newest first. Raises as the client does, and InvalidInput
    for a time range that ends before it begins."""
    if since and until and since >= until:
        remedy = "Give a since that is earlier than until."
        raise errors.InvalidInput("since is not before until", subject="since", remedy=remedy)
    bounds = {"started_after": since, "started_before": until}
    query: dict[str, Any] = {name: at.isoformat() for name, at in bounds.items() if at}
    if workflow_type.startswith(PATH_PREFIXES):
        query |= {"script_path_exact": workflow_type, "job_kinds": FLOWS_AND_SCRIPTS}
    else:
        query |= {"label": f"workflow:{workflow_type}", "job_kinds": FLOWS}
    return _runs(_read_whole_jobs(windmill, limit, query), workflow_type)


def read_pipeline_runs(windmill: client.Client, limit: int = MAX_RUNS) -> list[workloads.Run]:
    """The newest `limit` finished data pipelines of every type, newest first. Raises as the client does."""
    jobs = _read_whole_jobs(windmill, limit, {"label": "flexcore", "job_kinds": FLOWS})
    return _runs((job for job in jobs if _has_run(job)), "")


def read_outcomes(windmill: client.Client, since: datetime, until: datetime) -> Outcomes:
    """How every execution ended that ended in the time, whenever it began, and whether it did: the bundle's flows, and
    flows of others with our label. Raises as the client does. Costs, forecasts and reasons are of the newest
    MAX_RESULTS."""
    bounds = {"completed_after": since.isoformat(), "completed_before": (until - SMALLEST_TIME).isoformat()}
    query: dict[str, Any] = {**OUTERMOST_FLOWS, **bounds}
    found: dict[str, client.Job] = {}
    complete = True
    for scope in SCOPES:
        jobs = list(windmill.pages("jobs/completed/list", LIST_PAGE_SIZE, MAX_PAGES, **query, **scope))
        complete = complete and len(jobs) < MAX_OUTCOMES
        found |= {str(job["id"]): job for job in jobs if outcomes.is_work(job)}
    jobs = sorted(found.values(), key=outcomes.end_of_job, reverse=True)
    whole = windmill.jobs(str(job["id"]) for job in jobs[:MAX_RESULTS])
    # Only a whole job has the arguments, which say of a plan that was canceled that it was one.
    plans = {id for id, job in whole.items() if outcomes.is_plan(job)}
    rows = [
        outcomes.outcome_from_job(job, whole[job["id"]].get("result"), True)
        if job["id"] in whole
        else outcomes.outcome_from_job(job)
        for job in jobs
        if job["id"] not in plans
    ]
    return Outcomes(rows, complete, len(whole) - len(plans))


def count_unfinished(windmill: client.Client, until: datetime) -> int:
    """How many executions ran at that time and had not ended: those that have ended since, and those that still run."""
    query: dict[str, Any] = {**OUTERMOST_FLOWS, "started_before": until.isoformat()}
    # Windmill's list of the queue knows no labels.
    live = [job for job in windmill.queued_jobs(running="true", **query).values() if _is_ours(job)]
    query["completed_after"] = until.isoformat()
    for scope in SCOPES:
        live += windmill.pages("jobs/completed/list", LIST_PAGE_SIZE, MAX_PAGES, **query, **scope)
    return len({str(job["id"]) for job in live if outcomes.is_work(job)})


def _is_ours(job: client.Job) -> bool:
    """Whether one of SCOPES holds it."""
    is_bundles = str(job.get("script_path") or "").startswith(outcomes.BUNDLE_FOLDER)
    return is_bundles or "flexcore" in (job.get("labels") or ())


def read_week(windmill: client.Client, since: datetime, until: datetime) -> weekly_report.Week:
    """A week of executions for the report, with what could not be read of it. Raises as the client does."""
    found = read_outcomes(windmill, since, until)
    notes = []
    if not found.complete:
        notes.append(f"runs beyond the newest {MAX_OUTCOMES:,}")
    if found.read < len(found.rows):
        notes.append(f"cost, forecast and reason of {len(found.rows) - found.read:,} runs, whose results were not read")
    orphans, unfinished = count_orphans(windmill, since, until), count_unfinished(windmill, until)
    return weekly_report.Week(found.rows, notes, orphans, unfinished)


def count_orphans(windmill: client.Client, since: datetime, until: datetime) -> int | None:
    """How many remote objects without a living owner the passes of reconcile stopped; None when none ran."""
    bounds = {"started_after": since.isoformat(), "started_before": until.isoformat()}
    query: dict[str, Any] = {"script_path_exact": RECONCILE, **bounds}
    if not list(windmill.finished_jobs(1, success="true", **query)):
        return None
    passes = _read_whole_jobs(windmill, MAX_PASSES, {**query, "label": ORPHANS_LABEL})
    lines = [line for job in passes for line in (job.get("result") or {}).get("table-row-object") or ()]
    stopped = {str(line.get("object")) for line in lines if isinstance(line, dict) and line.get("action") == "stop"}
    return len(stopped)


def _read_whole_jobs(windmill: client.Client, limit: int, query: Mapping[str, Any]) -> list[client.Job]:
    """The jobs of a list with their results, which a list leaves out; without those that cannot be read."""
    ids = [str(job["id"]) for job in windmill.finished_jobs(limit, **query)]
    jobs = windmill.jobs(ids)
    return [jobs[id] for id in ids if id in jobs]


def _has_run(job: client.Job) -> bool:
    return bool(_row(job.get("result")))


def _row(result: Any) -> Mapping[str, Any]:
    """The row of history in a result; empty where there is none. A failure's `run` is the run's id."""
    row = result.get("run") if isinstance(result, Mapping) else None
    return row if isinstance(row, Mapping) else {}


def _runs(jobs: Iterable[client.Job], workflow_type: str) -> list[workloads.Run]:
    return [run for job in jobs if (run := run_from_job(job, workflow_type))]


def run_from_job(job: client.Job, workflow_type: str) -> workloads.Run | None:
    """The row of history; None for what says nothing of a runtime: canceled, refused, a plan, or no work of ours."""
    result = job.get("result")
    if not isinstance(result, dict) or job.get("canceled"):
        return None
    try:
        if row := _row(result):
            return workloads.Run.model_validate({**row, "started_at": job.get("started_at")})
        step = contracts.StepResult.model_validate(result)
        return workloads.Run(
            workflow_type=workflow_type,
            runtime=step.runtime,
            data_size_bytes=step.output.bytes if step.output else None,
            rows=pipeline_result.count_rows(step),
            started_at=job.get("started_at"),
            duration_s=(job.get("duration_ms") or 0) / 1000,
            success=bool(job.get("success")) and step.success,
        )
    except ValidationError:
        return None
