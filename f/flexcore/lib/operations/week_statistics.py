# requirements: flexcore_base
"""Rates, durations and their intervals, and whether two of them differ by more than chance. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from f.flexcore.lib.operations import outcomes
from f.flexcore.lib.selection import comparison

# Two-sided, 95 %.
Z = statistics.NormalDist().inv_cdf(0.975)
MIN_MEDIAN_RUNS = 6
Outcome = outcomes.Outcome


@dataclass(frozen=True, slots=True)
class Rate:
    """Of the runs that ended by themselves. low, high: Wilson's 95 % interval."""

    successes: int
    runs: int
    rate: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Durations:
    """Of the runs that succeeded, seconds. p95 is None below comparison.MIN_P95_RUNS."""

    runs: int
    p50: float | None
    p95: float | None


def compute_rate(rows: Iterable[Outcome]) -> Rate:
    """Source: Wilson (1927), the score interval; it holds for few runs, and for none or all of them successful."""
    ended = [row for row in rows if row.status in ("success", "failure")]
    successes, runs = sum(row.status == "success" for row in ended), len(ended)
    if not runs:
        return Rate(0, 0, None, None, None)
    rate = successes / runs
    center = (rate + Z * Z / (2 * runs)) / (1 + Z * Z / runs)
    half = Z * math.sqrt(rate * (1 - rate) / runs + Z * Z / (4 * runs * runs)) / (1 + Z * Z / runs)
    return Rate(successes, runs, rate, max(0.0, center - half), min(1.0, center + half))


def compute_durations(rows: Iterable[Outcome]) -> Durations:
    times = list_times(rows)
    p95 = compute_quantile(times, 0.95) if len(times) >= comparison.MIN_P95_RUNS else None
    return Durations(len(times), compute_quantile(times, 0.5), p95)


def list_times(rows: Iterable[Outcome]) -> list[float]:
    return sorted(row.duration_s for row in rows if row.status == "success" and row.duration_s is not None)


def compute_quantile(ordered: Sequence[float], probability: float) -> float | None:
    """Linear between order statistics (Hyndman and Fan's type 7, as numpy's default)."""
    if not ordered:
        return None
    position = probability * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def median_interval(ordered: Sequence[float]) -> tuple[float, float] | None:
    """A 95 % interval of the median by order statistics (normal approximation of the binomial); None for too few."""
    count = len(ordered)
    if count < MIN_MEDIAN_RUNS:
        return None
    half = Z * math.sqrt(count) / 2
    low, high = math.floor(count / 2 - half), math.ceil(count / 2 + half)
    return ordered[max(low, 0)], ordered[min(high, count - 1)]


def compare_rates(name: str, now: Rate, before: Rate) -> list[str]:
    """Source: Newcombe (1998), method 10: the interval of a difference from the two of Wilson."""
    if now.rate is None or before.rate is None or None in (now.low, now.high, before.low, before.high):
        return []
    difference = now.rate - before.rate
    low = difference - math.hypot(now.rate - (now.low or 0), (before.high or 0) - before.rate)
    high = difference + math.hypot((now.high or 0) - now.rate, before.rate - (before.low or 0))
    if low <= 0 <= high:
        return []
    verb = "fell" if difference < 0 else "rose"
    return [f"The success rate of {name} {verb} from {before.rate:.0%} to {now.rate:.0%}"]


def compare_medians(name: str, now: Sequence[float], before: Sequence[float]) -> list[str]:
    ours, theirs = median_interval(now), median_interval(before)
    if ours is None or theirs is None or (ours[0] <= theirs[1] and theirs[0] <= ours[1]):
        return []
    verb = "slower" if ours[0] > theirs[1] else "faster"
    medians = f"{statistics.median(before):.3g} s to {statistics.median(now):.3g} s"
    return [f"{name} became {verb}: its median went from {medians}"]
