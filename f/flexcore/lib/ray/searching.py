# requirements: flexcore_base
"""A search for parameters as a job: a training's request, and how many trials and how much time it may take."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from f.flexcore.lib.core import contracts, identity, resources
from f.flexcore.lib.ray import capacity, jobs, packaging, training
from f.flexcore.lib.ray.remote import search
from f.flexcore.lib.storage import object_store

PROGRAM = "from f.flexcore.lib.ray.remote.search import run\n\nresult = run(parameters, storage)\n"
# Reading the data and starting up are no part of search_s.
AROUND_S = 600


class SearchRequest(training.TrainRequest):
    """A training's request with its bounds. search_s: seconds for all trials; what is not done by then is left out."""

    trials: int = Field(default=20, ge=1, le=200)
    search_s: int = Field(default=1800, ge=1)


def search_job(
    request: SearchRequest,
    source: contracts.DataManifest,
    store: object_store.Store,
    settings: resources.Settings,
    key: identity.ExecutionKey,
) -> jobs.Job:
    """The job of a search, as `training_job`."""
    job = training.training_job(request, source, store, settings, key)
    return replace(
        job,
        kind="search",
        files=packaging.program_files([*training.MODULES, search], PROGRAM),
        # The job only waits; each of its tasks reserves its own CPUs.
        num_cpus=0,
        needs=capacity.Needs(cpus=request.cpus_per_worker, subject="cpus_per_worker"),
        timeout_s=request.search_s + AROUND_S,
    )


def found(key: identity.ExecutionKey, done: jobs.Finished) -> contracts.StepResult:
    """The result of the step: the best parameters, and every trial."""
    told = done.result
    metrics = {told["metric"]: told["score"], "trials": len(told["trials"])}
    return jobs.step_result(key, done, metrics=metrics, data={**told, "packages": done.packages})
