# requirements: flexcore_learning
"""The curve of log duration or log cost of one runtime: Bayesian regression with Huber's weights. Pure.

It begins at Theil's slope, so that neither a wrong duration nor a wrong size bends it; what lies beyond REJECT
deviations has no weight. Before a jump of the level the runs keep a level of their own and count OLD_WEIGHT, or
nothing once ENOUGH_AFTER have come after; a steady ramp is taken out. The place of the bend is the one that predicts
each run best from the others.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

from f.flexcore.lib.selection import calibration, drift, forecast, robust_stats, training_data

# Huber's constant: 95 % as good as least squares when the noise is normal.
HUBER, REJECT = 1.345, 8.0
OLD_WEIGHT, ENOUGH_AFTER = 0.5, 30
TYPES, SLOPED_FROM = 12, 8
# Prior mean and deviation: time and cost grow with size, slowly at first and at most somewhat faster than it.
PRIORS = {"size": (0.4, 0.4), "bend": (0.4, 0.4), "rows": (0.0, 0.3), "complex": (0.0, 0.7), "ml": (0.0, 0.7)}
# How far a level of old may lie from the present one, and how far a ramp may lead over the whole history.
OLD_LEVEL, RAMP = 3.0, 2.0
# Noise below a percent is not told from none.
QUIET = 0.01
# What is known of the noise before the first run: a run deviates by about a third, as if two runs had shown it.
USUAL_NOISE, USUAL_RUNS = 0.3, 2
ROUNDS = 8
FEWEST = 3
KNEES, KNEES_FROM = (0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95), 12
CALIBRATED_FROM = 15


@dataclass(frozen=True, slots=True)
class Past:
    """What drift there was. edges: where a new level begins; ramp: whether it still moves steadily."""

    edges: list[int]
    ramp: bool

    @property
    def present(self) -> int:
        return self.edges[-1] if self.edges else 0


class Design:
    """The features of every row as columns, and the prior of their coefficients. What tells of the past alone has
    names that no workload has: it is 0 now."""

    def __init__(self, rows: training_data.Rows, knee: float, centre: float, past: Past) -> None:
        counts = Counter(rows.kind.tolist())
        kinds = [kind for kind, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:TYPES]]
        x = np.where(np.isnan(rows.x), centre, rows.x) - centre
        columns: list[tuple[str, robust_stats.Array, float, float]] = [("level", np.ones(len(x)), 0.0, 100.0)]
        if np.ptp(x) > 0:
            columns += [("size", x, *PRIORS["size"]), ("bend", np.logaddexp(0, x + centre - knee), *PRIORS["bend"])]
        if np.any(rows.rows):
            columns.append(("rows", rows.rows, *PRIORS["rows"]))
        for name in ("complex", "ml"):
            if np.any(rows.complexity == name):
                columns.append((name, (rows.complexity == name).astype(float), *PRIORS[name]))
        for kind in kinds:
            columns.append((f"level:{kind}", (rows.kind == kind).astype(float), 0.0, forecast.TYPE_LEVEL))
            if len(kinds) > 1 and counts[kind] >= SLOPED_FROM and np.ptp(x) > 0:
                columns.append((f"slope:{kind}", np.where(rows.kind == kind, x, 0.0), 0.0, forecast.TYPE_SLOPE))
        place = np.arange(len(x))
        for edge in past.edges:
            columns.append((f"before {edge}", (place < edge).astype(float), 0.0, OLD_LEVEL))
        if past.ramp:
            columns.append(("ramp", np.where(rows.timed, (place - len(x)) / len(x), -1.0), 0.0, RAMP))
        self.names = [name for name, *_ in columns]
        self.matrix = np.column_stack([column for _, column, *_ in columns])
        self.mean = np.array([mean for *_, mean, _ in columns])
        self.precision = np.array([1 / deviation**2 for *_, deviation in columns])


@dataclass(frozen=True, slots=True)
class Solved:
    """beta; its covariance; residuals; the variance of the curve at each row; residuals of rows that are left out."""

    beta: robust_stats.Array
    covariance: robust_stats.Array
    residuals: robust_stats.Array
    variances: robust_stats.Array
    left_out: robust_stats.Array
    noise: float
    weights: robust_stats.Array


def curve(rows: training_data.Rows, y: robust_stats.Array) -> tuple[forecast.Curve | None, int]:
    """The curve of `y`, and how many runs from before the last jump count little; None for fewer than FEWEST."""
    known = np.isfinite(y)
    sized = known & ~np.isnan(rows.x)
    if sized.sum() >= max(FEWEST, known.sum() / 2):
        known = sized
    if known.sum() < FEWEST:
        return None, 0
    rows, y = rows.where(known), y[known]
    x = rows.x[~np.isnan(rows.x)]
    centre = float(np.median(x)) if x.size else 0.0
    start = _start(rows, y, centre)
    past = _past(rows, start)
    own = _own_weights(len(y), past)
    design = Design(rows, centre, centre, past)
    solved = _robust(design, y, start, own)
    knee = centre
    if len(y) >= KNEES_FROM and np.ptp(x) > 0:
        knee = _knee(rows, y, solved, centre, past)
        design = Design(rows, knee, centre, past)
        solved = _robust(design, y, solved.residuals, own, ROUNDS // 2)
    return _described(rows, design, solved, past, centre, knee), past.present


def _start(rows: training_data.Rows, y: robust_stats.Array, centre: float) -> robust_stats.Array:
    """Residuals of a first line: Theil's slope, and the median of each type."""
    x = np.where(np.isnan(rows.x), centre, rows.x) - centre
    rest = y - min(max(robust_stats.theil(x, y), 0.0), 2.0) * x
    for kind in np.unique(rows.kind):
        mine = rows.kind == kind
        rest[mine] -= np.median(rest[mine])
    return np.asarray(rest)


def _past(rows: training_data.Rows, residuals: robust_stats.Array) -> Past:
    untimed = int((~rows.timed).sum())
    edges, ramp = drift.drift(residuals[untimed:])
    return Past([untimed + edge for edge in edges], ramp)


def _own_weights(n: int, past: Past) -> robust_stats.Array:
    old = 0.0 if n - past.present >= ENOUGH_AFTER else OLD_WEIGHT
    return np.where(np.arange(n) < past.present, old, 1.0)


def _robust(
    design: Design, y: robust_stats.Array, start: robust_stats.Array, own: robust_stats.Array, rounds: int = ROUNDS
) -> Solved:
    """Reweighted until it settles. start: residuals to begin with; own: weights that the rows have by themselves."""
    residuals = start
    for _ in range(rounds):
        used = residuals[own > 0]
        noise = (len(used) * robust_stats.mad(used) ** 2 + USUAL_RUNS * USUAL_NOISE**2) / (len(used) + USUAL_RUNS)
        solved = _solved(design, y, own * _weights(residuals / math.sqrt(noise)), noise)
        residuals = solved.residuals
    return solved


def _weights(z: robust_stats.Array) -> robust_stats.Array:
    size = np.maximum(np.abs(z), 1e-12)
    return np.where(size > REJECT, 0.0, np.minimum(1.0, HUBER / size))


def _solved(design: Design, y: robust_stats.Array, weights: robust_stats.Array, noise: float) -> Solved:
    x = design.matrix
    inverse = np.linalg.inv((x.T * weights) @ x + np.diag(design.precision * noise))
    beta = inverse @ ((x.T * weights) @ y + design.precision * noise * design.mean)
    residuals = np.asarray(y - x @ beta)
    leverages = ((x @ inverse) * x).sum(axis=1)
    return Solved(
        beta=beta,
        covariance=np.asarray(inverse * noise),
        residuals=residuals,
        variances=np.asarray(np.maximum(leverages, 0) * noise),
        left_out=np.asarray(residuals / np.maximum(1 - weights * leverages, 0.05)),
        noise=noise,
        weights=weights,
    )


def _knee(rows: training_data.Rows, y: robust_stats.Array, solved: Solved, centre: float, past: Past) -> float:
    """The bend's place that predicts each run best from the others."""
    scores: dict[float, float] = {}
    for knee in np.unique(np.quantile(rows.x[~np.isnan(rows.x)], KNEES)).tolist():
        tried = _solved(Design(rows, knee, centre, past), y, solved.weights, solved.noise)
        size = np.abs(tried.left_out[solved.weights > 0]) / math.sqrt(solved.noise)
        scores[knee] = float(np.mean(np.where(size < HUBER, size**2 / 2, HUBER * size - HUBER**2 / 2)))
    return min(scores, key=lambda knee: scores[knee])


def _described(
    rows: training_data.Rows, design: Design, solved: Solved, past: Past, centre: float, knee: float
) -> forecast.Curve:
    kept = [number for number, name in enumerate(design.names) if name != "ramp" and not name.startswith("before ")]
    x = np.where(np.isnan(rows.x), centre, rows.x)
    # What was rejected is taken for wrong, and tells nothing of the next run.
    used = solved.weights > 0
    if len(x) - past.present >= CALIBRATED_FROM:
        used &= np.arange(len(x)) >= past.present
    trend, errors = drift.followed(solved.left_out[used], rows.timed[used])
    kinds, places = rows.kind[used], x[used] - centre
    widening, widths = calibration.widths_of(errors, places, kinds)
    scales = np.exp(widening * places + np.array([widths.get(kind, 0.0) for kind in kinds.tolist()]))
    quantiles, smear = calibration.distribution(errors / scales)
    return forecast.Curve(
        names=[design.names[number] for number in kept],
        beta=solved.beta[kept].tolist(),
        covariance=solved.covariance[np.ix_(kept, kept)].tolist(),
        centre=centre,
        knee=knee,
        low=float(np.min(x[used])),
        high=float(np.max(x[used])),
        noise=max(solved.noise, QUIET**2),
        leverage=float(np.mean(solved.variances[used])),
        widening=widening,
        type_widths=widths,
        trend=trend,
        quantiles=quantiles,
        smear=smear,
    )
