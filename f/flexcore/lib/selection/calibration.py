# requirements: flexcore_learning
"""What the errors of a curve tell of its next error: how wide, where, and of which shape. Pure.

Errors are of runs that were left out, scaled by size and type; quantiles stand at ranks p · (n + 1), the finite-sample
correction of split conformal prediction, and those of few runs are drawn to Student's t.
"""

from __future__ import annotations

import numpy as np

from f.flexcore.lib.selection import forecast, robust_stats

WIDTHS_FROM = 15
# Prior deviations of the log scale for each unit of log size, and of a type.
WIDENING, TYPE_WIDTH = 0.15, 0.3
# Errors count as at most FURTHEST deviations in an interval. In a mean, one beyond REJECT deviations and a factor of
# e^FACTOR (20) is taken for wrong, and none counts as more than that factor.
FURTHEST, REJECT, FACTOR = 3.5, 8.0, 3.0
# As many runs as Student's t and normal noise count for beside what was seen.
TAIL_RUNS = 20
NARROWEST = 0.001


def widths_of(
    errors: robust_stats.Array, x: robust_stats.Array, kinds: robust_stats.Names
) -> tuple[float, dict[str, float]]:
    """How the log of the error's size changes with log size, and by type; both drawn to no change."""
    known = np.isfinite(errors)
    if known.sum() < WIDTHS_FROM:
        return 0.0, {}
    size = np.abs(errors[known])
    logs = np.log(np.maximum(size, 0.05 * max(np.median(size), 1e-9)))
    logs -= logs.mean()
    spread = max(float(np.var(logs)), 0.1)
    places = x[known] - x[known].mean()
    widening = float(places @ logs / (places @ places + spread / WIDENING**2))
    logs -= widening * places
    widths = {}
    if len(set(kinds[known].tolist())) > 1:
        for kind in np.unique(kinds[known]):
            mine = logs[kinds[known] == kind]
            widths[str(kind)] = float(mine.sum() / (len(mine) + spread / TYPE_WIDTH**2))
    return widening, widths


def distribution(errors: robust_stats.Array) -> tuple[list[float], float]:
    """Quantiles of the next error at LEVELS, and the log of the mean of its exponential."""
    errors = np.sort(errors[np.isfinite(errors)])
    n, scale = len(errors), max(robust_stats.deviation(errors), NARROWEST)
    bounded = np.clip(errors, -FURTHEST * scale, FURTHEST * scale)
    ranks = np.array(forecast.LEVELS) * (n + 1)
    seen = np.interp(ranks, np.arange(1, n + 1), bounded)
    drawn = np.array([scale * robust_stats.student(level, n) for level in forecast.LEVELS])
    trust = np.where((ranks >= 1) & (ranks <= n), n / (n + TAIL_RUNS), 0.0)
    quantiles = np.maximum.accumulate(trust * seen + (1 - trust) * drawn)
    real = errors[errors <= max(REJECT * scale, FACTOR)]
    smear = (len(real) * np.log(np.mean(np.exp(np.minimum(real, FACTOR)))) + TAIL_RUNS * scale**2 / 2) / (
        len(real) + TAIL_RUNS
    )
    return quantiles.tolist(), float(smear)
