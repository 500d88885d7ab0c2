# requirements: flexcore_learning
"""Forecasts from history: robust, pooled, calibrated. Pure; the only part of the selection that needs numpy.

rows       successes tell durations and costs, all tell how often a runtime succeeds; exact duplicates count once
curve      Bayesian linear regression on logs with Huber's weights (k = HUBER; none beyond REJECT deviations), begun at
           Theil's slope, so that neither a wrong duration nor a wrong size of six orders of magnitude bends it
drift      the largest jump between the means of two stretches of residuals (in time) beyond JUMP deviations: what was
           before keeps its level to itself and counts OLD_WEIGHT, or nothing once enough has come after; then
           exponential smoothing with the rate that predicted each next run best
interval   leave-one-out residuals, scaled by size and type, at ranks p · (n + 1) (the finite-sample correction of
           split conformal prediction); few of them are drawn to Student's t
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime

import numpy as np

from f.flexcore.lib.core import workloads
from f.flexcore.lib.selection import cost_regression, forecast, robust_stats, success_model, training_data

# Below so many known costs, the unknown ones are filled from the durations.
COSTS_ENOUGH = 20


def fit(history: Iterable[workloads.Run], now: datetime | None = None) -> forecast.Forecasts:
    """now: later starts are clock skew (default: the time of the call)."""
    now = now or datetime.now(UTC)
    runs = list(history)
    columns, link, duplicates = training_data.by_runtime(runs, now)
    paid = [run.cost_usd for run in runs if run.cost_usd]
    # Free runs have no logarithm; a thousandth of the cheapest is as good as nothing beside it.
    floor = min(paid) / 1000 if paid else 1e-9
    return forecast.Forecasts(
        fitted_at=now,
        runs=len(runs),
        duplicates=duplicates,
        rows_link=link,
        sizes=_sizes(list(columns.values())),
        runtimes={name: _runtime(rows, floor) for name, rows in columns.items()},
    )


def _sizes(columns: list[training_data.Rows]) -> dict[str, forecast.Sizes]:
    kinds = np.concatenate([rows.kind for rows in columns]) if columns else np.array([], dtype=str)
    x = np.concatenate([rows.x for rows in columns]) if columns else np.array([])
    known = ~np.isnan(x)
    found = {}
    for kind in ["", *np.unique(kinds[known]).tolist()]:
        mine = x[known & (kinds == kind)] if kind else x[known]
        if mine.size:
            found[kind] = forecast.Sizes(
                mean=float(np.median(mine)), variance=robust_stats.mad(mine - np.median(mine)) ** 2
            )
    return found


def _runtime(rows: training_data.Rows, floor: float) -> forecast.RuntimeModel:
    good = rows.where(rows.success)
    duration, forgotten = cost_regression.curve(good, np.log(good.duration))
    cost, _ = cost_regression.curve(good, _log_costs(good, floor))
    return forecast.RuntimeModel(
        samples=_counted(good.kind),
        failures=_counted(rows.kind[~rows.success]),
        forgotten=forgotten,
        duration=duration,
        cost=cost,
        odds=success_model.odds(rows),
    )


def _counted(kinds: robust_stats.Names) -> dict[str, int]:
    return dict(sorted(Counter(kinds.tolist()).items()))


def _log_costs(good: training_data.Rows, floor: float) -> robust_stats.Array:
    """Where few costs are known, the others follow the durations at the usual ratio; else the unknown stay NaN."""
    y = np.log(np.maximum(good.cost, floor))
    known = ~np.isnan(y)
    if known.any() and known.sum() < min(len(y), COSTS_ENOUGH):
        ratio = np.median(y[known] - np.log(good.duration[known]))
        y = np.where(known, y, np.log(good.duration) + ratio)
    return y
