# requirements: flexcore_learning
# py: ==3.11.*
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

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from f.flexcore.core.forecast import (
    LEVELS,
    SMALLEST,
    TYPE_LEVEL,
    TYPE_SLOPE,
    Curve,
    Forecasts,
    Odds,
    RuntimeModel,
    Sizes,
)
from f.flexcore.core.workloads import Run

Array = npt.NDArray[np.float64]
# Huber's constant: 95 % as good as least squares when the noise is normal.
HUBER, REJECT = 1.345, 8.0
# The largest of some tens of normal jumps passes 4 in fewer than one history of a hundred.
JUMP, OLD_WEIGHT, ENOUGH_AFTER, SHORTEST = 4.0, 0.5, 30, 3
SHIFTS = 3
RATES = (0.05, 0.1, 0.2, 0.35)
# A smoothing rate must predict this much better than none: small gains are chance.
GAIN = 0.96
# The newest runs of each runtime and type; older ones would cost time and change nothing.
NEWEST = 300
TYPES = 12
SLOPED_FROM = 8
# Prior mean and deviation: time and cost grow with size, slowly at first and at most somewhat faster than it.
PRIORS = {"size": (0.4, 0.4), "bend": (0.4, 0.4), "rows": (0.0, 0.3), "complex": (0.0, 0.7), "ml": (0.0, 0.7)}
# Noise below a percent is not told from none.
QUIET = 0.01
# What is known of the noise before the first run: a run deviates by about a third, as if two runs had shown it.
USUAL_NOISE, USUAL_RUNS = 0.3, 2
ROUNDS, NEWTON = 8, 12
FEWEST = 3
KNEES, KNEES_FROM = (0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95), 12
CALIBRATED_FROM, SMOOTHED_FROM, WIDTHS_FROM = 15, 12, 15
WIDENING, TYPE_WIDTH = 0.15, 0.3
# Errors count as at most FURTHEST deviations in an interval, and as a factor of at most e^FACTOR (20) in a mean.
FURTHEST, FACTOR = 3.5, 3.0
# As many runs as Student's t and normal noise count for beside what was seen.
TAIL_RUNS = 20
COSTS_ENOUGH = 20
USUAL_ODDS, TYPE_ODDS = 2.6, 0.7
# Gains of log likelihood that are hardly chance.
SLOPE_GAIN, TURN_GAIN = 2.0, 6.0
SKEW = timedelta(days=1)


# type, runtime, size, rows, complexity, start, duration, cost, success
Key = tuple[str, str, int | None, int | None, str | None, datetime | None, float | None, float | None, bool]
Mask = npt.NDArray[np.bool_]
Names = npt.NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class Rows:
    """Runs of one runtime as columns, the oldest first. x: log size, NaN when unknown; rows: log rows more than usual
    for the size; timed: whether its start is known."""

    kind: Names
    x: Array
    rows: Array
    complexity: Names
    duration: Array
    cost: Array
    success: Mask
    timed: Mask

    def where(self, mask: Mask) -> Rows:
        return Rows(*(getattr(self, name)[mask] for name in self.__slots__))


def fit(history: Iterable[Run], now: datetime | None = None) -> Forecasts:
    """now: later starts are clock skew (default: the time of the call)."""
    now = now or datetime.now(UTC)
    keys = [_key(run) for run in history]
    unique = list(dict.fromkeys(keys))
    latest = _latest(unique, now)
    link = _rows_link(unique)
    by_runtime: dict[str, list[Key]] = {}
    for key in unique:
        by_runtime.setdefault(key[1], []).append(key)
    columns = {name: _columns(rows, link, latest) for name, rows in sorted(by_runtime.items())}
    paid = [key[7] for key in unique if key[7]]
    # Free runs have no logarithm; a thousandth of the cheapest is as good as nothing beside it.
    floor = min(paid) / 1000 if paid else 1e-9
    return Forecasts(
        fitted_at=now,
        runs=len(keys),
        duplicates=len(keys) - len(unique),
        rows_link=link,
        sizes=_sizes(list(columns.values())),
        runtimes={name: _runtime(rows, floor) for name, rows in columns.items()},
    )


def _key(run: Run) -> Key:
    return (run.workflow_type, run.runtime, run.data_size_bytes, run.rows, run.complexity, run.started_at,
            run.duration_s, run.cost_usd, run.success)  # fmt: skip


def _latest(keys: list[Key], now: datetime) -> datetime:
    """Starts after this are wrong. When most are, it is this clock that is wrong, and none is."""
    starts = sorted(key[5] for key in keys if key[5])
    middle = starts[len(starts) // 2] if starts else now
    return now + SKEW if middle <= now + SKEW else starts[-1]


def _rows_link(keys: list[Key]) -> tuple[float, float, float] | None:
    """Log size from log rows, when the one tells enough of the other."""
    pairs = [(key[3], key[2]) for key in keys[-5000:] if key[2] and key[3]]
    if len(pairs) < 5:
        return None
    rows, sizes = np.log(np.array(pairs, dtype=float)).T
    slope = min(max(_theil(rows, sizes), 0.5), 1.5)
    rest = sizes - slope * rows
    level = float(np.median(rest))
    variance = _mad(rest - level) ** 2
    return (level, slope, variance) if variance < 1 else None


def _columns(keys: list[Key], link: tuple[float, float, float] | None, latest: datetime) -> Rows:
    def order(key: Key) -> tuple:
        timed = key[5] is not None and key[5] <= latest
        return (timed, key[5] if timed else latest, *("" if part is None else str(part) for part in key))

    keys = _newest(sorted(keys, key=order))
    size, count = _floats(key[2] for key in keys), _floats(key[3] for key in keys)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_rows = np.where(count > 0, np.log(count), np.nan)
    x = np.log(np.maximum(size, SMALLEST))
    extra = np.zeros(len(keys))
    if link:
        extra = np.nan_to_num(np.clip(log_rows - (x - link[0]) / link[1], -3, 3))
        x = np.where(np.isnan(x), link[0] + link[1] * log_rows, x)
    return Rows(
        kind=np.array([key[0] for key in keys]),
        x=x,
        rows=extra,
        complexity=np.array([key[4] or "" for key in keys]),
        duration=_floats(key[6] for key in keys),
        cost=_floats(key[7] for key in keys),
        success=np.array([key[8] for key in keys]),
        timed=np.array([key[5] is not None and key[5] <= latest for key in keys]),
    )


def _newest(keys: list[Key]) -> list[Key]:
    """All of them when they are few; else the newest of each type, successes and failures in their proportion."""
    seen: Counter[str] = Counter()
    kept = []
    for key in reversed(keys):
        seen[key[0]] += 1
        if seen[key[0]] <= NEWEST:
            kept.append(key)
    return kept[::-1]


def _floats(values: Iterable[float | int | None]) -> Array:
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def _sizes(columns: list[Rows]) -> dict[str, Sizes]:
    kinds = np.concatenate([rows.kind for rows in columns]) if columns else np.array([], dtype=str)
    x = np.concatenate([rows.x for rows in columns]) if columns else np.array([])
    known = ~np.isnan(x)
    found = {}
    for kind in ["", *np.unique(kinds[known]).tolist()]:
        mine = x[known & (kinds == kind)] if kind else x[known]
        if mine.size:
            found[kind] = Sizes(mean=float(np.median(mine)), variance=_mad(mine - np.median(mine)) ** 2)
    return found


def _runtime(rows: Rows, floor: float) -> RuntimeModel:
    good = rows.where(rows.success)
    duration, forgotten = _curve(good, np.log(good.duration))
    cost, _ = _curve(good, _log_costs(good, floor))
    return RuntimeModel(
        samples=_counted(good.kind),
        failures=_counted(rows.kind[~rows.success]),
        forgotten=forgotten,
        duration=duration,
        cost=cost,
        odds=_odds(rows),
    )


def _counted(kinds: Names) -> dict[str, int]:
    return dict(sorted(Counter(kinds.tolist()).items()))


def _log_costs(good: Rows, floor: float) -> Array:
    """Where few costs are known, the others follow the durations at the usual ratio; else the unknown stay NaN."""
    y = np.log(np.maximum(good.cost, floor))
    known = ~np.isnan(y)
    if known.any() and known.sum() < min(len(y), COSTS_ENOUGH):
        ratio = np.median(y[known] - np.log(good.duration[known]))
        y = np.where(known, y, np.log(good.duration) + ratio)
    return y


def _theil(x: Array, y: Array) -> float:
    """The median slope between points half the data apart: up to a quarter of wrong points do not move it."""
    order = np.argsort(x, kind="stable")
    half = len(x) // 2
    run = x[order][-half:] - x[order][:half]
    rise = y[order][-half:] - y[order][:half]
    return float(np.median(rise[run > 0] / run[run > 0])) if (run > 0).any() else 0.0


def _mad(residuals: Array) -> float:
    """The deviation of the normal distribution with this median of absolute values."""
    return float(np.median(np.abs(residuals))) * 1.4826 if residuals.size else 0.0


class Design:
    """The features of every row as columns, and the prior of their coefficients."""

    def __init__(self, rows: Rows, knee: float, centre: float, old: Sequence[Mask]) -> None:
        counts = Counter(rows.kind.tolist())
        kinds = [kind for kind, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:TYPES]]
        x = np.where(np.isnan(rows.x), centre, rows.x) - centre
        bend = np.logaddexp(0, x + centre - knee)
        columns: list[tuple[str, Array, float, float]] = [("level", np.ones(len(x)), 0.0, 100.0)]
        if np.ptp(x) > 0:
            columns += [("size", x, *PRIORS["size"]), ("bend", bend, *PRIORS["bend"])]
        if np.any(rows.rows):
            columns.append(("rows", rows.rows, *PRIORS["rows"]))
        for name in ("complex", "ml"):
            if np.any(rows.complexity == name):
                columns.append((name, (rows.complexity == name).astype(float), *PRIORS[name]))
        for kind in kinds:
            columns.append((f"level:{kind}", (rows.kind == kind).astype(float), 0.0, TYPE_LEVEL))
            if len(kinds) > 1 and counts[kind] >= SLOPED_FROM and np.ptp(x) > 0:
                columns.append((f"slope:{kind}", np.where(rows.kind == kind, x, 0.0), 0.0, TYPE_SLOPE))
        for number, mask in enumerate(old):
            columns.append((f"before:{number}", mask.astype(float), 0.0, 3.0))
        self.names = [name for name, *_ in columns]
        self.matrix = np.column_stack([column for _, column, *_ in columns])
        self.mean = np.array([mean for *_, mean, _ in columns])
        self.precision = np.array([1 / deviation**2 for *_, deviation in columns])


@dataclass(frozen=True, slots=True)
class Solved:
    """beta; its covariance; residuals; leverages; and residuals of each row when it is left out."""

    beta: Array
    covariance: Array
    residuals: Array
    leverages: Array
    left_out: Array
    noise: float


def _solved(design: Design, y: Array, weights: Array, noise: float) -> Solved:
    x = design.matrix
    normal = (x.T * weights) @ x + np.diag(design.precision * noise)
    inverse = np.asarray(np.linalg.inv(normal), dtype=float)
    beta = inverse @ ((x.T * weights) @ y + design.precision * noise * design.mean)
    residuals: Array = y - x @ beta
    leverages = np.einsum("ij,jk,ik->i", x, inverse, x)
    left_out: Array = residuals / np.maximum(1 - weights * leverages, 0.05)
    spread: Array = leverages * noise
    return Solved(beta, inverse * noise, residuals, spread, left_out, noise)


def _robust(design: Design, y: Array, start: Array, prior: Array) -> tuple[Solved, Array]:
    """Reweighted until it settles. start: residuals to begin with; prior: weights that the rows have by themselves."""
    residuals = start
    for _ in range(ROUNDS):
        used = residuals[prior > 0]
        noise = (len(used) * _mad(used) ** 2 + USUAL_RUNS * USUAL_NOISE**2) / (len(used) + USUAL_RUNS)
        weights = prior * _weights(residuals / math.sqrt(noise))
        solved = _solved(design, y, weights, noise)
        residuals = solved.residuals
    return solved, weights


def _weights(z: Array) -> Array:
    size = np.maximum(np.abs(z), 1e-12)
    return np.where(size > REJECT, 0.0, np.minimum(1.0, HUBER / size))


def _curve(rows: Rows, y: Array) -> tuple[Curve | None, int]:
    """The curve of `y`, and how many runs from before the last shift count little; None for fewer than FEWEST."""
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
    begun = _since(rows, start)
    old = [np.arange(len(y)) < edge for edge in begun]
    first = begun[-1] if begun else 0
    prior = np.where(np.arange(len(y)) < first, 0.0 if len(y) - first >= ENOUGH_AFTER else OLD_WEIGHT, 1.0)
    knee = centre
    design = Design(rows, knee, centre, old)
    solved, weights = _robust(design, y, start, prior)
    if len(y) >= KNEES_FROM and x.size:
        knee = _knee(rows, y, weights, solved.noise, centre, old)
        design = Design(rows, knee, centre, old)
        solved, weights = _robust(design, y, solved.residuals, prior)
    return _described(rows, design, solved, prior, first, (centre, knee)), first


def _start(rows: Rows, y: Array, centre: float) -> Array:
    """Residuals of a first line: Theil's slope, and the median of each type."""
    x = np.where(np.isnan(rows.x), centre, rows.x) - centre
    rest = y - min(max(_theil(x, y), 0.0), 2.0) * x
    for kind in np.unique(rows.kind):
        mine = rows.kind == kind
        rest[mine] -= np.median(rest[mine])
    return rest


def _since(rows: Rows, residuals: Array) -> list[int]:
    """Where the level jumped, as positions in time: the last one is where the present begins."""
    edges: list[int] = []
    begin = int(np.argmax(rows.timed)) if rows.timed.any() else len(residuals)
    for _ in range(SHIFTS):
        edge = _jump(residuals[begin:])
        if not edge:
            break
        begin += edge
        edges.append(begin)
    return edges


def _jump(residuals: Array) -> int:
    """The position of the clearest jump of the mean, 0 for none."""
    n = len(residuals)
    if n < 2 * SHORTEST + 2:
        return 0
    # Differences of neighbours tell the noise, however often the level jumps.
    scale = max(_mad(np.diff(residuals)) / math.sqrt(2), QUIET)
    bounded = np.clip((residuals - np.median(residuals)) / scale, -2.5, 2.5)
    sums = np.cumsum(bounded)
    k = np.arange(SHORTEST, n - SHORTEST + 1)
    before, after = sums[k - 1] / k, (sums[-1] - sums[k - 1]) / (n - k)
    jumps = np.abs(after - before) / np.sqrt(1 / k + 1 / (n - k))
    best = int(np.argmax(jumps))
    return int(k[best]) if jumps[best] > JUMP else 0


def _knee(rows: Rows, y: Array, weights: Array, noise: float, centre: float, old: Sequence[Mask]) -> float:
    """The bend's place that predicts each run best from the others."""
    scores = {}
    for knee in np.unique(np.quantile(rows.x[~np.isnan(rows.x)], KNEES)):
        left_out = _solved(Design(rows, float(knee), centre, old), y, weights, noise).left_out[weights > 0]
        size = np.abs(left_out) / math.sqrt(noise)
        scores[float(knee)] = float(np.mean(np.where(size < HUBER, size**2 / 2, HUBER * size - HUBER**2 / 2)))
    return min(scores, key=lambda knee: scores[knee])


def _described(
    rows: Rows, design: Design, solved: Solved, prior: Array, first: int, place: tuple[float, float]
) -> Curve:
    centre, knee = place
    kept = [number for number, name in enumerate(design.names) if not name.startswith("before:")]
    x = np.where(np.isnan(rows.x), centre, rows.x)
    present = np.arange(len(x)) >= (first if len(x) - first >= CALIBRATED_FROM else 0)
    present &= prior > 0
    trend, errors = _smoothed(solved.left_out[present], rows.timed[present])
    kinds, places = rows.kind[present], x[present] - centre
    widening, widths = _widths(errors, places, kinds)
    scales = np.exp(widening * places + np.array([widths.get(kind, 0.0) for kind in kinds.tolist()]))
    quantiles, smear = _distribution(errors / scales)
    return Curve(
        names=[design.names[number] for number in kept],
        beta=solved.beta[kept].tolist(),
        covariance=solved.covariance[np.ix_(kept, kept)].tolist(),
        centre=centre,
        knee=knee,
        low=float(np.min(x)),
        high=float(np.max(x)),
        noise=max(solved.noise, QUIET**2),
        leverage=float(np.mean(np.maximum(solved.leverages[present], 0))),
        widening=widening,
        type_widths=widths,
        trend=trend,
        quantiles=quantiles,
        smear=smear,
    )


def _smoothed(errors: Array, timed: Mask) -> tuple[float, Array]:
    """Where the level has drifted to, and the errors of forecasts that had followed the drift: 0 and `errors` when
    following it would not have predicted better."""
    followed = errors[timed]
    if len(followed) < SMOOTHED_FROM:
        return 0.0, errors
    bounded = np.clip(followed, -3 * _mad(followed), 3 * _mad(followed))
    settled = np.concatenate([[0.0], np.cumsum(bounded)[:-1] / np.arange(2, len(bounded) + 1)])
    plain = np.abs(bounded - settled)[SHORTEST:].mean()
    best, trend, left = GAIN * plain, 0.0, errors
    for rate in RATES:
        levels = [0.0]
        for error in bounded.tolist():
            levels.append(levels[-1] + rate * (error - levels[-1]))
        score = np.abs(bounded - np.array(levels[:-1]))[SHORTEST:].mean()
        if score < best:
            best, trend, left = score, levels[-1], (followed - np.array(levels[:-1]))[SHORTEST:]
            left = np.concatenate([np.full(len(errors) - len(left), np.nan), left])
    return trend, left


def _widths(errors: Array, x: Array, kinds: Names) -> tuple[float, dict[str, float]]:
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


def _distribution(errors: Array) -> tuple[list[float], float]:
    """Quantiles of the next error at LEVELS, and the log of the mean of its exponential."""
    errors = np.sort(errors[np.isfinite(errors)])
    n, scale = len(errors), max(_deviation(errors), QUIET / 10)
    bounded = np.clip(errors, -FURTHEST * scale, FURTHEST * scale)
    ranks = np.array(LEVELS) * (n + 1)
    seen = np.interp(ranks, np.arange(1, n + 1), bounded)
    drawn = np.array([scale * _student(level, max(n - 2, 3)) for level in LEVELS])
    trust = np.where((ranks >= 1) & (ranks <= n), n / (n + TAIL_RUNS), 0.0)
    quantiles = np.maximum.accumulate(trust * seen + (1 - trust) * drawn)
    real = errors[errors <= max(REJECT * scale, FACTOR)]
    smear = (len(real) * np.log(np.mean(np.exp(np.minimum(real, FACTOR)))) + TAIL_RUNS * scale**2 / 2) / (
        len(real) + TAIL_RUNS
    )
    return quantiles.tolist(), float(smear)


def _deviation(errors: Array) -> float:
    """The standard deviation of what is not far out: bounded at 2.5 of itself, and corrected for the bound."""
    scale = max(_mad(errors), 1e-9)
    for _ in range(20):
        scale = max(math.sqrt(np.mean(np.minimum(errors**2, (2.5 * scale) ** 2)) * 1.04), 1e-9)
    return scale


def _student(level: float, freedom: int) -> float:
    """Student's quantile from the normal one (Cornish and Fisher's expansion, Abramowitz and Stegun 26.7.5)."""
    z = NormalDist().inv_cdf(level)
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def _odds(rows: Rows) -> Odds:
    first = _turn(rows.success[rows.timed])
    rows = rows.where(np.arange(len(rows.x)) >= (len(rows.x) - int(rows.timed.sum()) + first if first else 0))
    known = ~np.isnan(rows.x)
    centre = float(np.median(rows.x[known])) if known.any() else 0.0
    x = np.where(known, rows.x - centre, 0.0)
    kinds = np.unique(rows.kind).tolist() if len(set(rows.kind.tolist())) > 1 else []
    flat = np.column_stack([np.ones(len(x)), *((rows.kind == kind).astype(float) for kind in kinds)])
    means, deviations = [USUAL_ODDS, *[0.0] * len(kinds)], [1.5, *[TYPE_ODDS] * len(kinds)]
    beta, likelihood = _logistic(flat, rows.success, means, deviations)
    sloped, better = _logistic(np.column_stack([flat, x]), rows.success, [*means, 0.0], [*deviations, 1.0])
    chosen = sloped if better - likelihood > SLOPE_GAIN else np.append(beta, 0.0)
    return Odds(
        level=float(chosen[0]),
        slope=float(chosen[-1]),
        centre=centre,
        low=float(rows.x[known].min()) if known.any() else 0.0,
        high=float(rows.x[known].max()) if known.any() else 0.0,
        types={kind: float(value) for kind, value in zip(kinds, chosen[1:-1], strict=True)},
    )


def _logistic(x: Array, success: Mask, means: list[float], deviations: list[float]) -> tuple[Array, float]:
    """Penalised logistic regression by Newton's method: coefficients and log likelihood."""
    beta, mean, precision = np.array(means), np.array(means), np.array(deviations) ** -2.0
    for _ in range(NEWTON):
        p = 1 / (1 + np.exp(-np.clip(x @ beta, -30, 30)))
        slope = x.T @ (success - p) - precision * (beta - mean)
        curvature = (x.T * np.maximum(p * (1 - p), 1e-6)) @ x + np.diag(precision)
        beta = beta + np.clip(np.linalg.solve(curvature, slope), -2, 2)
    p = np.clip(1 / (1 + np.exp(-np.clip(x @ beta, -30, 30))), 1e-9, 1 - 1e-9)
    return beta, float(np.sum(np.where(success, np.log(p), np.log(1 - p))))


def _turn(success: Mask) -> int:
    """Where the rate of success changed clearly, 0 for nowhere."""
    n = len(success)
    if n < 2 * SHORTEST + 2:
        return 0
    sums = np.cumsum(success.astype(float))
    k = np.arange(SHORTEST, n - SHORTEST + 1)
    good = sums[k - 1]
    gain = _bits(good, k) + _bits(sums[-1] - good, n - k) - _bits(sums[-1:], np.array([n]))
    best = int(np.argmax(gain))
    return int(k[best]) if gain[best] > TURN_GAIN else 0


def _bits(good: Array, of: npt.NDArray[np.int_]) -> Array:
    """Log likelihood of so many successes at their own rate."""
    rate = np.clip(good / of, 1e-9, 1 - 1e-9)
    return np.asarray(good * np.log(rate) + (of - good) * np.log(1 - rate))
