# requirements: flexcore_base
"""How a data pipeline went: which runtimes were tried, what was forecast and what really happened. Pure.

A runtime that could not begin the work hands it to the next candidate. Work that has begun and failed is nobody else's:
it would fail again, or be done twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from f.flexcore.lib.core import contracts, errors, requests, workloads

# Errors of a runtime's own check: nothing was begun yet, and the request is not at fault.
REFUSALS = {"Unreachable", "Unavailable", "Forbidden"}
CHECK = "check"
# Categories of the rooms that say so of work which was asked for and never began.
NEVER_BEGAN = {
    "unschedulable",
    "suspended",
    "quota_exceeded",
    "admission_unreachable",
    "image_unreachable",
    "sandbox_failed",
    "start_timeout",
    "busy",
    "install_failed",
}


class Attempt(contracts.Contract):
    """One runtime's turn. started: whether it began the work; error: Windmill's {name, message, step_id, extra}."""

    runtime: str
    started: bool
    success: bool
    duration_s: float | None = None
    result: contracts.StepResult | None = None
    error: dict[str, Any] | None = None

    @property
    def final(self) -> bool:
        """Whether no other runtime gets its turn after it."""
        return self.started


class Actual(contracts.Contract):
    """What the run took. cost_usd: null when a price or what it was to be charged for is not known."""

    duration_s: float | None = None
    cost_usd: float | None = None
    rows: int | None = None
    bytes: int | None = None


class Forecast(contracts.Contract):
    duration_s: workloads.Interval | None = None
    cost_usd: workloads.Interval | None = None


class DataPipelineResult(contracts.Contract):
    """runtime: the one that did the work. run: this execution as a row of history. checks: of a plan, per runtime."""

    success: bool
    runtime: str | None = None
    error: str | None = None
    explain_only: bool = False
    workload: workloads.Workload | None = None
    selection: workloads.Selection | None = None
    forecast: Forecast = Forecast()
    actual: Actual | None = None
    attempts: list[Attempt] = []
    checks: dict[str, Any] = {}
    result: contracts.StepResult | None = None
    run: workloads.Run | None = None
    wm_labels: list[str] = Field(default=[])


def failed_to_start(error: Mapping[str, Any]) -> bool:
    """Whether the runtime never began the work: it did not answer or refused before, or had no place for it.

    error: Windmill's {name, message, step_id, extra}; extra holds a FlexcoreError's attributes.
    """
    extra = error.get("extra") or {}
    details = extra.get("details") or {}
    if error.get("step_id") == CHECK:
        return error.get("name") in REFUSALS
    # What could not be taken away again may begin after all.
    return extra.get("category") in NEVER_BEGAN and details.get("deleted") is not False


def attempt_of(runtime: str, result: Any, duration_s: float | None) -> Attempt:
    """An execute flow's result, or the error that it ended with."""
    runtime = errors.checked(str, runtime, "runtime")
    error = result.get("error") if isinstance(result, dict) else {"name": "NoResult", "message": "no result was given"}
    if error:
        kept = {name: error.get(name) for name in ("name", "message", "step_id", "extra")}
        return Attempt(
            runtime=runtime, started=not failed_to_start(error), success=False, duration_s=duration_s, error=kept
        )
    step = errors.validated(contracts.StepResult, result, "result")
    return Attempt(runtime=runtime, started=True, success=step.success, duration_s=duration_s, result=step)


def labels_of(workflow_type: str, runtime: str | None) -> list[str]:
    """By which Windmill finds the run again."""
    return ["flexcore", f"workflow:{workflow_type}", *([f"runtime:{runtime}"] if runtime else [])]


def cost_usd(
    duration_s: float | None,
    workload: workloads.Workload,
    result: contracts.StepResult | None,
    price: workloads.Price | None,
) -> float | None:
    """What the run was charged for: reserved cores, memory and GPUs over its time, else those that it used.

    None when a price is missing for something that it took, or nothing is known of what it took.
    """
    if price is None or duration_s is None:
        return None
    used, asked = (result.resource_usage if result else None), workload.resources
    hours = duration_s / 3600
    cpu_hours = asked.cpu * hours if asked.cpu is not None else _hours(used.cpu_seconds if used else None)
    memory = asked.memory if asked.memory is not None else (used.peak_memory_bytes if used else None)
    gpu_hours = asked.gpu * hours if asked.gpu is not None else _hours(used.gpu_seconds if used else None)
    amounts = [
        (cpu_hours, price.cpu_hour),
        (None if memory is None else memory / requests.GIB * hours, price.memory_gib_hour),
        (gpu_hours, price.gpu_hour),
    ]
    charged = [amount * each for amount, each in amounts if amount is not None and each is not None]
    unpriced = any(amount and each is None for amount, each in amounts)
    return None if unpriced or not charged else round(sum(charged), 6)


def _hours(seconds: float | None) -> float | None:
    return None if seconds is None else seconds / 3600


def finished(
    attempts: Sequence[Attempt],
    workload: workloads.Workload,
    selection: workloads.Selection,
    price: workloads.Price | None,
) -> DataPipelineResult:
    """The result of a pipeline whose last attempt began the work, well or badly ended."""
    last = attempts[-1] if attempts else None
    if last is None or not last.started:
        return DataPipelineResult(
            success=False,
            error=unstarted(attempts),
            workload=workload,
            selection=selection,
            attempts=list(attempts),
            wm_labels=labels_of(workload.workflow_type, None),
        )
    result = last.result
    actual = Actual(
        duration_s=last.duration_s,
        cost_usd=cost_usd(last.duration_s, workload, result, price),
        rows=rows_of(result),
        bytes=result.output.bytes if result and result.output else None,
    )
    candidate = next((item for item in selection.candidates if item.runtime == last.runtime), None)
    return DataPipelineResult(
        success=last.success,
        runtime=last.runtime,
        error=None if last.success else f"{last.runtime}: {(last.error or {}).get('message') or 'failed'}",
        workload=workload,
        selection=selection,
        forecast=Forecast(
            duration_s=candidate.duration_s if candidate else None, cost_usd=candidate.cost_usd if candidate else None
        ),
        actual=actual,
        attempts=[item.model_copy(update={"result": None}) for item in attempts],
        result=result,
        run=_run(workload, last, actual),
        wm_labels=labels_of(workload.workflow_type, last.runtime),
    )


def _run(workload: workloads.Workload, last: Attempt, actual: Actual) -> workloads.Run | None:
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


def rows_of(result: contracts.StepResult | None) -> int | None:
    if result is None:
        return None
    found = result.output.rows if result.output else result.metrics.get("rows")
    return int(found) if found is not None else None


def unstarted(attempts: Sequence[Attempt]) -> str:
    """What to say when every candidate was tried and none began."""
    reasons = "; ".join(f"{item.runtime}: {(item.error or {}).get('message')}" for item in attempts)
    return f"No suitable runtime available: {reasons or 'no candidate'}"
