# requirements: flexcore_learning
"""Forecasts from history: robust, pooled, calibrated. Pure.

training_data    runs as columns: no duplicates, in order of time, sizes from rows where only those are known
cost_regression  the curves of log duration and log cost: Bayesian regression with Huber's weights
drift            jumps, ramps and slow moves of a curve's level; changes of a rate of success
calibration      the interval around a curve, from errors of runs that were left out
success_model    how likely a run succeeds, from all runs; durations and costs come from successful ones
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import numpy as np

from f.flexcore.lib.core import workloads
from f.flexcore.lib.selection import cost_regression, forecast, robust_stats, success_model, training_data

# Below so many known costs, the unknown ones are filled from the durations.
MIN_COST_RUNS = 20
# A free run has no logarithm; a thousandth of the cheapest is as good as nothing beside it.
FREE_COST_RATIO, FREE_COST_USD = 0.001, 1e-9


def fit_forecasts(history: Iterable[workloads.Run], now: datetime | None = None) -> forecast.Forecasts:
    """Return the model of a history. now: later starts are clock skew (default: the time of the call)."""
    now = now or datetime.now(UTC)
    runs = list(history)
    data = training_data.build_training_data(runs, now)
    paid = [run.cost_usd for run in runs if run.cost_usd]
    floor = min(paid) * FREE_COST_RATIO if paid else FREE_COST_USD
    return forecast.Forecasts(
        fitted_at=now,
        runs=len(runs),
        duplicates=data.duplicates,
        rows_link=data.size_link,
        sizes=_summarize_sizes(list(data.tables.values())),
        runtimes={name: _fit_runtime(table, floor) for name, table in data.tables.items()},
    )


def _summarize_sizes(tables: Sequence[training_data.RunTable]) -> dict[str, forecast.SizeSummary]:
    types = np.concatenate([table.workflow_type for table in tables]) if tables else np.array([], dtype=str)
    log_size = np.concatenate([table.log_size for table in tables]) if tables else np.array([])
    known = ~np.isnan(log_size)
    summaries = {}
    for kind in ["", *np.unique(types[known]).tolist()]:
        sizes = log_size[known & (types == kind)] if kind else log_size[known]
        if sizes.size:
            median = np.median(sizes)
            summaries[kind] = forecast.SizeSummary(
                mean=float(median), variance=robust_stats.mad_scale(sizes - median) ** 2
            )
    return summaries


def _fit_runtime(table: training_data.RunTable, cost_floor: float) -> forecast.RuntimeModel:
    good = table.filter(table.success)
    duration, forgotten = cost_regression.fit_curve(good, np.log(good.duration_s))
    cost, _ = cost_regression.fit_curve(good, _log_costs(good, cost_floor))
    return forecast.RuntimeModel(
        samples=_count_types(good.workflow_type),
        failures=_count_types(table.workflow_type[~table.success]),
        forgotten=forgotten,
        duration=duration,
        cost=cost,
        odds=success_model.fit_success_model(table),
    )


def _count_types(types: robust_stats.Labels) -> dict[str, int]:
    return dict(sorted(Counter(types.tolist()).items()))


def _log_costs(good: training_data.RunTable, floor: float) -> robust_stats.Array:
    """Where few costs are known, the others follow the durations at the usual ratio; else the unknown stay NaN."""
    y = np.log(np.maximum(good.cost_usd, floor))
    known = ~np.isnan(y)
    if known.any() and known.sum() < min(len(y), MIN_COST_RUNS):
        ratio = np.median(y[known] - np.log(good.duration_s[known]))
        y = np.where(known, y, np.log(good.duration_s) + ratio)
    return y
