# requirements: flexcore_base
"""The data pipeline's result: which runtimes were tried, what was forecast, and how it went."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from f.flexcore.lib.core import contracts, workloads


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


class DataPipelineResult(contracts.ShownContract):
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


def count_rows(result: contracts.StepResult | None) -> int | None:
    """The rows that a step has handed on; None when they were not counted."""
    if result is None:
        return None
    rows = result.output.rows if result.output else result.metrics.get("rows")
    return None if rows is None else int(rows)
