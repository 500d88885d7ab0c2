# requirements: flexcore_base
"""Brings the run index up to what Windmill has: rows of the executions that ended since, each made of its job."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice, takewhile
from threading import Event

from f.flexcore.lib.core import contracts, errors, workloads
from f.flexcore.lib.dashboard import index_adoption, listing, run_index
from f.flexcore.lib.windmill import client, execution_models, executions

# Results read at once; each takes some milliseconds. What is left is for the next pass; a rebuild goes on at once.
MAX_RESULTS = 1000
# Executions that one pass holds in memory to have their rows made.
MAX_MISSING = 20_000
# A job may be seen by the list some time after it has ended, and clocks differ.
OVERLAP = timedelta(hours=1)
# How far back the first pass looks when the index is empty, and the days that are read for what they already have.
FIRST_LOOK = timedelta(days=60)
KNOWN_DAYS = 8
# An execution whose job Windmill cannot answer for holds up those that ended later for so long.
PATIENCE = timedelta(days=1)
# (job, type of workflow) → the row of history.
ReadRun = Callable[[client.Job, str], workloads.Run | None]


@dataclass(frozen=True, slots=True)
class Update:
    """left: ended executions for the next pass, at least so many; compacted: days that were made one file."""

    added: int
    left: int
    compacted: int
    pruned: int


def update_index(
    windmill: client.Client, index: run_index.RunIndex, read_run: ReadRun, now: datetime, rebuild: bool = False
) -> Update:
    """rebuild: looks at all that Windmill still has, not only at what ended since, and reads again what a row says
    nothing of. Raises as client and store do."""
    index_adoption.adopt_old_files(windmill, index, now)
    days = index.days()
    known = index.read(days if rebuild else list(days)[:KNOWN_DAYS])
    wanted = _list_wanted(windmill, known, _find_start(known, now, rebuild), rebuild)
    added = done = 0
    while batch := wanted[done : min(done + MAX_RESULTS, MAX_MISSING)]:
        rows = _make_rows(windmill, batch, read_run, now)
        added += index.add(row for row in rows if row.id not in known or not row.is_bare)
        done += len(rows)
        if not rebuild or len(rows) < len(batch):
            break
    compacted = _compact(index)
    return Update(added, len(wanted) - done, compacted, index.prune(now.date()))


def _find_start(known: run_index.Rows, now: datetime, rebuild: bool) -> datetime:
    """When what may be missing has ended at the earliest."""
    if rebuild:
        return now - timedelta(days=run_index.MAX_DAYS)
    if not known:
        return now - FIRST_LOOK
    return max(row.ended_at or row.created_at for row in known.values()) - OVERLAP


def _list_wanted(windmill: client.Client, known: run_index.Rows, since: datetime, rebuild: bool) -> list[client.Job]:
    """The executions, without their results, whose rows are to be made, by their end. Where there are more than
    MAX_MISSING it is one more, so that a pass never takes itself for the last."""

    def is_wanted(job: client.Job) -> bool:
        row = known.get(str(job["id"]))
        return row is None or (rebuild and row.is_bare)

    missing = filter(is_wanted, executions.ended_since(windmill, since))
    return sorted(islice(missing, MAX_MISSING + 1), key=_end)


def _end(job: client.Job) -> datetime:
    ended = execution_models.execution_from_job(job).ended_at
    assert ended
    return ended


def _make_rows(
    windmill: client.Client, jobs: Sequence[client.Job], read_run: ReadRun, now: datetime
) -> list[run_index.IndexRow]:
    """Rows of the jobs up to the first that Windmill cannot answer for now: the next pass goes on with that one. One
    that it has been unable to answer for during PATIENCE gets what the list says, until a rebuild can read it."""
    is_broken_off = Event()

    def make(listed: client.Job) -> run_index.IndexRow | None:
        if is_broken_off.is_set():
            return None
        try:
            return make_row(windmill.job(str(listed["id"])), read_run)
        except (errors.NotFound, errors.Forbidden):
            # Forgotten since it was listed, or not to be seen: the list says what there is.
            return make_row(listed, read_run)
        except errors.FlexcoreError:
            if listed is jobs[0] and now - _end(listed) > PATIENCE:
                return make_row(listed, read_run)
            is_broken_off.set()
            return None

    with ThreadPoolExecutor(client.MAX_PARALLEL_REQUESTS) as pool:
        made = list(pool.map(make, jobs))
    return [row for row in takewhile(lambda row: row is not None, made) if row]


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
    split = [(day, names) for day, names in index.days().items() if len(names) > 1]
    return sum(index.compact(day, names) for day, names in split)
