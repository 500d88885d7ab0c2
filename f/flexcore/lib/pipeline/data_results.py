# requirements: flexcore_base
"""The data pipeline's result from what its steps left: finished, failed, refused or only planned. Pure.

choice: the plain data of the choice (pipeline/choice); attempts: in the order of their turns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from f.flexcore.lib.core import contracts, errors, pipeline_result, units, workloads

Attempts = Sequence[pipeline_result.Attempt]
SECONDS_PER_HOUR = 3600


def read_choice(choice: Any, analysis: Any) -> Any:
    """The plain data of a choice. A run that began before this bundle was pushed hands on pages instead, and its
    workload comes from a step of its own (analysis)."""
    plain = choice if isinstance(choice, Mapping) else {}
    if not (pages := plain.get("render_all")):
        return plain
    measured = (analysis if isinstance(analysis, Mapping) else {}).get("render_all")
    return {"workload": _last_of(measured).get("workload"), **_last_of(pages)}


def _last_of(pages: Any) -> Mapping[str, Any]:
    last = pages[-1] if isinstance(pages, list) and pages else None
    return last if isinstance(last, Mapping) else {}


def build_result(choice: Any, attempts: Attempts) -> pipeline_result.DataPipelineResult:
    """The result of a pipeline whose last attempt began the work, however it ended, or of which none began it."""
    workload, selection = _read_choice(choice)
    last = attempts[-1] if attempts else None
    if last is None or not last.started:
        return pipeline_result.DataPipelineResult(
            success=False,
            error=_explain_no_start(attempts),
            workload=workload,
            selection=selection,
            attempts=list(attempts),
            wm_labels=build_labels(workload.workflow_type, None),
        )
    prices = choice.get("prices") or {}
    price = errors.validate(workloads.Price, prices.get(last.runtime) or {}, "choice.prices")
    actual = pipeline_result.Actual(
        duration_s=last.duration_s,
        cost_usd=compute_cost_usd(last.duration_s, workload, last.result, price),
        rows=pipeline_result.count_rows(last.result),
        bytes=last.result.output.bytes if last.result and last.result.output else None,
    )
    return pipeline_result.DataPipelineResult(
        success=last.success,
        runtime=last.runtime,
        error=None if last.success else f"{last.runtime}: {(last.error or {}).get('message') or 'failed'}",
        workload=workload,
        selection=selection,
        forecast=_forecast(selection, last.runtime),
        actual=actual,
        attempts=[item.model_copy(update={"result": None}) for item in attempts],
        result=last.result,
        run=_build_run(workload, last, actual),
        wm_labels=build_labels(workload.workflow_type, last.runtime),
    )


def build_plan(choice: Any) -> pipeline_result.DataPipelineResult:
    """What would be done. Success: a runtime would be chosen, and its service would take the work."""
    workload, selection = _read_choice(choice)
    checks = choice.get("checks") or {}
    runtime = selection.runtime
    refusal = checks.get(runtime) if runtime and (checks.get(runtime) or {}).get("success") is False else None
    return pipeline_result.DataPipelineResult(
        success=runtime is not None and refusal is None,
        runtime=runtime,
        error=selection.error or (f"{runtime}: {refusal['error']}" if refusal else None),
        explain_only=True,
        workload=workload,
        selection=selection,
        forecast=_forecast(selection, runtime),
        checks=checks,
        wm_labels=[*contracts.LABELS, contracts.PLAN_LABEL, f"workflow:{workload.workflow_type}"],
    )


def build_failure(
    choice: Any, attempts: Attempts, error: Mapping[str, Any], is_plan: bool = False
) -> pipeline_result.DataPipelineResult:
    """The result of a failed run: as `build_result` when a runtime was tried, else why none was. is_plan: nothing was
    to be run, so nothing counts it as a failure."""
    message = str(error.get("message") or error.get("name") or "unknown error")
    plain = choice if isinstance(choice, Mapping) and "workload" in choice else {}
    if attempts and plain:
        result = build_result(plain, attempts)
        # What failed may also be the pipeline's own last step.
        return result if not result.success else result.model_copy(update={"success": False, "error": message})
    # A choice that found no runtime has its reasons in its error.
    found = plain or (error.get("extra") or {}).get("details") or {}
    workload = workloads.Workload.model_validate(found["workload"]) if found.get("workload") else None
    labels = build_labels(workload.workflow_type, None) if workload else [*contracts.LABELS]
    labels += [contracts.PLAN_LABEL] if is_plan else []
    labels += contracts.label_refusal(str(error.get("name")), str((error.get("extra") or {}).get("category")))
    return pipeline_result.DataPipelineResult(
        success=False, error=message, workload=workload, selection=found.get("selection"), wm_labels=labels
    )


def raise_failure(result: pipeline_result.DataPipelineResult) -> None:
    """Raises the error of an unsuccessful result, with the runtime's own category and details."""
    if result.success:
        return
    extra = ((result.attempts[-1].error or {}).get("extra") or {}) if result.attempts else {}
    kind = errors.ExecutionFailed if result.runtime else errors.Unavailable
    category = str(extra.get("category") or "")
    subject = str(extra.get("subject") or result.runtime or "runtimes")
    raise kind(result.error or "", subject=subject, category=category, **(extra.get("details") or {}))


def build_labels(workflow_type: str, runtime: str | None) -> list[str]:
    """By which Windmill finds the run again."""
    return [*contracts.LABELS, f"workflow:{workflow_type}", *([f"runtime:{runtime}"] if runtime else [])]


def compute_cost_usd(
    duration_s: float | None,
    workload: workloads.Workload,
    result: contracts.StepResult | None,
    price: workloads.Price | None,
) -> float | None:
    """What the run is charged for: reserved cores, memory and GPUs over its time, else those that it used.

    None when a price is missing for something that it took, or nothing is known of what it took.
    """
    if price is None or duration_s is None:
        return None
    used, reserved = (result.resource_usage if result else None), workload.resources
    hours = duration_s / SECONDS_PER_HOUR
    cpu_hours = reserved.cpu * hours if reserved.cpu is not None else _hours(used.cpu_seconds if used else None)
    memory = reserved.memory if reserved.memory is not None else (used.peak_memory_bytes if used else None)
    gpu_hours = reserved.gpu * hours if reserved.gpu is not None else _hours(used.gpu_seconds if used else None)
    amounts = [
        (cpu_hours, price.cpu_hour),
        (None if memory is None else memory / units.GIB * hours, price.memory_gib_hour),
        (gpu_hours, price.gpu_hour),
    ]
    charged = [amount * each for amount, each in amounts if amount is not None and each is not None]
    unpriced = any(amount and each is None for amount, each in amounts)
    return None if unpriced or not charged else round(sum(charged), 6)


def _hours(seconds: float | None) -> float | None:
    return None if seconds is None else seconds / SECONDS_PER_HOUR


def _read_choice(choice: Any) -> tuple[workloads.Workload, workloads.Selection]:
    return (
        errors.validate(workloads.Workload, choice.get("workload"), "choice.workload"),
        errors.validate(workloads.Selection, choice.get("selection"), "choice.selection"),
    )


def _forecast(selection: workloads.Selection, runtime: str | None) -> pipeline_result.Forecast:
    candidate = next((item for item in selection.candidates if item.runtime == runtime), None)
    if candidate is None:
        return pipeline_result.Forecast()
    return pipeline_result.Forecast(duration_s=candidate.duration_s, cost_usd=candidate.cost_usd)


def _build_run(
    workload: workloads.Workload, last: pipeline_result.Attempt, actual: pipeline_result.Actual
) -> workloads.Run | None:
    if last.duration_s is None:
        return None
    return workloads.Run(
        workflow_type=workload.workflow_type,
        runtime=last.runtime,
        data_size_bytes=workload.data_size,
        rows=workload.rows if workload.rows is not None else actual.rows,
        complexity=workload.complexity,
        duration_s=last.duration_s,
        cost_usd=actual.cost_usd,
        success=last.success,
    )


def _explain_no_start(attempts: Attempts) -> str:
    """Why none of the candidates began."""
    reasons = "; ".join(f"{item.runtime}: {(item.error or {}).get('message')}" for item in attempts)
    return f"No suitable runtime available: {reasons or 'no candidate'}"
