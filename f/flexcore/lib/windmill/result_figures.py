# requirements: flexcore_base
"""The figures in an execution's result, whichever flow made it: rows, cost, forecast and what came of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ResultFigures:
    """The figures in an execution's result; None is not known."""

    rows: float | None = None
    cost_usd: float | None = None
    forecast_s: float | None = None
    actual_s: float | None = None


def read_figures(result: Any) -> ResultFigures:
    """Of a data pipeline's result, a step's, or the hybrid pipeline's extraction."""
    if not isinstance(result, dict):
        return ResultFigures()
    if isinstance(actual := result.get("actual"), dict):
        p50 = _number_at(result, "forecast", "duration_s", "p50")
        return ResultFigures(
            _number(actual.get("rows")), _number(actual.get("cost_usd")), p50, _number(actual.get("duration_s"))
        )
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
