# requirements: flexcore_base
"""What was learned, for Windmill's job page and for programs: one line for each runtime and type of workflow. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from f.flexcore.lib.core import tables, workloads
from f.flexcore.lib.selection import forecast

HEAD = (
    "Runtime",
    "Workflow type",
    "Finished",
    "Failed",
    "Sizes seen",
    "Usual size takes (p10 · p50 · p90)",
    "and costs",
)


def rows(model: forecast.Forecasts) -> list[dict[str, Any]]:
    """duration_s and cost_usd: of the type's median size; null when nothing is known."""
    return [
        _row(model, name, runtime, kind)
        for name, runtime in model.runtimes.items()
        for kind in sorted({*runtime.samples, *runtime.failures})
    ]


def _row(model: forecast.Forecasts, name: str, runtime: forecast.RuntimeModel, kind: str) -> dict[str, Any]:
    found = model.estimate(workloads.Workload(workflow_type=kind or "?", runtimes=[name]), name)
    return {
        "runtime": name,
        "workflow_type": kind,
        "samples": runtime.samples.get(kind, 0),
        "failures": runtime.failures.get(kind, 0),
        "success_probability": found.success,
        "sizes": _sizes(runtime.duration),
        "duration_s": found.duration and found.duration.interval().plain(),
        "cost_usd": found.cost and found.cost.interval().plain(),
    }


def _sizes(curve: forecast.Curve | None) -> list[int] | None:
    return [round(math.exp(end)) for end in (curve.low, curve.high)] if curve else None


def html(model: forecast.Forecasts) -> str:
    lines = [
        [
            row["runtime"],
            row["workflow_type"],
            str(row["samples"]),
            str(row["failures"]),
            " to ".join(map(tables.size_text, row["sizes"] or [None])),
            _interval(row["duration_s"], tables.seconds_text),
            _interval(row["cost_usd"], tables.money_text),
        ]
        for row in rows(model)
    ]
    return tables.html_table(HEAD, lines)


def _interval(interval: dict[str, float] | None, text: Callable[[float | None], str]) -> str:
    return tables.NONE if interval is None else " · ".join(map(text, interval.values()))
