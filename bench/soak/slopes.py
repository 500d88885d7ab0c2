"""Slopes of measured series with their intervals. Pure.

A slope is Theil and Sen's: the median of the slopes between all pairs of samples of one life. Lives are what a restart
separates: an engine that was killed begins with another memory, and no pair spans two of them. What is measured every
few seconds is not independent, so the interval is that of a sieve bootstrap: series that have the residuals'
autocorrelation (of the first order, with Kendall's correction for its bias under a trend) and their innovations. Blocks
of residuals, which need no model, miss zero three times too often where neighbors are as alike as memory is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
import numpy.typing as npt

HOUR_S = 3600.0
# Of all slopes of a report together about one in twenty then differs from zero by chance.
CONFIDENCE = 0.99
RESAMPLES = 400
# A life needs so many samples after its warm-up to say anything of a slope.
MIN_SAMPLES = 8
# All pairs of more samples than this cost seconds; neighbors are then averaged.
MAX_SAMPLES = 200
# Beyond this a series is as good as a random walk, and an hour says nothing of its slope.
MAX_AUTOCORRELATION = 0.99
# So many values of an autoregression are dropped, that its start does not show.
BURN_IN = 200
Array = npt.NDArray[np.float64]
Line = tuple[Array, Array]


@dataclass(frozen=True, slots=True)
class Sample:
    """value: None when it could not be measured then."""

    at_s: float
    value: float | None
    life: int = 0


@dataclass(frozen=True, slots=True)
class Slope:
    """Per hour, with the interval at CONFIDENCE; None when there are too few samples to say."""

    per_hour: float | None
    low: float | None
    high: float | None
    samples: int
    lives: int
    autocorrelation: float = 0.0

    @property
    def is_growing(self) -> bool:
        return self.low is not None and self.low > 0

    @property
    def differs_from_zero(self) -> bool:
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def fit_slope(samples: Sequence[Sample], warm_up_s: float, seed: int = 0) -> Slope:
    """warm_up_s: what is left out at the beginning of each life."""
    lives = [life for life in split_lives(samples, warm_up_s) if len(life) >= MIN_SAMPLES]
    count = sum(len(life) for life in lives)
    if not lives:
        return Slope(None, None, None, count, 0)
    width = math.ceil(count / MAX_SAMPLES)
    series = [_average_neighbors(life, min(width, len(life) // MIN_SAMPLES)) for life in lives]
    pairs = [np.triu_indices(len(x), 1) for x, _ in series]
    slope = _median_slope(series, pairs)
    residuals = [y - slope * x - np.median(y - slope * x) for x, y in series]
    rho = autocorrelation(residuals)
    chance = np.random.default_rng(seed)
    slopes = []
    for _ in range(RESAMPLES):
        drawn = [_draw_series(part, rho, chance) for part in residuals]
        slopes.append(_median_slope([(x, slope * x + e) for (x, _), e in zip(series, drawn, strict=True)], pairs))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(slopes, [tail, 1 - tail])
    return Slope(slope * HOUR_S, float(low) * HOUR_S, float(high) * HOUR_S, count, len(lives), rho)


def fit_on_count(values: Sequence[Sample], counts: Sequence[Sample]) -> Slope:
    """How values grow with a count that was taken with each, within lives: for one more, in place of an hour."""
    at_count: dict[tuple[int, float], list[float]] = {}
    for value, count in zip(values, counts, strict=True):
        if value.value is not None and count.value is not None:
            at_count.setdefault((value.life, count.value), []).append(value.value)
    means = [Sample(count * HOUR_S, fmean(found), life) for (life, count), found in sorted(at_count.items())]
    return fit_slope(means, 0)


def leave_out(values: Sequence[Sample], *counts: Sequence[Sample]) -> list[Sample]:
    """The values without what they need for each of the counts that were taken with each: fitted together by least
    squares, within lives, so that what differs between lives is not taken for theirs."""
    rows = [
        (place, value, *(count.value for count in taken))
        for place, (value, *taken) in enumerate(zip(values, *counts, strict=True))
        if value.value is not None and all(count.value is not None for count in taken)
    ]
    lives: dict[int, list[int]] = {}
    for number, (_, value, *_) in enumerate(rows):
        lives.setdefault(value.life, []).append(number)
    taken = np.array([row[2:] for row in rows], dtype=float).reshape(len(rows), len(counts))
    found = np.array([row[1].value for row in rows], dtype=float)
    deviations, left = taken.copy(), found.copy()
    for numbers in lives.values():
        deviations[numbers] -= taken[numbers].mean(axis=0)
        left[numbers] -= found[numbers].mean()
    each = np.linalg.lstsq(deviations, left, rcond=None)[0] if rows else np.zeros(len(counts))
    without = {row[0]: float(value) for row, value in zip(rows, found - taken @ each, strict=True)}
    return [replace(value, value=without.get(place)) for place, value in enumerate(values)]


def split_lives(samples: Sequence[Sample], warm_up_s: float) -> list[Array]:
    """(seconds, value) of each life without its warm-up and without what was not measured."""
    found: dict[int, list[tuple[float, float]]] = {}
    begins: dict[int, float] = {}
    for sample in samples:
        begin = begins.setdefault(sample.life, sample.at_s)
        if sample.value is not None and sample.at_s - begin >= warm_up_s:
            found.setdefault(sample.life, []).append((sample.at_s, sample.value))
    return [np.array(points, dtype=float) for points in found.values()]


def autocorrelation(residuals: Sequence[Array]) -> float:
    """Of neighbors, without the bias that fitting a line gives it; at most MAX_AUTOCORRELATION."""
    products = sum(float(part[1:] @ part[:-1]) for part in residuals)
    squares = sum(float(part @ part) for part in residuals)
    if squares == 0:
        return 0.0
    length = sum(len(part) for part in residuals) / len(residuals)
    unbiased = (length * products / squares + 2) / max(length - 4, 1)
    return min(max(unbiased, 0.0), MAX_AUTOCORRELATION)


def _average_neighbors(life: Array, width: int) -> Line:
    whole = len(life) // width * width
    means = life[:whole].reshape(-1, width, 2).mean(axis=1)
    return means[:, 0], means[:, 1]


def _median_slope(lives: Sequence[Line], pairs: Sequence[tuple[npt.NDArray[np.intp], ...]]) -> float:
    parts = []
    for (x, y), (first, second) in zip(lives, pairs, strict=True):
        parts.append((y[second] - y[first]) / (x[second] - x[first]))
    return float(np.median(np.concatenate(parts)))


def _draw_series(residuals: Array, rho: float, chance: np.random.Generator) -> Array:
    """An autoregression of as many values, driven by innovations of these."""
    innovations = residuals[1:] - rho * residuals[:-1]
    innovations = innovations - innovations.mean()
    drawn = chance.choice(innovations, len(residuals) + BURN_IN)
    value, values = 0.0, np.empty(len(drawn))
    for place, innovation in enumerate(drawn):
        value = rho * value + innovation
        values[place] = value
    return values[BURN_IN:]
