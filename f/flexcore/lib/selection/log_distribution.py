# requirements: flexcore_base
"""A distribution on a log scale, from plain numbers alone: quantiles, probabilities, mean. Pure."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, replace

from f.flexcore.lib.core import workloads

# Probabilities of a LogDistribution's quantiles. The ends are no further out than some tens of runs can tell.
QUANTILE_LEVELS = (0.01, 0.03, *(number / 20 for number in range(1, 20)), 0.97, 0.99)
# e^200 is beyond any duration or cost.
MAX_EXPONENT = 200.0


@dataclass(frozen=True, slots=True)
class LogDistribution:
    """exp(center + scale · z) + shift, with z distributed as `quantiles` (at QUANTILE_LEVELS) say.

    smear: log of the mean of exp(z). uncertainty: standard deviation of the center itself.
    """

    center: float
    scale: float
    quantiles: tuple[float, ...]
    smear: float
    uncertainty: float = 0.0
    shift: float = 0.0

    def quantile(self, probability: float) -> float:
        z = _interpolate(probability, QUANTILE_LEVELS, self.quantiles)
        return _bounded_exp(self.center + self.scale * z) + self.shift

    def cdf(self, value: float) -> float:
        """Return the probability that the outcome is at most `value`."""
        if value <= self.shift:
            return 0.0
        z = (math.log(value - self.shift) - self.center) / max(self.scale, 1e-9)
        if z < self.quantiles[0]:
            return 0.0
        if z >= self.quantiles[-1]:
            return 1.0
        return _interpolate(z, self.quantiles, QUANTILE_LEVELS)

    def mean(self) -> float:
        return _bounded_exp(self.center + self.smear * self.scale**2) + self.shift

    def add(self, amount: float) -> LogDistribution:
        return replace(self, shift=self.shift + amount)

    def multiply(self, factor: float) -> LogDistribution:
        """`factor` must be positive."""
        return replace(self, center=self.center + math.log(factor), shift=self.shift * factor)

    def interval(self) -> workloads.Interval:
        return workloads.Interval(p10=self.quantile(0.1), p50=self.quantile(0.5), p90=self.quantile(0.9))


def _bounded_exp(x: float) -> float:
    """exp, and a huge number instead of an overflow: garbage in history still leads to an answer."""
    return math.exp(min(x, MAX_EXPONENT))


def _interpolate(x: float, xs: tuple[float, ...], ys: tuple[float, ...]) -> float:
    """Linear interpolation in ascending `xs`; flat beyond the ends."""
    i = bisect_left(xs, x)
    if i == 0:
        return ys[0]
    if i == len(xs):
        return ys[-1]
    width = xs[i] - xs[i - 1]
    return ys[i] if width <= 0 else ys[i - 1] + (ys[i] - ys[i - 1]) * (x - xs[i - 1]) / width
