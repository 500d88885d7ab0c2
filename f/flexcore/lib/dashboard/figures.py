# requirements: flexcore_base
"""The parts of the dashboard that look back: how the runtimes compare, and why each was chosen.

Rows of history come from the run index, and from Windmill for what the index does not have yet.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from f.flexcore.lib.core import operation, resources, workloads
from f.flexcore.lib.dashboard import index_update, run_index, shapes
from f.flexcore.lib.selection import comparison
from f.flexcore.lib.storage import object_store
from f.flexcore.lib.windmill import client, execution_models

# How far back figures look; each day is a file to be read.
MAX_DAYS = 180
# Of executions that the index does not have yet, the newest.
MAX_RECENT = 60
MAX_SELECTIONS = 30
MAX_WORKFLOWS = 30
READ_RUN = "f.flexcore.lib.operations.history:run_from_job"
DATA_PIPELINE = "f/flexcore/data_pipeline"
CURRENCY = "USD"


def read_comparison(
    windmill: client.Client, settings: resources.Settings | None, now: datetime
) -> list[shapes.Comparison]:
    """One for each type of workflow, the most used first. Raises as client and store do."""
    indexed = _index_rows(settings, windmill.workspace, now)
    runs = {row.id: row.run for row in indexed if row.run}
    read_run = operation.resolve(READ_RUN)
    jobs, newest = _recent_jobs(windmill, {row.id for row in indexed})
    for job in jobs:
        if run := read_run(job, index_update.workflow_type(job)):
            runs[str(job["id"])] = run
    by_type: dict[str, list[workloads.Run]] = {}
    for run in runs.values():
        by_type.setdefault(run.workflow_type, []).append(run)
    ordered = sorted(by_type.items(), key=lambda item: (-len(item[1]), item[0]))[:MAX_WORKFLOWS]
    return [compare(workflow, found, newest) for workflow, found in ordered]


def compare(workflow: str, runs: list[workloads.Run], newest: int | None = None) -> shapes.Comparison:
    """newest: how many of the newest executions they come from, where there are more that were not read."""
    starts = [run.started_at for run in runs if run.started_at]
    found = comparison.compare_runs(runs, workflow)
    best = found.recommendation
    return shapes.Comparison(
        workflow=workflow,
        runs=found.runs,
        since=min(starts, default=None),
        until=max(starts, default=None),
        newest=newest,
        recommendation=shapes.Recommendation(runtime=best.runtime, reason=best.reason) if best.runtime else None,
        no_choice=None if best.runtime else best.reason,
        runtimes=[
            shapes.RuntimeFigures(
                runtime=item.runtime,
                runs=item.runs,
                samples=item.samples,
                rows_samples=item.rows_samples,
                cost_samples=item.cost_samples,
                note=item.note or None,
                success_rate=item.success_rate,
                p50_s=item.duration_p50_s,
                p95_s=item.duration_p95_s,
                rows_per_s=item.rows_per_s,
                cost=item.cost_usd_p50,
                currency=None if item.cost_usd_p50 is None else CURRENCY,
            )
            for item in found.runtimes
        ],
        days=figures_by_day(runs),
    )


def figures_by_day(runs: Iterable[workloads.Run]) -> list[shapes.DayFigures]:
    """Durations of the runs that succeeded, by UTC day and runtime; runs counts the failed ones, too. A day with few
    runs has no p95."""
    groups: dict[tuple[str, str], list[workloads.Run]] = {}
    for run in runs:
        if run.started_at:
            groups.setdefault((run.started_at.astimezone(UTC).date().isoformat(), run.runtime), []).append(run)
    found = []
    for (day, runtime), group in sorted(groups.items()):
        durations = sorted(run.duration_s for run in group if run.success and run.duration_s is not None)
        p50 = statistics.median(durations) if durations else None
        p95 = comparison.quantile(durations, 0.95) if len(durations) >= comparison.MIN_P95_RUNS else None
        found.append(shapes.DayFigures(day=day, runtime=runtime, runs=len(group), p50_s=p50, p95_s=p95))
    return found


def _index_rows(settings: resources.Settings | None, workspace: str, now: datetime) -> list[run_index.IndexRow]:
    if settings is None:
        return []
    index = run_index.RunIndex(object_store.Store(settings), workspace)
    first, listed = (now - timedelta(days=MAX_DAYS)).date(), index.days()
    return list(index.read((day for day in listed if day >= first), listed).values())


def _recent_jobs(windmill: client.Client, known: set[str]) -> tuple[list[client.Job], int | None]:
    """(executions that the index does not have, newest first; how many that are, where there may be more)."""
    listed = windmill.finished_jobs(
        200,
        job_kinds="flow",
        has_null_parent="true",
        order_desc="true",
        script_path_start=execution_models.BUNDLE_FOLDER,
    )
    ids = [str(job["id"]) for job in listed if execution_models.is_execution(job) and str(job["id"]) not in known]
    return list(windmill.jobs(ids[:MAX_RECENT]).values()), MAX_RECENT if len(ids) > MAX_RECENT else None


def read_selections(windmill: client.Client, execution: str) -> list[shapes.Selection]:
    """Of the newest data pipelines, and of the execution that is open. Raises as the client does."""
    query = {"script_path_exact": DATA_PIPELINE, "job_kinds": "flow", "order_desc": "true"}
    ids = [str(job["id"]) for job in windmill.finished_jobs(MAX_SELECTIONS, **query)]
    jobs = windmill.jobs(dict.fromkeys([*ids, *([execution] if execution else [])]))
    found = [selection for job in jobs.values() if (selection := selection_from_job(job))]
    return sorted(found, key=lambda item: item.at, reverse=True)


def selection_from_job(job: client.Job) -> shapes.Selection | None:
    """None when its result says nothing of a choice. Read with tolerance: it may be of another version."""
    result = job.get("result")
    chosen = result.get("selection") if isinstance(result, Mapping) else None
    if not isinstance(result, Mapping) or not isinstance(chosen, Mapping) or not chosen.get("runtime"):
        return None
    raw = chosen.get("candidates")
    candidates = [_candidate(item) for item in raw if isinstance(item, Mapping)] if isinstance(raw, list) else []
    real_cost = _number(result, "actual", "cost_usd")
    forecast_cost = _number(result, "forecast", "cost_usd", "p50")
    reason = str(chosen.get("reason") or "")
    return shapes.Selection(
        execution=str(job["id"]),
        at=execution_models.parse_instant(job["created_at"]) or datetime.now(UTC),
        workflow=index_update.workflow_type(job),
        chosen=str(chosen["runtime"]),
        reasons=[part.strip() for part in reason.split(";") if part.strip()],
        candidates=candidates,
        forecast_s=_number(result, "forecast", "duration_s", "p50"),
        real_s=_number(result, "actual", "duration_s"),
        forecast_cost=forecast_cost,
        real_cost=real_cost,
        currency=CURRENCY if real_cost is not None or forecast_cost is not None else None,
    )


def _candidate(item: Mapping[str, Any]) -> shapes.Candidate:
    return shapes.Candidate(
        runtime=str(item.get("runtime") or ""),
        allowed=bool(item.get("eligible")),
        reason=str(item["reason"]) if item.get("reason") else None,
        forecast_s=_number(item, "duration_s", "p50"),
        forecast_cost=_number(item, "cost_usd", "p50"),
        score=_number(item, "success_probability"),
    )


def _number(value: Any, *names: str) -> float | None:
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
