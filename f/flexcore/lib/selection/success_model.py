# requirements: flexcore_learning
"""How likely a run succeeds: penalised logistic regression on log size and type of workflow. Pure."""

from __future__ import annotations

import numpy as np

from f.flexcore.lib.selection import drift, forecast, robust_stats, training_data

# Prior log odds (93 %), and deviations of the level, of a type around it, and of the change with each unit of log size.
USUAL, LEVEL, TYPE, SLOPE = 2.6, 1.5, 0.7, 1.0
# A gain of log likelihood from the slope that is hardly chance.
SLOPE_GAIN = 2.0
NEWTON = 12


def odds(rows: training_data.Rows) -> forecast.Odds:
    """Of all runs, or of those since the rate of success clearly turned."""
    timed = int(rows.timed.sum())
    turned = drift.turn(rows.success[rows.timed])
    if turned:
        rows = rows.where(np.arange(len(rows.x)) >= len(rows.x) - timed + turned)
    known = ~np.isnan(rows.x)
    centre = float(np.median(rows.x[known])) if known.any() else 0.0
    x = np.where(known, rows.x - centre, 0.0)
    found = np.unique(rows.kind).tolist()
    kinds = found if len(found) > 1 else []
    flat = np.column_stack([np.ones(len(x)), *((rows.kind == kind).astype(float) for kind in kinds)])
    means, deviations = [USUAL, *[0.0] * len(kinds)], [LEVEL, *[TYPE] * len(kinds)]
    beta, likelihood = _logistic(flat, rows.success, means, deviations)
    sloped, better = _logistic(np.column_stack([flat, x]), rows.success, [*means, 0.0], [*deviations, SLOPE])
    chosen = sloped if better - likelihood > SLOPE_GAIN else np.append(beta, 0.0)
    return forecast.Odds(
        level=float(chosen[0]),
        slope=float(chosen[-1]),
        centre=centre,
        low=float(rows.x[known].min()) if known.any() else 0.0,
        high=float(rows.x[known].max()) if known.any() else 0.0,
        types={kind: float(value) for kind, value in zip(kinds, chosen[1:-1], strict=True)},
        runs=len(x),
    )


def _logistic(
    x: robust_stats.Array, success: robust_stats.Mask, means: list[float], deviations: list[float]
) -> tuple[robust_stats.Array, float]:
    """By Newton's method with bounded steps: coefficients and log likelihood."""
    beta, mean, precision = np.array(means), np.array(means), np.array(deviations) ** -2.0
    for _ in range(NEWTON):
        p = _chances(x, beta)
        slope = x.T @ (success - p) - precision * (beta - mean)
        curvature = (x.T * np.maximum(p * (1 - p), 1e-6)) @ x + np.diag(precision)
        beta = beta + np.clip(np.linalg.solve(curvature, slope), -2, 2)
    p = _chances(x, beta)
    return beta, float(np.sum(np.log(np.where(success, p, 1 - p))))


def _chances(x: robust_stats.Array, beta: robust_stats.Array) -> robust_stats.Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(x @ beta, -20, 20))))
