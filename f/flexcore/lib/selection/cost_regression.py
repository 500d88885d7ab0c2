# requirements: flexcore_learning
"""The curve of log duration or log cost of one runtime: Bayesian regression with Huber's weights. Pure.

It begins at Theil's slope, so that neither a wrong duration nor a wrong size bends it; runs beyond REJECT_DEVIATIONS
have no weight. Runs before a jump of the level keep a level of their own and count OLD_WEIGHT, or nothing once
OLD_IGNORED_AFTER runs have come after; a steady ramp is taken out. The knee is the one that predicts each run best
from the others. Symbols and formulas: docs/learning.md.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from f.flexcore.lib.selection import calibration, drift, forecast, robust_stats, training_data

# Huber's constant: 95 % as good as least squares when the noise is normal.
HUBER_K, REJECT_DEVIATIONS = 1.345, 8.0
OLD_WEIGHT, OLD_IGNORED_AFTER = 0.5, 30
# Types with terms of their own, and the runs from which one has a slope of its own.
MAX_TYPES, MIN_TYPE_SLOPE_RUNS = 12, 8
# Prior mean and deviation: time and cost grow with size, slowly at first and at most somewhat faster than it.
PRIORS = {
    "level": (0.0, 100.0),
    "size": (0.4, 0.4),
    "bend": (0.4, 0.4),
    "rows": (0.0, 0.3),
    "complex": (0.0, 0.7),
    "ml": (0.0, 0.7),
}
# How far a level of old may lie from the present one, and how far a ramp may lead over the whole history.
OLD_LEVEL_PRIOR, RAMP_PRIOR = 3.0, 2.0
# Noise below a percent cannot be told from none.
MIN_NOISE = 0.01
# The noise before the first run: a run deviates by about a third, as if two runs had shown it.
PRIOR_NOISE, PRIOR_NOISE_RUNS = 0.3, 2
REWEIGHT_ROUNDS = 8
MIN_RUNS = 3
KNEE_QUANTILES, MIN_KNEE_RUNS = (0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95), 12
# From so many runs since the last jump on, older ones say nothing of the error.
MIN_CALIBRATION_RUNS = 15
# 1 minus the leverage of a run, which its left-out residual is divided by, counts as at least so much.
MIN_RESIDUAL_SHARE = 0.05

# A feature's name, its column, and the prior mean and deviation of its coefficient.
Feature = tuple[str, robust_stats.Array, float, float]


@dataclass(frozen=True, slots=True)
class History:
    """The drift that was found. jumps: where a new level begins; ramp: whether it still moves steadily."""

    jumps: list[int]
    ramp: bool

    @property
    def present(self) -> int:
        """Where the present level begins."""
        return self.jumps[-1] if self.jumps else 0


class DesignMatrix:
    """The features of every run as columns, and the prior of their coefficients. Features of the past alone have names
    that no workload has: they are 0 now."""

    def __init__(self, table: training_data.RunTable, knee: float, center: float, history: History) -> None:
        features = [*_size_features(table, knee, center), *_type_features(table, center)]
        features += _history_features(table, history)
        self.names = [name for name, *_ in features]
        self.matrix = np.column_stack([column for _, column, *_ in features])
        self.mean = np.array([mean for *_, mean, _ in features])
        self.precision = np.array([1 / deviation**2 for *_, deviation in features])


def _centered_sizes(table: training_data.RunTable, center: float) -> robust_stats.Array:
    """Log sizes around the center; 0 for an unknown one."""
    return np.asarray(np.where(np.isnan(table.log_size), center, table.log_size) - center)


def _size_features(table: training_data.RunTable, knee: float, center: float) -> Iterator[Feature]:
    x = _centered_sizes(table, center)
    yield "level", np.ones(len(x)), *PRIORS["level"]
    if np.ptp(x) > 0:
        yield "size", x, *PRIORS["size"]
        yield "bend", np.logaddexp(0, x + center - knee), *PRIORS["bend"]
    if np.any(table.extra_rows):
        yield "rows", table.extra_rows, *PRIORS["rows"]
    for name in ("complex", "ml"):
        if np.any(table.complexity == name):
            yield name, (table.complexity == name).astype(float), *PRIORS[name]


def _type_features(table: training_data.RunTable, center: float) -> Iterator[Feature]:
    x = _centered_sizes(table, center)
    counts = Counter(table.workflow_type.tolist())
    types = [kind for kind, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MAX_TYPES]]
    for kind in types:
        of_type = table.workflow_type == kind
        yield f"level:{kind}", of_type.astype(float), 0.0, forecast.TYPE_LEVEL_PRIOR
        if len(types) > 1 and counts[kind] >= MIN_TYPE_SLOPE_RUNS and np.ptp(x) > 0:
            yield f"slope:{kind}", np.where(of_type, x, 0.0), 0.0, forecast.TYPE_SLOPE_PRIOR


def _history_features(table: training_data.RunTable, history: History) -> Iterator[Feature]:
    n = len(table.log_size)
    place = np.arange(n)
    for jump in history.jumps:
        yield f"before {jump}", (place < jump).astype(float), 0.0, OLD_LEVEL_PRIOR
    if history.ramp:
        yield "ramp", np.where(table.has_start, (place - n) / n, -1.0), 0.0, RAMP_PRIOR


@dataclass(frozen=True, slots=True)
class Posterior:
    """beta and its covariance; residuals; the variance of the curve at each run; left_out: residuals of each run from
    the curve of the others; noise: variance of one run around the curve."""

    beta: robust_stats.Array
    covariance: robust_stats.Array
    residuals: robust_stats.Array
    variances: robust_stats.Array
    left_out: robust_stats.Array
    noise: float
    weights: robust_stats.Array


def fit_curve(table: training_data.RunTable, y: robust_stats.Array) -> tuple[forecast.Curve | None, int]:
    """Return the curve of `y`, and how many runs before the last jump count little; no curve below MIN_RUNS runs."""
    known = np.isfinite(y)
    with_size = known & ~np.isnan(table.log_size)
    if with_size.sum() >= max(MIN_RUNS, known.sum() / 2):
        known = with_size
    if known.sum() < MIN_RUNS:
        return None, 0
    table, y = table.filter(known), y[known]
    x = table.log_size[~np.isnan(table.log_size)]
    # Without any size, all runs lie where a workload of unknown size will.
    center = float(np.median(x)) if x.size else math.log(forecast.MIN_SIZE_BYTES)
    residuals = _initial_residuals(table, y, center)
    history = _find_history(table, residuals)
    age_weights = _age_weights(len(y), history)
    knee, design = center, DesignMatrix(table, center, center, history)
    posterior = _fit_robustly(design, y, residuals, age_weights)
    if len(y) >= MIN_KNEE_RUNS and x.size and np.ptp(x) > 0:
        knee = _find_knee(table, y, posterior, center, history)
        design = DesignMatrix(table, knee, center, history)
        posterior = _fit_robustly(design, y, posterior.residuals, age_weights, REWEIGHT_ROUNDS // 2)
    return _build_curve(table, design, posterior, history, center, knee), history.present


def _initial_residuals(table: training_data.RunTable, y: robust_stats.Array, center: float) -> robust_stats.Array:
    """Residuals of a first line: Theil's slope, and the median of each type."""
    x = _centered_sizes(table, center)
    residuals = y - min(max(robust_stats.theil_slope(x, y), 0.0), 2.0) * x
    for kind in np.unique(table.workflow_type):
        of_type = table.workflow_type == kind
        residuals[of_type] -= np.median(residuals[of_type])
    return np.asarray(residuals)


def _find_history(table: training_data.RunTable, residuals: robust_stats.Array) -> History:
    without_start = int((~table.has_start).sum())
    jumps, ramp = drift.find_level_changes(residuals[without_start:])
    return History([without_start + jump for jump in jumps], ramp)


def _age_weights(n: int, history: History) -> robust_stats.Array:
    old = 0.0 if n - history.present >= OLD_IGNORED_AFTER else OLD_WEIGHT
    return np.where(np.arange(n) < history.present, old, 1.0)


def _fit_robustly(
    design: DesignMatrix,
    y: robust_stats.Array,
    residuals: robust_stats.Array,
    age_weights: robust_stats.Array,
    rounds: int = REWEIGHT_ROUNDS,
) -> Posterior:
    """The posterior after `rounds` of new weights. residuals: to begin with."""
    for _ in range(rounds):
        current = residuals[age_weights > 0]
        noise = len(current) * robust_stats.mad_scale(current) ** 2 + PRIOR_NOISE_RUNS * PRIOR_NOISE**2
        noise /= len(current) + PRIOR_NOISE_RUNS
        posterior = _solve_posterior(design, y, age_weights * _huber_weights(residuals / math.sqrt(noise)), noise)
        residuals = posterior.residuals
    return posterior


def _huber_weights(z: robust_stats.Array) -> robust_stats.Array:
    size = np.maximum(np.abs(z), 1e-12)
    return np.where(size > REJECT_DEVIATIONS, 0.0, np.minimum(1.0, HUBER_K / size))


def _solve_posterior(
    design: DesignMatrix, y: robust_stats.Array, weights: robust_stats.Array, noise: float
) -> Posterior:
    x = design.matrix
    inverse = np.linalg.inv((x.T * weights) @ x + np.diag(design.precision * noise))
    beta = inverse @ ((x.T * weights) @ y + design.precision * noise * design.mean)
    residuals = np.asarray(y - x @ beta)
    leverages = ((x @ inverse) * x).sum(axis=1)
    return Posterior(
        beta=beta,
        covariance=np.asarray(inverse * noise),
        residuals=residuals,
        variances=np.asarray(np.maximum(leverages, 0) * noise),
        left_out=np.asarray(residuals / np.maximum(1 - weights * leverages, MIN_RESIDUAL_SHARE)),
        noise=noise,
        weights=weights,
    )


def _find_knee(
    table: training_data.RunTable, y: robust_stats.Array, posterior: Posterior, center: float, history: History
) -> float:
    """The knee with the least Huber loss of residuals that are left out."""
    losses: dict[float, float] = {}
    weights, noise = posterior.weights, posterior.noise
    for knee in np.unique(np.quantile(table.log_size[~np.isnan(table.log_size)], KNEE_QUANTILES)).tolist():
        candidate = _solve_posterior(DesignMatrix(table, knee, center, history), y, weights, noise)
        size = np.abs(candidate.left_out[weights > 0]) / math.sqrt(noise)
        losses[knee] = float(np.mean(np.where(size < HUBER_K, size**2 / 2, HUBER_K * size - HUBER_K**2 / 2)))
    return min(losses, key=lambda knee: losses[knee])


def _build_curve(
    table: training_data.RunTable,
    design: DesignMatrix,
    posterior: Posterior,
    history: History,
    center: float,
    knee: float,
) -> forecast.Curve:
    kept = [number for number, name in enumerate(design.names) if name != "ramp" and not name.startswith("before ")]
    sizes = np.where(np.isnan(table.log_size), center, table.log_size)
    # A rejected run is taken for wrong, and tells nothing of the next one.
    used = posterior.weights > 0
    if len(sizes) - history.present >= MIN_CALIBRATION_RUNS:
        used &= np.arange(len(sizes)) >= history.present
    trend, errors = drift.smoothed_level(posterior.left_out[used], table.has_start[used])
    types, places = table.workflow_type[used], sizes[used] - center
    slope, by_type = calibration.fit_error_scale(errors, places, types)
    scales = np.exp(slope * places + np.array([by_type.get(kind, 0.0) for kind in types.tolist()]))
    quantiles, smear = calibration.fit_error_distribution(errors / scales)
    return forecast.Curve(
        names=[design.names[number] for number in kept],
        beta=posterior.beta[kept].tolist(),
        covariance=posterior.covariance[np.ix_(kept, kept)].tolist(),
        centre=center,
        knee=knee,
        low=float(np.min(sizes[used])),
        high=float(np.max(sizes[used])),
        noise=max(posterior.noise, MIN_NOISE**2),
        leverage=float(np.mean(posterior.variances[used])),
        widening=slope,
        type_widths=by_type,
        trend=trend,
        quantiles=quantiles,
        smear=smear,
    )
