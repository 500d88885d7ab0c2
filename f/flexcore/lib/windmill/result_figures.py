# requirements: flexcore_base
"""The figures in an execution's result, whichever flow made it: rows, cost, forecast and what came of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ResultFigures:
    """The figures in an execution's result; None is not known. actual_s: how long the work took, which forecast_s, low
    and high, its p10 and p90, are a forecast of; the whole flow takes longer."""

    rows: float | None = None
    cost_usd: float | None = None
    forecast_s: float | None = None
    actual_s: float | None = None
    forecast_low_s: float | None = None
    forecast_high_s: float | None = None


def read_figures(result: Any) -> ResultFigures:
    """Of a data pipeline's result, a step's, or the hybrid pipeline's extraction."""
    if not isinstance(result, dict):
        return ResultFigures()
    if isinstance(actual := result.get("actual"), dict):
        low, p50, high = (_number_at(result, "forecast", "duration_s", name) for name in ("p10", "p50", "p90"))
        rows, cost, duration = (_number(actual.get(name)) for name in ("rows", "cost_usd", "duration_s"))
        return ResultFigures(rows, cost, p50, duration, low, high)
    stages = result.get("stages") or result.get("partial_results")
    for stage in stages if isinstance(stages, list) else ():
        if isinstance(stage, dict) and stage.get("stage") == "extraction":
            return ResultFigures() if stage.get("reused") else read_figures(stage.get("result"))
    rows = _number_at(result, "output", "rows")
    return ResultFigures(rows if rows is not None else _number_at(result, "metrics", "rows"))


def _number_at(value: Any, *names: str) -> float | None:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return _number(value)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
