# requirements: flexcore_base
# py: ==3.11.*
"""What the next single run would take and cost, as distributions, from plain numbers alone. Pure.

Spread     a distribution on a log scale: centre, scale, and the quantiles of what the model missed before
Estimate   one runtime's forecast for one workload
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, field

from f.flexcore.core.workloads import Interval

# Probabilities of a Spread's quantiles. The ends are no further out than some tens of runs can tell.
LEVELS = (0.01, 0.03, *(number / 20 for number in range(1, 20)), 0.97, 0.99)


@dataclass(frozen=True, slots=True)
class Spread:
    """exp(centre + scale · z), with z distributed as `quantiles` (at LEVELS) say; `shift` is added to the outcome."""

    centre: float
    scale: float
    quantiles: tuple[float, ...]
    shift: float = 0.0

    def quantile(self, probability: float) -> float:
        return math.exp(self.centre + self.scale * _between(probability, LEVELS, self.quantiles)) + self.shift

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
        """The mean of the middle 98 %: an outlier that happens once in hundreds of runs does not decide."""
        points = [math.exp(self.scale * z) for z in self.quantiles]
        area = sum((b - a) * (x + y) / 2 for a, b, x, y in zip(LEVELS, LEVELS[1:], points, points[1:], strict=False))
        return math.exp(self.centre) * area / (LEVELS[-1] - LEVELS[0]) + self.shift

    def plus(self, amount: float) -> Spread:
        return Spread(self.centre, self.scale, self.quantiles, self.shift + amount)

    def times(self, factor: float) -> Spread:
        """`factor` must be positive."""
        return Spread(self.centre + math.log(factor), self.scale, self.quantiles, self.shift * factor)

    def interval(self) -> Interval:
        return Interval(p10=self.quantile(0.1), p50=self.quantile(0.5), p90=self.quantile(0.9))


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
    """One runtime and one workload. samples: its finished runs of that workflow type; failures: those that failed.
    success: probability that the next run succeeds. notes: what limits the forecast, as half sentences."""

    samples: int = 0
    failures: int = 0
    duration: Spread | None = None
    cost: Spread | None = None
    success: float | None = None
    notes: list[str] = field(default_factory=list)
