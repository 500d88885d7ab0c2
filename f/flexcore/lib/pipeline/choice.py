# requirements: flexcore_pipeline
"""The choice of a runtime for a request of the data pipeline, from the form to the plain data of the step.

request ─→ measures of the work ─┐
           health of each ───────┼─→ selection ─→ order of the attempts
           what was learned ─────┘
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTime
from functools import partial
from typing import Any

from f.flexcore.lib import runtimes
from f.flexcore.lib.core import contracts, errors, operation, resources, workloads
from f.flexcore.lib.pipeline import candidates, data_probes, work
from f.flexcore.lib.selection import analysis, forecast, rules, selector
from f.flexcore.lib.views import selection_pages

# A service that takes longer to say how it is would take long to start anything, too.
HEALTH_TIMEOUT_S = 20.0
# Where `operations/learn` keeps what it has fitted.
FORECAST = "f/flexcore/forecast"
Works = Mapping[str, work.Work]


def choose_runtime(given: Mapping[str, Any], read_resource: Callable[[str], Any]) -> dict[str, Any]:
    """The plain data of the choice: workload, measures, selection, order of the attempts, each candidate's request
    (without secrets), and for a plan what its service says of it (checks).

    Raises the errors of a wrong request, and Unavailable when no runtime is suitable and the work is to be done."""
    request = candidates.parse_request(given)
    settings = request.form.settings
    workload, measures = measure_workload(request)
    health = measure_health(request.candidates, settings)
    namespaces = {name: resolve_namespace(each, settings) for name, each in request.candidates.items()}
    market = build_market(settings, health, namespaces)
    model, note = read_forecasts(read_resource)
    selection = explain_selection(selector.select(workload, model, market, note), health, workload.pin)
    _report([note, *(f"{item.runtime} is {item.state}: {item.detail}" for item in health if item.detail)])
    _report(selection_pages.format_selection_lines(selection.plain()))
    if selection.runtime is None and not request.form.explain_only:
        raise errors.Unavailable(
            selection.reason,
            subject="runtimes",
            remedy="Make one of them usable, or fill in another.",
            selection=selection.plain(),
            workload=workload.plain(),
        )
    return {
        "workload": workload.plain(),
        "measures": measures,
        "selection": selection.plain(),
        "order": list_attempts(selection),
        "expected_s": {item.runtime: item.duration_s and item.duration_s.p50 for item in selection.candidates},
        "prices": {name: state.price.plain() for name, state in market.runtimes.items()},
        "health": [{"runtime": item.runtime, "state": item.state, "detail": item.detail} for item in health],
        "note": note,
        "checks": check_candidates(request.candidates, settings) if request.form.explain_only else {},
        **describe_candidates(request.candidates, namespaces, selection.mode),
    }


def _report(lines: list[str]) -> None:
    print("\n".join(filter(None, lines)), flush=True)


def measure_workload(request: candidates.Request) -> tuple[workloads.Workload, list[dict[str, Any]]]:
    """What the work is, and each number with its source. Raises FlexcoreError for data that cannot be read."""
    form, works = request.form, request.candidates
    parts, notes = data_probes.measure_sources(form.data, works, form.settings)
    hints = analysis.merge_hints([each.runtime.derive_hints(each.plain()) for each in works.values()])
    measures = [
        *analysis.measure_data(form.data, parts, notes),
        analysis.estimate_complexity(hints, form.workload),
        *analysis.estimate_resources(hints, form.workload),
    ]
    workload = analysis.build_workload(
        measures,
        workflow_type=form.workflow_type,
        runtimes=list(works),
        step_type=form.workload.step_type,
        deadline_s=request.seconds_left,
        objective=form.objective,
        pin=form.pin or None,
    )
    rows = [item.plain() for item in measures]
    _report(selection_pages.format_analysis_lines(rows))
    return workload, rows


# Health


def measure_health(works: Works, settings: resources.Settings) -> list[operation.Health]:
    """Of each candidate, asked side by side; what does not answer in time is down."""
    pool = ThreadPoolExecutor(max(1, len(works)))
    try:
        running = [(name, pool.submit(_check_health, each, settings)) for name, each in works.items()]
        return [_wait_for_health(name, future) for name, future in running]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _check_health(each: work.Work, settings: resources.Settings) -> operation.Health:
    is_of_worker = each.runtime.clusters_field is None
    place = (os.environ.get("WM_WORKER_GROUP") or "this worker") if is_of_worker else each.runtime.name
    service = each.service
    namespace = resolve_namespace(each, settings) or rules.DEFAULT_NAMESPACES.get(each.runtime.name)
    if service and namespace:
        service = service.model_copy(update={"namespace": namespace})
    try:
        return runtimes.check_health(each.runtime, place, service, settings.namespace)
    except errors.FlexcoreError as error:
        return operation.Health(each.runtime.name, place, "down", detail=str(error))


def _wait_for_health(name: str, future: Future[operation.Health]) -> operation.Health:
    try:
        return future.result(timeout=HEALTH_TIMEOUT_S)
    except NotInTime:
        late = f"It did not answer within {HEALTH_TIMEOUT_S:.0f} s"
        return operation.Health(name, name, "down", detail=late)


# Namespaces


def resolve_namespace(each: work.Work, settings: resources.Settings) -> str:
    """Where a runtime with namespaces runs the work, by the runtime's own rule; "" when nothing says one."""
    if not each.runtime.namespace:
        return ""
    try:
        return str(operation.resolve(each.runtime.namespace)(each.request, each.service, settings, ""))
    except errors.FlexcoreError as error:
        raise errors.qualify(error, each.section) from None


# Selection


def build_market(
    settings: resources.Settings, health: list[operation.Health], namespaces: Mapping[str, str]
) -> workloads.Market:
    """The settings' prices and limits, each runtime's health as measured now, and the namespaces it would use."""
    states = dict(settings.runtimes)
    for item in health:
        state = states.get(item.runtime, workloads.RuntimeState())
        states[item.runtime] = state.model_copy(update={"healthy": item.state != "down"})
    for name, namespace in namespaces.items():
        if not namespace:
            continue
        state = states.get(name, workloads.RuntimeState())
        states[name] = state.model_copy(update={"namespace": namespace})
    return workloads.Market(
        runtimes=states,
        min_samples=settings.min_samples,
        failure_cost_factor=settings.failure_cost_factor,
        egress_usd_per_gib=settings.egress_usd_per_gib,
    )


def explain_selection(
    selection: workloads.Selection, health: list[operation.Health], pin: str | None
) -> workloads.Selection:
    """With what is wrong with each runtime that is down; when none is left, the reason of each that was measured."""
    details = {item.runtime: item.detail for item in health if item.state == "down" and item.detail}
    explained = [
        item.model_copy(update={"reason": f"{item.reason}: {details[item.runtime]}"})
        if item.runtime in details
        else item
        for item in selection.candidates
    ]
    reason = selection.reason
    if pin in details:
        reason = f"{reason} {details[pin]}"
    elif selection.runtime is None and not pin:
        measured = {item.runtime for item in health}
        why = [
            f"{item.runtime}: {item.reason.removeprefix('not eligible: ')}"
            for item in explained
            if item.runtime in measured
        ]
        reason = f"{selection.error}: {'; '.join(why)}"
    return selection.model_copy(update={"candidates": explained, "reason": reason})


def read_forecasts(read_resource: Callable[[str], Any]) -> tuple[forecast.Forecasts | None, str]:
    """What `operations/learn` has made of earlier runs, or None and why there is nothing: the rules then decide."""
    try:
        stored = read_resource(FORECAST)
    except errors.FlexcoreError:
        stored = None
    if not stored:
        return None, f"Nothing was learned from earlier runs yet: {FORECAST} does not exist"
    return forecast.parse_forecasts(stored)


def list_attempts(selection: workloads.Selection) -> list[str]:
    """The chosen runtime and, unless it was pinned, those that take over when it fails to start."""
    if selection.runtime is None:
        return []
    others = [item.runtime for item in selection.candidates if item.eligible and item.runtime != selection.runtime]
    return [selection.runtime, *([] if selection.mode == "pinned" else others)]


# What later steps get


def describe_candidates(works: Works, namespaces: Mapping[str, str], mode: workloads.Mode) -> dict[str, Any]:
    """Each candidate's request without secrets, with the namespace that the choice has settled; None for the others.

    The base rules' own namespace is for a choice that they make; one by history leaves it to the step."""
    described: dict[str, Any] = dict.fromkeys(runtimes.RUNTIMES)
    defaults = {} if mode == "learned" else rules.DEFAULT_NAMESPACES
    for name, each in works.items():
        namespace = namespaces[name] or defaults.get(name, "")
        described[name] = each.public() | ({"namespace": namespace} if each.runtime.has_namespaces else {})
    return described


def check_candidates(works: Works, settings: resources.Settings) -> dict[str, dict[str, Any]]:
    """What each candidate's service says of its work: {success, error, data}."""
    answers = runtimes.run_side_by_side({name: partial(each.plan, settings) for name, each in works.items()})
    return {name: _describe_answer(answer) for name, answer in answers.items()}


def _describe_answer(answer: contracts.StepResult | errors.FlexcoreError) -> dict[str, Any]:
    if isinstance(answer, errors.FlexcoreError):
        return {"success": False, "error": str(answer), "data": {}}
    diagnosis = answer.diagnosis
    error = f"{diagnosis.detail}. {diagnosis.remedy}" if diagnosis and not answer.success else None
    return {"success": answer.success, "error": error, "data": answer.plain()["data"]}
