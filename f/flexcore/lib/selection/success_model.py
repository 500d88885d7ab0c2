# requirements: flexcore_learning
"""How likely a run succeeds: penalized logistic regression on log size and type of workflow. Pure."""

from __future__ import annotations

import numpy as np

from f.flexcore.lib.selection import drift, forecast, robust_stats, training_data

# Prior log odds (93 %), and prior deviations: of the level, of a type around it, and of the slope over log size.
PRIOR_LOG_ODDS, LEVEL_PRIOR, TYPE_PRIOR, SLOPE_PRIOR = 2.6, 1.5, 0.7, 1.0
# A gain of log likelihood from the slope that is hardly chance.
MIN_SLOPE_GAIN = 2.0
NEWTON_ROUNDS, MAX_NEWTON_STEP = 12, 2.0


def fit_success_model(table: training_data.RunTable) -> forecast.SuccessModel:
    """Return the model of all runs, or of those since the rate of success clearly changed."""
    table = _since_change(table)
    known = ~np.isnan(table.log_size)
    sizes = table.log_size[known]
    center = float(np.median(sizes)) if known.any() else 0.0
    x = np.where(known, table.log_size - center, 0.0)
    seen = np.unique(table.workflow_type).tolist()
    types = seen if len(seen) > 1 else []
    flat = np.column_stack([np.ones(len(x)), *((table.workflow_type == kind).astype(float) for kind in types)])
    means, deviations = [PRIOR_LOG_ODDS, *[0.0] * len(types)], [LEVEL_PRIOR, *[TYPE_PRIOR] * len(types)]
    without_slope, likelihood = _fit_logistic(flat, table.success, means, deviations)
    with_slope, better = _fit_logistic(
        np.column_stack([flat, x]), table.success, [*means, 0.0], [*deviations, SLOPE_PRIOR]
    )
    beta = with_slope if better - likelihood > MIN_SLOPE_GAIN else np.append(without_slope, 0.0)
    return forecast.SuccessModel(
        level=float(beta[0]),
        slope=float(beta[-1]),
        centre=center,
        low=float(sizes.min()) if known.any() else 0.0,
        high=float(sizes.max()) if known.any() else 0.0,
        types={kind: float(value) for kind, value in zip(types, beta[1:-1], strict=True)},
        runs=len(x),
    )


def _since_change(table: training_data.RunTable) -> training_data.RunTable:
    change = drift.rate_change_point(table.success[table.has_start])
    if not change:
        return table
    begin = len(table.log_size) - int(table.has_start.sum()) + change
    return table.filter(np.arange(len(table.log_size)) >= begin)


def _fit_logistic(
    x: robust_stats.Array, success: robust_stats.Mask, means: list[float], deviations: list[float]
) -> tuple[robust_stats.Array, float]:
    """Coefficients and log likelihood, by Newton's method with bounded steps."""
    beta, mean, precision = np.array(means), np.array(means), np.array(deviations) ** -2.0
    for _ in range(NEWTON_ROUNDS):
        p = _probabilities(x, beta)
        gradient = x.T @ (success - p) - precision * (beta - mean)
        curvature = (x.T * np.maximum(p * (1 - p), 1e-6)) @ x + np.diag(precision)
        beta = beta + np.clip(np.linalg.solve(curvature, gradient), -MAX_NEWTON_STEP, MAX_NEWTON_STEP)
    p = _probabilities(x, beta)
    return beta, float(np.sum(np.log(np.where(success, p, 1 - p))))


def _probabilities(x: robust_stats.Array, beta: robust_stats.Array) -> robust_stats.Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(x @ beta, -20, 20))))
