# requirements: flexcore_base
# py: ==3.11.*
"""A search for parameters as a job: a training's request, and how many trials and how much time it may take."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

import f.flexcore.ray.on_ray_search as on_ray_search
from f.flexcore.core.contracts import DataManifest, StepResult
from f.flexcore.core.identity import ExecutionKey
from f.flexcore.core.resources import Settings
from f.flexcore.ray.capacity import Needs
from f.flexcore.ray.jobs import Finished, Job, step_result
from f.flexcore.ray.shipping import program_files
from f.flexcore.ray.training import MODULES, TrainRequest, training_job
from f.flexcore.storage.store import Store

PROGRAM = "from f.flexcore.ray.on_ray_search import run\n\nresult = run(parameters, storage)\n"
# Reading the data and starting up are no part of search_s.
AROUND_S = 600


class SearchRequest(TrainRequest):
    """A training's request with its bounds. search_s: seconds for all trials; what is not done by then is left out."""

    trials: int = Field(default=20, ge=1, le=200)
    search_s: int = Field(default=1800, ge=1)


def search_job(
    request: SearchRequest, source: DataManifest, store: Store, settings: Settings, key: ExecutionKey
) -> Job:
    """The job of a search, as `training_job`."""
    job = training_job(request, source, store, settings, key)
    return replace(
        job,
        kind="search",
        files=program_files([*MODULES, on_ray_search], PROGRAM),
        # The job only waits; each of its tasks reserves its own CPUs.
        num_cpus=0,
        needs=Needs(cpus=request.cpus_per_worker, subject="cpus_per_worker"),
        timeout_s=request.search_s + AROUND_S,
    )


def found(key: ExecutionKey, done: Finished) -> StepResult:
    """The result of the step: the best parameters, and every trial."""
    told = done.result
    metrics = {told["metric"]: told["score"], "trials": len(told["trials"])}
    return step_result(key, done, metrics=metrics, data={**told, "packages": done.packages})
