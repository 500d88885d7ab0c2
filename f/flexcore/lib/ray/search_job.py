# requirements: flexcore_base
"""A search for parameters as a Ray job: what to learn, and how many trials and how much time it may take."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from f.flexcore.lib.core import contracts, operation, resources
from f.flexcore.lib.ray import cluster, job, job_adapter, job_cluster, labels, train_job

PROGRAM = "from f.flexcore.lib.ray.remote.search import run\n\nresult = run(parameters, storage)\n"
MODULES = (*train_job.LEARNING, "search")
# Reading the data and starting up are no part of search_s.
SEARCH_OVERHEAD_S = 600


class SearchRequest(train_job.LearningRequest):
    """What is not done within search_s is left out."""

    cpus_per_worker: float = Field(default=1, gt=0, description="CPUs of each worker.")
    label_selector: labels.Selector = Field(default={}, description=labels.FIELD)
    packages: job.Packages = Field(default=[], description="Packages to install for this job, e.g. xgboost==3.2.0.")
    trials: int = Field(
        default=20,
        ge=1,
        le=200,
        description="How many sets of parameters to try; the first is the one that was asked for.",
    )
    search_s: int = Field(
        default=1800,
        ge=1,
        description="Longest time for all trials, in seconds; what is not done by then is left out.",
    )
    own_cluster: job_cluster.OptionalOwnCluster = Field(default=None, description=job_cluster.DESCRIPTION)

    @property
    def needs(self) -> cluster.Needs:
        return cluster.Needs(cpus=self.cpus_per_worker, subject="cpus_per_worker", label_selector=self.label_selector)


Invocation = operation.Invocation[SearchRequest, resources.RayCluster]


def search_job(invocation: Invocation, context: job_adapter.Context) -> job.Job:
    """Raises InvalidInput, EmptyData or ManifestMismatch for what can be seen without data."""
    request = invocation.request
    return replace(
        train_job.learning_job("search", request, invocation.settings, context),
        files=job.program_files(MODULES, PROGRAM),
        packages=request.packages,
        # The job only waits (num_cpus 0); each of its tasks reserves its own CPUs.
        needs=request.needs,
        timeout_s=request.search_s + SEARCH_OVERHEAD_S,
    )


def search_result(finished: job.FinishedJob) -> contracts.StepResult:
    """The best parameters, and every trial."""
    result = finished.result
    metrics = {result["metric"]: result["score"], "trials": len(result["trials"])}
    return finished.step_result(metrics=metrics, data={**result, "packages": finished.packages})


def _prepare(invocation: Invocation, context: job_adapter.Context) -> job_adapter.Work:
    return job_adapter.Work(search_job(invocation, context), search_result)


SEARCH = operation.Operation(
    runtime="ray",
    name="search",
    request=SearchRequest,
    service=resources.RayCluster,
    check=train_job.check,
    plan=job_adapter.plan,
    execute=job_adapter.execute_with(_prepare),
)
