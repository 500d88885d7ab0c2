# requirements: flexcore_base
"""What the next single run would take and cost, as distributions, from plain numbers alone. Pure.

Forecasts             the fitted history (forecast_fit makes it); Windmill keeps it as a c_flexcore_forecast
└── RuntimeModel      of one runtime
    ├── Curve         log duration or log cost as a function of size, rows, complexity and type of workflow
    └── SuccessModel  how likely a run succeeds
Estimate              one runtime's forecast for one workload
└── LogDistribution   of a duration or a cost: center, scale, and the quantiles of earlier errors

A Curve is a broken power law: log y = level + size·x + bend·log(1 + S/knee) + …, with x the centered log of the size S.
A constant start-up plus a linear part is the case size = 0, bend = 1. Each type of workflow moves the level and, with
enough runs, the slope; both shrink to those of all types. Its covariance widens what lies far from the runs.
Symbols and formulas: docs/learning.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from f.flexcore.lib.core import contracts, errors, workloads
from f.flexcore.lib.selection import log_distribution

# Smaller data all takes the same time.
MIN_SIZE_BYTES = 1000
# Log rows more or fewer than usual for a size count as at most so many.
MAX_EXTRA_ROWS = 3.0
MAX_LOG_ODDS = 30.0
# Prior deviations of a type's level and slope, on log scales: types differ by some factors, their slopes little.
TYPE_LEVEL_PRIOR, TYPE_SLOPE_PRIOR = 1.0, 0.2
# Beyond the sizes seen, the curve may bend: this much more deviation for each e-fold of size.
EXTRAPOLATION_DEVIATION = 0.2
# A size this far beyond those seen (in e-folds) is worth a note.
NOTED_EXTRAPOLATION = 0.1


@dataclass(frozen=True, slots=True)
class Estimate:
    """One runtime and one workload. samples: its successful runs of that workflow type; failures: those that failed;
    pooled_samples: successful runs of all types. success: probability that the next run succeeds.
    failures_without_success: its failures of all types, when no run of any type succeeded. notes: what limits the
    forecast."""

    samples: int = 0
    failures: int = 0
    pooled_samples: int = 0
    duration: log_distribution.LogDistribution | None = None
    cost: log_distribution.LogDistribution | None = None
    success: float | None = None
    failures_without_success: int = 0
    notes: list[str] = field(default_factory=list)


class FittedModel(contracts.Contract):
    """Numbers of a model: finite, so that a damaged one is refused."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=(), allow_inf_nan=False)


class SizeSummary(FittedModel):
    """Median and variance of the log sizes of one type's runs, for a workload whose size is not known."""

    mean: float
    variance: float = Field(ge=0)


@dataclass(frozen=True, slots=True)
class WorkloadPoint:
    """Where a workload lies. log_size: known up to `size_variance`; extra_rows: log rows more than usual for it."""

    workflow_type: str
    log_size: float
    size_variance: float
    extra_rows: float
    complexity: str | None

    def features(self, center: float, knee: float) -> dict[str, float]:
        features = {
            "level": 1.0,
            "size": self.log_size - center,
            "bend": softplus(self.log_size - knee),
            "rows": self.extra_rows,
            f"level:{self.workflow_type}": 1.0,
            f"slope:{self.workflow_type}": self.log_size - center,
        }
        if self.complexity in ("complex", "ml"):
            features[self.complexity] = 1.0
        return features


def softplus(x: float) -> float:
    """Return log(1 + exp(x))."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


class Curve(FittedModel):
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
    quantiles: list[float] = Field(
        min_length=len(log_distribution.QUANTILE_LEVELS), max_length=len(log_distribution.QUANTILE_LEVELS)
    )
    smear: float

    @model_validator(mode="after")
    def _check_shapes(self) -> Curve:
        size = len(self.names)
        if len(self.beta) != size or [len(row) for row in self.covariance] != [size] * size:
            raise ValueError("beta and covariance must be as long as names")
        if sorted(self.quantiles) != self.quantiles:
            raise ValueError("quantiles must ascend")
        return self

    def predict(self, point: WorkloadPoint) -> log_distribution.LogDistribution:
        features = point.features(self.centre, self.knee)
        row = [features.get(name, 0.0) for name in self.names]
        curve_variance = self._curve_variance(point, row)
        variance = curve_variance + self._slope(point) ** 2 * point.size_variance
        scale = math.exp(self._log_scale(point)) * math.sqrt((self.noise + variance) / (self.noise + self.leverage))
        center = sum(a * b for a, b in zip(row, self.beta, strict=True)) + self.trend
        return log_distribution.LogDistribution(
            center, scale, tuple(self.quantiles), self.smear, math.sqrt(curve_variance)
        )

    def _curve_variance(self, point: WorkloadPoint, row: list[float]) -> float:
        """Of the curve at a point: from the coefficients, a type that was never seen, and sizes beyond those seen."""
        variance = sum(
            a * b * each
            for a, line in zip(row, self.covariance, strict=True)
            for b, each in zip(row, line, strict=True)
        )
        if f"level:{point.workflow_type}" not in self.names:
            variance += TYPE_LEVEL_PRIOR**2
        beyond = max(self.low - point.log_size, point.log_size - self.high, 0.0)
        return max(variance, 0.0) + (EXTRAPOLATION_DEVIATION * beyond) ** 2

    def _slope(self, point: WorkloadPoint) -> float:
        """d log y / d log size at the point."""
        beta = dict(zip(self.names, self.beta, strict=True))
        above_knee = 1 / (1 + math.exp(min(self.knee - point.log_size, 50.0)))
        own = beta.get(f"slope:{point.workflow_type}", 0.0)
        return beta.get("size", 0.0) + beta.get("bend", 0.0) * above_knee + own

    def _log_scale(self, point: WorkloadPoint) -> float:
        """Log of the scale of errors at the point, beside those of the runs seen."""
        seen = min(max(point.log_size, self.low), self.high)
        log_scale = self.widening * (seen - self.centre) + self.type_widths.get(point.workflow_type, 0.0)
        return min(max(log_scale, -log_distribution.MAX_EXPONENT), log_distribution.MAX_EXPONENT)


class SuccessModel(FittedModel):
    """Log odds of success: level + slope · (x - centre) + the type's own. runs: that they come from."""

    level: float
    slope: float = 0
    centre: float = 0
    low: float = 0
    high: float = 0
    types: dict[str, float] = {}
    runs: int = 0

    def predict(self, point: WorkloadPoint) -> float:
        """Return the probability of success; sizes beyond those seen count as one e-fold beyond at most."""
        x = min(max(point.log_size, self.low - 1), self.high + 1)
        log_odds = self.level + self.slope * (x - self.centre) + self.types.get(point.workflow_type, 0.0)
        return 1 / (1 + math.exp(-min(max(log_odds, -MAX_LOG_ODDS), MAX_LOG_ODDS)))


class RuntimeModel(FittedModel):
    """samples and failures: by type of workflow. forgotten: runs before the last jump of its level."""

    samples: dict[str, int] = {}
    failures: dict[str, int] = {}
    forgotten: int = 0
    duration: Curve | None = None
    cost: Curve | None = None
    odds: SuccessModel | None = None

    def summarize(self, workflow_type: str, estimate: Estimate) -> dict[str, Any]:
        """What is known of one type of workflow: duration_s and cost_usd of its median size, null when unknown."""
        ends = (self.duration.low, self.duration.high) if self.duration else ()
        return {
            "workflow_type": workflow_type,
            "samples": self.samples.get(workflow_type, 0),
            "failures": self.failures.get(workflow_type, 0),
            "success_probability": estimate.success,
            "sizes": [round(math.exp(end)) for end in ends] or None,
            "duration_s": estimate.duration and estimate.duration.interval().plain(),
            "cost_usd": estimate.cost and estimate.cost.interval().plain(),
        }


class Forecasts(FittedModel):
    """version: of this form; number: how many times it was learned; runs: that it comes from. rows_link: log size =
    first + second · log rows, with the third as its variance. sizes: by type of workflow, "" for all of them."""

    version: Literal[1] = 1
    number: int = 1
    fitted_at: datetime | None = None
    runs: int = 0
    duplicates: int = 0
    rows_link: tuple[float, float, float] | None = None
    sizes: dict[str, SizeSummary] = {}
    runtimes: dict[str, RuntimeModel] = {}

    def estimate(self, workload: workloads.Workload, runtime: str) -> Estimate:
        model = self.runtimes.get(runtime)
        if model is None:
            return Estimate()
        workflow_type, point = workload.workflow_type, self.locate(workload)
        pooled = sum(model.samples.values())
        return Estimate(
            samples=model.samples.get(workflow_type, 0),
            failures=model.failures.get(workflow_type, 0),
            pooled_samples=pooled,
            duration=model.duration.predict(point) if model.duration else None,
            cost=model.cost.predict(point) if model.cost else None,
            success=model.odds.predict(point) if model.odds else None,
            failures_without_success=0 if pooled else sum(model.failures.values()),
            notes=self._notes(workload, model, point),
        )

    def locate(self, workload: workloads.Workload) -> WorkloadPoint:
        workflow_type, complexity, link = workload.workflow_type, workload.complexity, self.rows_link
        log_rows = math.log(workload.rows) if workload.rows else None
        if workload.data_size is not None:
            log_size = math.log(max(workload.data_size, MIN_SIZE_BYTES))
            extra = log_rows - (log_size - link[0]) / link[1] if link and log_rows is not None else 0.0
            extra = min(max(extra, -MAX_EXTRA_ROWS), MAX_EXTRA_ROWS)
            return WorkloadPoint(workflow_type, log_size, 0.0, extra, complexity)
        if link and log_rows is not None:
            return WorkloadPoint(workflow_type, link[0] + link[1] * log_rows, link[2], 0.0, complexity)
        sizes = self.sizes.get(workflow_type) or self.sizes.get("")
        sizes = sizes or SizeSummary(mean=math.log(MIN_SIZE_BYTES), variance=0)
        return WorkloadPoint(workflow_type, sizes.mean, sizes.variance, 0.0, complexity)

    def summarize(self) -> list[dict[str, Any]]:
        """Return what was learned: one row for each runtime and type of workflow."""
        return [
            {"runtime": runtime, **model.summarize(kind, self._usual_estimate(kind, runtime))}
            for runtime, model in self.runtimes.items()
            for kind in sorted({*model.samples, *model.failures})
        ]

    def _usual_estimate(self, workflow_type: str, runtime: str) -> Estimate:
        """For the median size of the type."""
        return self.estimate(workloads.Workload(workflow_type=workflow_type or "?", runtimes=[runtime]), runtime)

    def _notes(self, workload: workloads.Workload, model: RuntimeModel, point: WorkloadPoint) -> list[str]:
        notes = []
        curve = model.duration
        if curve and not model.samples.get(workload.workflow_type):
            notes.append("forecast borrowed from other workflow types")
        if curve and workload.data_size is None:
            known = workload.rows and self.rows_link
            notes.append(
                f"the data's size is {'estimated from its rows' if known else 'not known, the usual one is used'}"
            )
        if curve and not curve.low - NOTED_EXTRAPOLATION <= point.log_size <= curve.high + NOTED_EXTRAPOLATION:
            notes.append("beyond the sizes seen, so the interval is wider")
        if model.forgotten:
            notes.append(f"{model.forgotten} runs from before a shift of its level count little")
        return notes


def parse_forecasts(stored: Any) -> tuple[Forecasts | None, str]:
    """Return the model that a resource holds, or None and why it cannot be used: the rules then decide."""
    if not stored:
        return None, "the stored forecast is empty; run f/flexcore/operations/learn"
    try:
        return errors.validate(Forecasts, stored, "forecast"), ""
    except errors.FlexcoreError as error:
        return None, f"the stored forecast cannot be used ({error}); run f/flexcore/operations/learn"
