# requirements: flexcore_base
"""On which runtimes executions run that have not ended, where neither a label of their flow nor a list says it.

data_pipeline     the argument `pin`, else the candidate whose turn it is: its step `select` has put them in order
hybrid_pipeline   the argument `deployment.target`, beside the labels of its flow
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.windmill import client, execution_models

# Each is a request of some milliseconds; what lives beyond them has no runtime until it has ended.
MAX_READ = 40
CHOICE, ATTEMPTS = "select", "attempts"


def complete_jobs(windmill: client.Client, jobs: Iterable[execution_models.Job]) -> list[execution_models.Job]:
    """The jobs, with the live ones that this is about whole, and with their `chosen_runtimes`."""
    listed = list(jobs)
    asked = [str(job["id"]) for job in listed if _is_asked(job) and not _is_scheduled(job)][:MAX_READ]
    if not asked:
        return listed
    whole = windmill.jobs(asked)
    with ThreadPoolExecutor(client.MAX_PARALLEL_REQUESTS) as pool:
        completed = dict(zip(whole, pool.map(lambda job: complete_job(windmill, job), whole.values()), strict=True))
    return [completed.get(str(job["id"]), job) for job in listed]


def complete_job(windmill: client.Client, job: execution_models.Job) -> execution_models.Job:
    """job: whole, or what was listed, which is returned as it is."""
    index = _find_turn(job)
    if index is None or execution_models.job_runtimes(job):
        return job
    try:
        order = windmill.step_result(str(job["id"]), CHOICE)["order"]
        return {**job, "chosen_runtimes": [str(order[index])]}
    except (errors.FlexcoreError, TypeError, LookupError):
        return job


def _is_asked(job: execution_models.Job) -> bool:
    is_live = job.get("type") != "CompletedJob"
    return is_live and execution_models.job_workflow(job) in execution_models.RUNTIME_ARGUMENTS


def _is_scheduled(job: execution_models.Job) -> bool:
    """Whether it waits for the time of its schedule, as one of each schedule does."""
    return bool(job.get("schedule_path")) and execution_models.job_status(job) == "queued"


def _find_turn(job: execution_models.Job) -> int | None:
    """Of a data pipeline that tries its candidates: which one by now."""
    if not _is_asked(job):
        return None
    modules: Any = (job.get("flow_status") or {}).get("modules") or []
    iterator = next((module.get("iterator") for module in modules if module.get("id") == ATTEMPTS), None)
    index = iterator.get("index") if isinstance(iterator, Mapping) else None
    return index if isinstance(index, int) else None
