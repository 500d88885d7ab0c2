# requirements: flexcore_base
"""Windmill's own jobs as rows of history: no second store.

A data pipeline leaves its row in its result, where its label `workflow:TYPE` finds it. Of any other flow or script of
ours (TYPE is then its path) the row is made of the job and the StepResult that it ended with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from f.flexcore.lib.core import contracts, errors, pipeline_result, workloads
from f.flexcore.lib.windmill import client

# A forecast gains nothing from more of them, and each costs a request to Windmill.
MAX_RUNS = 1000
FLOWS, FLOWS_AND_SCRIPTS = "flow", "flow,script"
PATH_PREFIXES = ("f/", "u/", "g/")


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


def _read_whole_jobs(windmill: client.Client, limit: int, query: Mapping[str, Any]) -> list[client.Job]:
    """The jobs of a list with their results, which a list leaves out; without those that cannot be read."""
    ids = [str(job["id"]) for job in windmill.finished_jobs(limit, **query)]
    jobs = windmill.jobs(ids)
    return [jobs[id] for id in ids if id in jobs]


def _has_run(job: client.Job) -> bool:
    return isinstance(job.get("result"), dict) and bool(job["result"].get("run"))


def _runs(jobs: Iterable[client.Job], workflow_type: str) -> list[workloads.Run]:
    return [run for job in jobs if (run := run_from_job(job, workflow_type))]


def run_from_job(job: client.Job, workflow_type: str) -> workloads.Run | None:
    """The row of history; None for what says nothing of a runtime: canceled, refused, a plan, or no work of ours."""
    result = job.get("result")
    if not isinstance(result, dict) or job.get("canceled"):
        return None
    try:
        if row := result.get("run"):
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
