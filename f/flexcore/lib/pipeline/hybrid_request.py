# requirements: flexcore_kubernetes
"""The hybrid pipeline's request: its stages as the work of operations, and the services that they will need.

What a later service would refuse, such as a token or an absent cluster, must not be found out after an hour of
extraction. Nothing is changed there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pydantic import Field

from f.flexcore.lib import runtimes
from f.flexcore.lib.core import contracts, dimensions, errors, resources, units
from f.flexcore.lib.pipeline import stage_results, work
from f.flexcore.lib.storage import object_store

Stage = contracts.Stage
Stages = dict[Stage, work.Work]
Given = Mapping[Stage, Any]
# A model that is ready says so within milliseconds.
READY_TIMEOUT_S = 5
# Fields of the deployment's form that stand for others: its runtime, and what each replica may use.
TARGET, COMPUTE = "target", "resources"


class ComputeResources(resources.Form):
    """What each replica of a deployed model may use, on any runtime."""

    cpu: dimensions.CpuQuantity = Field(default="500m", description="Processor time, e.g. 500m (half a core) or 2.")
    memory: dimensions.MemoryQuantity = Field(default="1Gi", description="Memory, e.g. 512Mi or 4Gi.")

    def fields(self) -> dict[str, Any]:
        """By the names that operations have for them, each in its own unit."""
        return {
            "cpu": self.cpu,
            "memory": self.memory,
            "cpus": dimensions.parse_quantity(self.cpu),
            "memory_gib": dimensions.parse_quantity(self.memory) / units.GIB,
        }


def parse_stages(given: Given, settings: resources.Settings) -> Stages:
    """Each stage's work. Raises an error that tells of every wrong field of all stages."""
    parts: list[Callable[[], work.Work]] = [partial(_parse_stage, stage, given, settings) for stage in given]
    return dict(zip(given, work.collect(parts), strict=True))


def _parse_stage(stage: Stage, given: Given, settings: resources.Settings) -> work.Work:
    name, operation = runtimes.STAGES[stage]
    if not name:
        return _parse_deployment(stage, operation, given, settings)
    return work.parse(stage, runtimes.get_runtime(name), (operation,), given[stage], settings)


def _parse_deployment(stage: Stage, operation: str, given: Given, settings: resources.Settings) -> work.Work:
    """On the target that its form names; a model on the runtime that trained it is served by that cluster."""
    fields = errors.check_value(dict[str, Any], given[stage], stage)
    targets = {name: each for name, each in runtimes.RUNTIMES.items() if operation in each.operations}
    target = fields.get(TARGET) or next(iter(targets))
    if target not in targets:
        raise errors.InvalidInput(
            f"{stage}.{TARGET}: {target!r} cannot serve a model",
            subject=f"{stage}.{TARGET}",
            remedy=f"Use one of {', '.join(targets)}.",
        )
    compute = errors.validate(ComputeResources, fields.get(COMPUTE) or {}, f"{stage}.{COMPUTE}").fields()
    _refuse_unknown(stage, sorted(compute.keys() & fields.keys()))
    chosen = targets[target].operation(operation)
    request = {name: value for name, value in fields.items() if name not in (TARGET, COMPUTE, work.MORE)}
    request = work.ignore_foreign(request, chosen, [partial(each.operation, operation) for each in targets.values()])
    request |= {name: value for name, value in compute.items() if name in chosen.request.model_fields}
    trained_here = target == runtimes.STAGES["ml"][0]
    read_service = partial(_read_training_cluster, given) if trained_here else None
    return work.parse(stage, targets[target], (operation,), request, settings, read_service)


def _refuse_unknown(stage: Stage, names: list[str]) -> None:
    if names:
        field = f"{stage}.{names[0]}"
        raise errors.InvalidInput(
            f"{field} is not a known field", subject=field, remedy=f"Give it in {stage}.{COMPUTE}."
        )


def _read_training_cluster(given: Given) -> resources.Resource | None:
    """None when it is wrong, which the training's own stage tells."""
    name, operation = runtimes.STAGES["ml"]
    try:
        service: resources.Resource = runtimes.get_runtime(name).operation(operation).parse_service(given["ml"], "ml")
    except (errors.FlexcoreError, AttributeError):
        return None
    return service


def compute_digests(stages: Stages) -> dict[Stage, str]:
    """Of what is asked of each stage, so far as it decides the outcome; a resource counts by what it names."""
    digests = {}
    for stage, each in stages.items():
        request = {TARGET: each.runtime.name, **each.plain()}
        if stage == stage_results.STAGES[0]:
            request[each.operation.service_field] = resources.dump_public(each.service) if each.service else None
        digests[stage] = stage_results.compute_digest(request)
    return digests


def describe_stages(stages: Stages) -> dict[str, dict[str, Any]]:
    """Each stage's request for later steps, without what may be secret."""
    return {stage: {TARGET: each.runtime.name, **each.public()} for stage, each in stages.items()}


def ask_services(stages: Stages, finished: Mapping[Stage, Any], settings: resources.Settings) -> None:
    """Asks the store and every service after that of the first stage to run, which asks its own at once.

    Raises one error that tells of all refusals; one that no retry helps with decides its kind."""
    later = [stage for stage in stages if stage not in finished][1:]
    questions: dict[str, Callable[[], Any]] = {"settings": partial(_check_store, settings)}
    questions |= {str(stage): partial(_plan_stage, stages[stage], settings) for stage in later}
    answers = runtimes.run_side_by_side(questions)
    if problems := [answer for answer in answers.values() if isinstance(answer, errors.FlexcoreError)]:
        raise errors.merge(problems)


def _plan_stage(stage: work.Work, settings: resources.Settings) -> None:
    """Raises InvalidInput for what the service refuses for good; room may be there by the time that the stage runs."""
    answer = stage.plan(settings)
    if not answer.success and answer.diagnosis and answer.data.get("is_refused"):
        subject = answer.data.get("subject") or stage.operation.name
        raise errors.InvalidInput(
            f"{stage.section}: {answer.diagnosis.detail}",
            subject=f"{stage.section}.{subject}",
            category=answer.diagnosis.category,
            remedy=answer.diagnosis.remedy,
        )


def _check_store(settings: resources.Settings) -> None:
    try:
        object_store.Store(settings).check()
    except errors.FlexcoreError as error:
        raise errors.qualify(error, "settings") from None


def verify_output(store: object_store.Store, step: contracts.StepResult) -> None:
    """Raises FlexcoreError when what the step has handed on is no longer there as it was."""
    if isinstance(step.output, contracts.EndpointManifest):
        check_ready(step.output)
    elif step.output is not None:
        store.verify(step.output)


def check_ready(endpoint: contracts.EndpointManifest) -> None:
    """Raises Unreachable unless the endpoint's model says, by the Open Inference Protocol v2, that it is ready."""
    # Only a run with a finished deployment comes here; the others need not pay for the import.
    import httpx

    url = f"{endpoint.url}/v2/models/{endpoint.model_name}/ready"
    try:
        is_ready = httpx.get(url, timeout=READY_TIMEOUT_S).status_code == httpx.codes.OK
    except httpx.HTTPError:
        is_ready = False
    if not is_ready:
        raise errors.Unreachable(f"{url} does not answer", subject=endpoint.url, remedy="Deploy the model again.")


def prepare(given: Given, partial_results: list[Any], settings: Any) -> dict[str, Any]:
    """The plain data of the first step: each stage's request, the stages that were done before and still verify, and
    the digests of what is asked. Raises the errors of a wrong request and of a service that refuses."""
    chosen = errors.validate(resources.Settings, settings or {}, "settings")
    stages = parse_stages(given, chosen)
    digests = compute_digests(stages)
    store = object_store.Store(chosen)
    finished, notes = stage_results.find_finished(partial_results, partial(verify_output, store), digests)
    for line in (*notes, *(f"{stage} was done before and is reused" for stage in finished)):
        print(line, flush=True)
    ask_services(stages, finished, chosen)
    done = {stage: finished[stage].plain() if stage in finished else None for stage in stage_results.STAGES}
    return {**describe_stages(stages), "done": done, "reused": list(finished), "requests": digests}
