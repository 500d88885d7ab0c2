# requirements: flexcore_base
"""Brings the run index up to what Windmill has: rows of the executions that ended since, each made of its job."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from f.flexcore.lib.core import contracts, errors, workloads
from f.flexcore.lib.dashboard import listing, run_index
from f.flexcore.lib.windmill import client, execution_models

# Results read in one pass; each takes some milliseconds. What is left is for the next pass.
MAX_RESULTS = 1000
MAX_PAGES = 20
PAGE_SIZE = 1000
# A job may be seen by the list some time after it has ended, and clocks differ.
OVERLAP = timedelta(hours=1)
# How far back the first pass looks when the index is empty, and the days that are read for what they already have.
FIRST_LOOK = timedelta(days=60)
KNOWN_DAYS = 8
FLOWS = {"job_kinds": "flow", "has_null_parent": "true", "script_path_start": execution_models.BUNDLE_FOLDER}
# (job, type of workflow) → the row of history.
ReadRun = Callable[[client.Job, str], workloads.Run | None]


@dataclass(frozen=True, slots=True)
class Update:
    """left: ended executions for the next pass; compacted: days that were made one file."""

    added: int
    left: int
    compacted: int
    pruned: int


def update_index(
    windmill: client.Client, index: run_index.RunIndex, read_run: ReadRun, now: datetime, rebuild: bool = False
) -> Update:
    """rebuild: looks at all that Windmill still has, not only at what ended since. Raises as client and store do."""
    days = index.days()
    known = index.read(days if rebuild else list(days)[:KNOWN_DAYS])
    jobs = _ended_since(windmill, now - FIRST_LOOK if rebuild or not known else _newest_end(known) - OVERLAP)
    missing = sorted((job for job in jobs if str(job["id"]) not in known), key=_end)
    rows = _make_rows(windmill, missing[:MAX_RESULTS], read_run)
    added = index.add(rows)
    compacted = _compact(index)
    return Update(added, max(0, len(missing) - MAX_RESULTS), compacted, index.prune(now.date()))


def _newest_end(known: run_index.Rows) -> datetime:
    return max(row.ended_at or row.created_at for row in known.values())


def _ended_since(windmill: client.Client, since: datetime) -> list[client.Job]:
    """Executions without their results, whatever order Windmill gives them in."""
    query: dict[str, Any] = {**FLOWS, "completed_after": since.isoformat(), "order_desc": "false"}
    found = windmill.pages("jobs/completed/list", PAGE_SIZE, MAX_PAGES, **query)
    return [job for job in found if execution_models.is_execution(job)]


def _end(job: client.Job) -> datetime:
    ended = execution_models.execution_from_job(job).ended_at
    assert ended
    return ended


def _make_rows(windmill: client.Client, jobs: Iterable[client.Job], read_run: ReadRun) -> list[run_index.IndexRow]:
    def make(listed: client.Job) -> run_index.IndexRow | None:
        try:
            return make_row(windmill.job(str(listed["id"])), read_run)
        except errors.FlexcoreError:
            # Forgotten since it was listed, or not to be seen: the list says what there is.
            return make_row(listed, read_run)

    with ThreadPoolExecutor(client.MAX_PARALLEL_REQUESTS) as pool:
        return [row for row in pool.map(make, jobs) if row]


def make_row(job: client.Job, read_run: ReadRun) -> run_index.IndexRow | None:
    """None for a job that has not ended."""
    row = listing.row_from_job(job)
    if row.ended_at is None:
        return None
    run = read_run(job, workflow_type(job)) if "result" in job else None
    return run_index.IndexRow.model_validate(row.model_dump(exclude={"source"}) | {"run": run})


def workflow_type(job: client.Job) -> str:
    """By the label `workflow:TYPE`, else the path below the bundle's folder."""
    labels = map(str, job.get("labels") or ())
    found = next((label for label in labels if label.startswith(contracts.WORKFLOW_LABEL)), "")
    return found.removeprefix(contracts.WORKFLOW_LABEL) or execution_models.job_workflow(job)


def _compact(index: run_index.RunIndex) -> int:
    """Days with several files; today's as well, so that the folder stays small."""
    split = {day: names for day, names in index.days().items() if len(names) > 1}
    for day, names in split.items():
        index.compact(day, names)
    return len(split)
