# requirements: flexcore_base
"""What the next single run would take and cost, as distributions, from plain numbers alone. Pure.

Forecasts      the fitted history (core/fitting makes it); Windmill keeps it as a c_flexcore_forecast
└── RuntimeModel   of one runtime: how often it succeeds, and
    └── Curve      log duration or log cost as a function of size, rows, complexity and type of workflow
Estimate       one runtime's forecast for one workload
└── Spread     a distribution on a log scale: centre, scale, and the quantiles of what the model missed before

A Curve is a broken power law: log y = level + size·x + bend·log(1 + S/knee) + …, with x the centred log of the size S.
A constant start-up plus a linear part is the case size = 0, bend = 1. Each type of workflow moves the level and, with
enough runs, the slope; both are drawn to those of all types. Its covariance widens what lies far from the runs.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from f.flexcore.lib.core import contracts, errors, workloads

# Probabilities of a Spread's quantiles. The ends are no further out than some tens of runs can tell.
LEVELS = (0.01, 0.03, *(number / 20 for number in range(1, 20)), 0.97, 0.99)
# Smaller data all takes the same time.
SMALLEST = 1000
HUGE = 200.0
# Prior deviations of a type's level and slope, on log scales: types differ by some factors, their slopes little.
TYPE_LEVEL, TYPE_SLOPE = 1.0, 0.2
# Beyond the sizes seen, the curve may bend: this much more deviation for each e-fold of size.
EXTRAPOLATION = 0.2


@dataclass(frozen=True, slots=True)
class Spread:
    """exp(centre + scale · z), with z distributed as `quantiles` (at LEVELS) say; `shift` is added to the outcome.
    smear: log of the mean of exp(z). doubt: standard deviation of the centre itself, for what is not known of it."""

    centre: float
    scale: float
    quantiles: tuple[float, ...]
    smear: float
    doubt: float = 0.0
    shift: float = 0.0

    def quantile(self, probability: float) -> float:
        return _exp(self.centre + self.scale * _between(probability, LEVELS, self.quantiles)) + self.shift

    def chance_within(self, value: float) -> float:
        """The probability that the outcome is at most `value`."""
        if value <= self.shift:
            return 0.0
        z = (math.log(value - self.shift) - self.centre) / max(self.scale, 1e-9)
        if z < self.quantiles[0]:
            return 0.0
        if z >= self.quantiles[-1]:
            return 1.0
        return _between(z, self.quantiles, LEVELS)

    def mean(self) -> float:
        return _exp(self.centre + self.smear * self.scale**2) + self.shift

    def plus(self, amount: float) -> Spread:
        return replace(self, shift=self.shift + amount)

    def times(self, factor: float) -> Spread:
        """`factor` must be positive."""
        return replace(self, centre=self.centre + math.log(factor), shift=self.shift * factor)

    def interval(self) -> workloads.Interval:
        return workloads.Interval(p10=self.quantile(0.1), p50=self.quantile(0.5), p90=self.quantile(0.9))


def _exp(x: float) -> float:
    """exp, and a huge number instead of none at all: what garbage leads to is still an answer."""
    return math.exp(min(x, HUGE))


def _between(x: float, xs: tuple[float, ...], ys: tuple[float, ...]) -> float:
    """Linear interpolation in ascending `xs`; flat beyond the ends."""
    i = bisect_left(xs, x)
    if i == 0:
        return ys[0]
    if i == len(xs):
        return ys[-1]
    width = xs[i] - xs[i - 1]
    return ys[i] if width <= 0 else ys[i - 1] + (ys[i] - ys[i - 1]) * (x - xs[i - 1]) / width


@dataclass(frozen=True, slots=True)
class Estimate:
    """One runtime and one workload. samples: its finished runs of that workflow type; failures: those that failed;
    pooled: finished runs of all types. success: probability that the next run succeeds. broken: its failures, when no
    run of any type succeeded. notes: what limits the forecast."""

    samples: int = 0
    failures: int = 0
    pooled: int = 0
    duration: Spread | None = None
    cost: Spread | None = None
    success: float | None = None
    broken: int = 0
    notes: list[str] = field(default_factory=list)


class Fitted(contracts.Contract):
    """Numbers of a model: finite, so that a damaged one is refused and not believed."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=(), allow_inf_nan=False)


class Sizes(Fitted):
    """Log sizes of one type's runs: where they lie, for a workload whose size is not known."""

    mean: float
    variance: float = Field(ge=0)


class Curve(Fitted):
    """covariance: of `beta`, both in the order of `names`. centre: of the log size; low and high: the sizes seen.
    noise: variance of one run around the curve; leverage: mean variance of the curve at the runs seen.
    widening, type_widths: log of the scale for each unit of log size and by type. trend: the level's recent move."""

    names: list[str]
    beta: list[float]
    covariance: list[list[float]]
    centre: float
    knee: float
    low: float
    high: float
    noise: float = Field(gt=0)
    leverage: float = Field(ge=0)
    widening: float = 0
    type_widths: dict[str, float] = {}
    trend: float = 0
    quantiles: list[float] = Field(min_length=len(LEVELS), max_length=len(LEVELS))
    smear: float

    @model_validator(mode="after")
    def _numbers_fit_together(self) -> Curve:
        size = len(self.names)
        if len(self.beta) != size or [len(row) for row in self.covariance] != [size] * size:
            raise ValueError("beta and covariance must be as long as names")
        if sorted(self.quantiles) != self.quantiles:
            raise ValueError("quantiles must ascend")
        return self

    def spread(self, point: Point) -> Spread:
        features = point.features(self.centre, self.knee)
        row = [features.get(name, 0.0) for name in self.names]
        sloped = {name for name, value in zip(self.names, row, strict=True) if value}
        variance = sum(
            a * b * each
            for a, line in zip(row, self.covariance, strict=True)
            for b, each in zip(row, line, strict=True)
        )
        if f"level:{point.type}" not in sloped:
            variance += TYPE_LEVEL**2
        slope = self._slope(point)
        beyond = max(self.low - point.x, point.x - self.high, 0.0)
        variance = max(variance, 0.0) + (EXTRAPOLATION * beyond) ** 2
        doubt = math.sqrt(variance)
        variance += slope**2 * point.doubt
        width = self.widening * (min(max(point.x, self.low), self.high) - self.centre)
        width += self.type_widths.get(point.type, 0.0)
        scale = math.exp(min(max(width, -HUGE), HUGE)) * math.sqrt(
            (self.noise + variance) / (self.noise + self.leverage)
        )
        centre = sum(a * b for a, b in zip(row, self.beta, strict=True)) + self.trend
        return Spread(centre, scale, tuple(self.quantiles), self.smear, doubt)

    def _slope(self, point: Point) -> float:
        """d log y / d log size at the point."""
        beta = dict(zip(self.names, self.beta, strict=True))
        risen = 1 / (1 + math.exp(min(self.knee - point.x, 50.0)))
        return beta.get("size", 0.0) + beta.get("bend", 0.0) * risen + beta.get(f"slope:{point.type}", 0.0)


@dataclass(frozen=True, slots=True)
class Point:
    """Where a workload lies: x, its log size, known up to a variance `doubt`; rows: log rows more than usual for it."""

    type: str
    x: float
    doubt: float
    rows: float
    complexity: str | None

    def features(self, centre: float, knee: float) -> dict[str, float]:
        found = {
            "level": 1.0,
            "size": self.x - centre,
            "bend": softplus(self.x - knee),
            "rows": self.rows,
            f"level:{self.type}": 1.0,
            f"slope:{self.type}": self.x - centre,
        }
        if self.complexity in ("complex", "ml"):
            found[self.complexity] = 1.0
        return found


def softplus(x: float) -> float:
    """log(1 + exp(x))"""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


class Odds(Fitted):
    """Log odds of success: level + slope · (x - centre) + the type's own. runs: that they come from."""

    level: float
    slope: float = 0
    centre: float = 0
    low: float = 0
    high: float = 0
    types: dict[str, float] = {}
    runs: int = 0

    def probability(self, point: Point) -> float:
        x = min(max(point.x, self.low - 1), self.high + 1)
        odds = self.level + self.slope * (x - self.centre) + self.types.get(point.type, 0.0)
        return 1 / (1 + math.exp(-min(max(odds, -30.0), 30.0)))


class RuntimeModel(Fitted):
    """samples and failures: by type of workflow. forgotten: runs before the last shift of its level."""

    samples: dict[str, int] = {}
    failures: dict[str, int] = {}
    forgotten: int = 0
    duration: Curve | None = None
    cost: Curve | None = None
    odds: Odds | None = None


class Forecasts(Fitted):
    """version: of this form; number: how many times it was learned; runs: that it comes from. rows_link: log size =
    first + second · log rows, with the third as its variance. sizes: by type of workflow, "" for all of them."""

    version: Literal[1] = 1
    number: int = 1
    fitted_at: datetime | None = None
    runs: int = 0
    duplicates: int = 0
    rows_link: tuple[float, float, float] | None = None
    sizes: dict[str, Sizes] = {}
    runtimes: dict[str, RuntimeModel] = {}

    def estimate(self, workload: workloads.Workload, runtime: str) -> Estimate:
        model = self.runtimes.get(runtime)
        if model is None:
            return Estimate()
        kind, point = workload.workflow_type, self.point(workload)
        samples, failures = model.samples.get(kind, 0), model.failures.get(kind, 0)
        pooled = sum(model.samples.values())
        return Estimate(
            samples=samples,
            failures=failures,
            pooled=pooled,
            duration=model.duration.spread(point) if model.duration else None,
            cost=model.cost.spread(point) if model.cost else None,
            success=model.odds.probability(point) if model.odds else None,
            broken=0 if pooled else sum(model.failures.values()),
            notes=self._notes(workload, model, point),
        )

    def point(self, workload: workloads.Workload) -> Point:
        kind, link = workload.workflow_type, self.rows_link
        log_rows = math.log(workload.rows) if workload.rows else None
        if workload.data_size is not None:
            x = math.log(max(workload.data_size, SMALLEST))
            extra = log_rows - (x - link[0]) / link[1] if link and log_rows is not None else 0.0
            return Point(kind, x, 0.0, min(max(extra, -3.0), 3.0), workload.complexity)
        if link and log_rows is not None:
            return Point(kind, link[0] + link[1] * log_rows, link[2], 0.0, workload.complexity)
        sizes = self.sizes.get(kind) or self.sizes.get("") or Sizes(mean=math.log(SMALLEST), variance=0)
        return Point(kind, sizes.mean, sizes.variance, 0.0, workload.complexity)

    def _notes(self, workload: workloads.Workload, model: RuntimeModel, point: Point) -> list[str]:
        notes = []
        curve = model.duration
        if curve and not model.samples.get(workload.workflow_type):
            notes.append("forecast borrowed from other workflow types")
        if curve and workload.data_size is None:
            known = workload.rows and self.rows_link
            notes.append(
                f"the data's size is {'estimated from its rows' if known else 'not known, a usual one is taken'}"
            )
        if curve and not curve.low - 0.1 <= point.x <= curve.high + 0.1:
            notes.append("beyond the sizes seen, hence the wider interval")
        if model.forgotten:
            notes.append(f"{model.forgotten} runs from before a shift of its level count little")
        return notes


def loaded(stored: Any) -> tuple[Forecasts | None, str]:
    """The model that a resource holds, or None and why it cannot be used: the rules then decide, and say so."""
    if not stored:
        return None, "the stored forecast is empty; run f/flexcore/operations/learn"
    try:
        return errors.validated(Forecasts, stored, "forecast"), ""
    except errors.FlexcoreError as error:
        return None, f"the stored forecast cannot be used ({error}); run f/flexcore/operations/learn"
