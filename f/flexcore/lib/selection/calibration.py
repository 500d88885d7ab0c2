# requirements: flexcore_learning
"""The distribution of a curve's next error: its scale by size and type, its quantiles, and its mean. Pure.

Errors are those of runs that were left out of the fit. Quantiles stand at ranks p · (n + 1), the finite-sample
correction of split conformal prediction; where few runs are known they are drawn to Student's t.
"""

from __future__ import annotations

import numpy as np

from f.flexcore.lib.selection import log_distribution, robust_stats

# Fewer errors than this have one scale for all sizes and types.
MIN_SCALE_RUNS = 15
# Prior deviations of the slope of the log scale over log size, and of a type's own log scale.
SCALE_SLOPE_PRIOR, TYPE_SCALE_PRIOR = 0.15, 0.3
# Errors count as at most MAX_DEVIATIONS in an interval. The mean leaves out errors beyond REJECT_DEVIATIONS and a
# factor of e^MAX_LOG_ERROR (20), and no error counts as more than that factor.
MAX_DEVIATIONS, REJECT_DEVIATIONS, MAX_LOG_ERROR = 3.5, 8.0, 3.0
# Student's t and normal noise count as so many runs beside those that were seen.
PRIOR_RUNS = 20
MIN_SCALE = 0.001


def fit_error_scale(
    errors: robust_stats.Array, log_sizes: robust_stats.Array, types: robust_stats.Labels
) -> tuple[float, dict[str, float]]:
    """Return the slope of the log scale of errors over log size, and each type's own log scale; both shrink to 0."""
    known = np.isfinite(errors)
    if known.sum() < MIN_SCALE_RUNS:
        return 0.0, {}
    absolute = np.abs(errors[known])
    logs = np.log(np.maximum(absolute, 0.05 * max(np.median(absolute), 1e-9)))
    logs -= logs.mean()
    variance = max(float(np.var(logs)), 0.1)
    x = log_sizes[known] - log_sizes[known].mean()
    slope = float(x @ logs / (x @ x + variance / SCALE_SLOPE_PRIOR**2))
    logs -= slope * x
    by_type: dict[str, float] = {}
    if len(set(types[known].tolist())) > 1:
        for kind in np.unique(types[known]):
            of_type = logs[types[known] == kind]
            by_type[str(kind)] = float(of_type.sum() / (len(of_type) + variance / TYPE_SCALE_PRIOR**2))
    return slope, by_type


def fit_error_distribution(errors: robust_stats.Array) -> tuple[list[float], float]:
    """Return the quantiles of the next error at QUANTILE_LEVELS, and the log of the mean of its exponential."""
    errors = np.sort(errors[np.isfinite(errors)])
    n, scale = len(errors), max(robust_stats.winsorized_deviation(errors), MIN_SCALE)
    bounded = np.clip(errors, -MAX_DEVIATIONS * scale, MAX_DEVIATIONS * scale)
    ranks = np.array(log_distribution.QUANTILE_LEVELS) * (n + 1)
    empirical = np.interp(ranks, np.arange(1, n + 1), bounded)
    prior = np.array([scale * robust_stats.student_t_quantile(level, n) for level in log_distribution.QUANTILE_LEVELS])
    weight = np.where((ranks >= 1) & (ranks <= n), n / (n + PRIOR_RUNS), 0.0)
    quantiles = np.maximum.accumulate(weight * empirical + (1 - weight) * prior)
    return quantiles.tolist(), _log_mean_exponential(errors, scale)


def _log_mean_exponential(errors: robust_stats.Array, scale: float) -> float:
    kept = errors[errors <= max(REJECT_DEVIATIONS * scale, MAX_LOG_ERROR)]
    seen = len(kept) * np.log(np.mean(np.exp(np.minimum(kept, MAX_LOG_ERROR))))
    return float((seen + PRIOR_RUNS * scale**2 / 2) / (len(kept) + PRIOR_RUNS))
