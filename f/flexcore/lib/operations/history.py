# requirements: flexcore_base
"""Windmill's own jobs as rows of history: no second store.

A data pipeline leaves its row in its result, where its label `workflow:TYPE` finds it. Of any other flow or script of
ours (TYPE is then its path) the row is made of the job and the StepResult that it ended with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from f.flexcore.lib.core import contracts, pipeline_result, workloads
from f.flexcore.lib.operations import job_records

# A forecast gains nothing from more of them, and each costs a question to Windmill.
MOST_RUNS = 1000
FLOWS, ANY = "flow", "flow,script"
PATHS = ("f/", "u/", "g/")


def history(
    jobs: job_records.Jobs,
    workflow_type: str,
    since: datetime | None = None,
    until: datetime | None = None,
    most: int = MOST_RUNS,
) -> list[workloads.Run]:
    """The newest `most` finished runs of a workflow type, newest first. Raises Forbidden or Unreachable."""
    bounds = {"started_after": since, "started_before": until}
    query: dict[str, Any] = {name: at.isoformat() for name, at in bounds.items() if at}
    if workflow_type.startswith(PATHS):
        query |= {"script_path_exact": workflow_type, "job_kinds": ANY}
    else:
        query |= {"label": f"workflow:{workflow_type}", "job_kinds": FLOWS}
    listed = list(jobs.listed(most, **query))
    whole = jobs.several(str(job["id"]) for job in listed)
    return list(_rows(workflow_type, [whole[str(job["id"])] for job in listed if str(job["id"]) in whole]))


def pipeline_runs(jobs: job_records.Jobs, most: int = MOST_RUNS) -> list[workloads.Run]:
    """The newest `most` finished data pipelines of every type. Raises Forbidden or Unreachable."""
    whole = jobs.several(str(job["id"]) for job in jobs.listed(most, label="flexcore", job_kinds=FLOWS))
    return list(_rows("", [job for job in whole.values() if _has_row(job)]))


def _has_row(job: job_records.Job) -> bool:
    return isinstance(job.get("result"), dict) and bool(job["result"].get("run"))


def _rows(workflow_type: str, jobs: list[job_records.Job]) -> Iterator[workloads.Run]:
    for job in jobs:
        row = run_of(workflow_type, job)
        if row:
            yield row


def run_of(workflow_type: str, job: Mapping[str, Any]) -> workloads.Run | None:
    """None for what says nothing of a runtime: cancelled, refused, a plan, or no work of ours."""
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
