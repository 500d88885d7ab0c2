# requirements: flexcore_base
"""A search for parameters as a Ray job: what to learn, from which space to draw, and what it all may take."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydantic import Field, field_validator

from f.flexcore.lib.core import contracts, errors, operation, resources
from f.flexcore.lib.ray import cluster, job, job_adapter, labels, own_cluster_field, train_job

PROGRAM = "from f.flexcore.lib.ray.remote.search import run\n\nresult = run(parameters, storage)\n"
MODULES = (*train_job.MODULES, "search_space", "trials", "trial_log", "search")
# Reading the data and starting up are no part of search_s.
SEARCH_OVERHEAD_S = 600
# Nor is the training of the best parameters, which takes about as long as one trial's folds.
PUBLISH_OVERHEAD_S = 600


class SearchRequest(train_job.LearningRequest):
    """What is not done within search_s and search_usd is left out."""

    cpus_per_worker: float = Field(default=1, gt=0, description="CPUs of each worker.")
    label_selector: labels.Selector = Field(default={}, description=labels.FIELD)
    packages: job.Packages = Field(default=[], description="Packages to install for this job, e.g. xgboost==3.2.0.")
    space: dict[str, Any] = Field(
        default={},
        description="What to draw for each parameter: choice, uniform, loguniform, randint, lograndint or quniform of "
        "bounds, such as {max_depth: {randint: [3, 11]}}; empty means that known for the algorithm.",
    )
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
    own_cluster: own_cluster_field.OptionalOwnCluster = Field(default=None, description=own_cluster_field.DESCRIPTION)
    search_usd: float | None = Field(
        default=None,
        gt=0,
        description="Most that all trials may cost, in US dollars, by the CPU price of ray in the settings; empty "
        "means no limit.",
    )
    publish_model: bool = Field(
        default=False, description="Train a model with the best parameters at once, and hand it on."
    )
    model_name: str = Field(
        default="model",
        pattern=r"^[a-z]([-a-z0-9]{0,48}[a-z0-9])?$",
        description="Name of the model: lower-case letters, digits and dashes.",
    )

    @field_validator("space")
    @classmethod
    def _can_be_drawn_from(cls, value: dict[str, Any]) -> dict[str, Any]:
        from f.flexcore.lib.ray.remote import search_space

        return search_space.check_space(value)

    @property
    def needs(self) -> cluster.Needs:
        return cluster.Needs(cpus=self.cpus_per_worker, subject="cpus_per_worker", label_selector=self.label_selector)


Invocation = operation.Invocation[SearchRequest, resources.RayCluster]


def check(request: SearchRequest, service: resources.RayCluster | None, settings: resources.Settings) -> None:
    """As a training's; raises InvalidInput for a limit of cost where no price is known, too."""
    train_job.check(request, service, settings)
    if request.search_usd is not None and find_cpu_price(settings) is None:
        raise errors.InvalidInput(
            "search_usd: the price of an hour of a CPU of ray is not known",
            subject="search_usd",
            remedy="Give it as runtimes.ray.price.cpu_hour of the settings, or leave search_usd empty.",
        )


def find_cpu_price(settings: resources.Settings) -> float | None:
    """US dollars for an hour of a CPU of Ray; None where the settings do not say."""
    state = settings.runtimes.get("ray")
    return state.price.cpu_hour if state else None


def search_job(invocation: Invocation, context: job_adapter.Context) -> job.Job:
    """Raises InvalidInput, EmptyData or ManifestMismatch for what can be seen without data."""
    request = invocation.request
    common = train_job.learning_job("search", request, invocation.settings, context)
    model = train_job.model_parameters(request.model_name, invocation.settings, context.key)
    return replace(
        common,
        files=job.program_files(MODULES, PROGRAM),
        parameters=common.parameters | model | {"cpu_hour_usd": find_cpu_price(invocation.settings)},
        packages=request.packages,
        # The job only waits (num_cpus 0); each of its tasks reserves its own CPUs.
        needs=request.needs,
        timeout_s=request.search_s + SEARCH_OVERHEAD_S + (PUBLISH_OVERHEAD_S if request.publish_model else 0),
    )


def search_result(finished: job.FinishedJob) -> contracts.StepResult:
    """The best parameters, every trial, and the model where one was asked for."""
    result = dict(finished.result)
    trained = result.pop("model")
    metrics = {result["metric"]: result["score"], "trials": len(result["trials"])}
    if trained is None:
        return finished.step_result(metrics=metrics, data={**result, "packages": finished.packages})
    model = replace(finished, result=trained)
    published = train_job.train_result(model)
    return finished.step_result(
        output=published.output,
        metrics=published.metrics | metrics,
        data={**published.data, **result, "packages": finished.packages},
    )


def _prepare(invocation: Invocation, context: job_adapter.Context) -> job_adapter.Work:
    return job_adapter.Work(search_job(invocation, context), search_result, resumes=True)


SEARCH = operation.Operation(
    runtime="ray",
    name="search",
    request=SearchRequest,
    service=resources.RayCluster,
    check=check,
    plan=job_adapter.plan_with(check),
    execute=job_adapter.execute_with(_prepare, check),
)
