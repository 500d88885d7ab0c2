# requirements: flexcore_learning
"""Whether the past still holds: jumps and ramps of a level, changes of a rate, and slow drift. Pure.

find_level_changes  the clearest jumps between two stretches of residuals in order of time, or a steady ramp, whichever
                    is clearer, when it is MIN_STANDARD_ERRORS
smoothed_level      exponential smoothing with the rate that predicted each next run best
rate_change_point   the largest gain of likelihood from two rates of success instead of one
"""

from __future__ import annotations

import math

import numpy as np

from f.flexcore.lib.selection import robust_stats

# The largest of some tens of normal jumps passes 4 in fewer than one history of a hundred.
MIN_STANDARD_ERRORS = 4.0
# A jump is the clearest of many places, a ramp has one slope: a jump must be so much clearer.
JUMP_PENALTY = 0.6
MAX_JUMPS = 3
# Runs on each side of a change.
MIN_SEGMENT_RUNS = 3
# A residual counts as at most so many deviations.
MAX_DEVIATIONS = 2.5
MIN_NOISE = 0.01
SMOOTHING_RATES = (0.05, 0.1, 0.2, 0.35)
# Smoothing must bring the mean absolute error below this share of that without it: small gains are chance.
MAX_ERROR_RATIO = 0.96
MIN_SMOOTHED_RUNS = 12
# A gain of log likelihood that is hardly chance.
MIN_RATE_GAIN = 6.0


def find_level_changes(residuals: robust_stats.Array) -> tuple[list[int], bool]:
    """Return where the level jumped (the present begins at the last), and whether it still climbs or falls steadily.

    residuals: in order of time.
    """
    jumps: list[int] = []
    begin = 0
    for _ in range(MAX_JUMPS):
        position, jump_errors = _clearest_jump(residuals[begin:])
        ramp_errors = _ramp_standard_errors(residuals[begin:])
        if max(jump_errors, ramp_errors) < MIN_STANDARD_ERRORS:
            break
        if ramp_errors > jump_errors - JUMP_PENALTY:
            return jumps, True
        begin += position
        jumps.append(begin)
    return jumps, False


def _standardize(residuals: robust_stats.Array) -> robust_stats.Array:
    """Residuals in deviations, bounded. Differences of neighbors measure the noise, however the level moves."""
    scale = max(robust_stats.mad_scale(np.diff(residuals)) / math.sqrt(2), MIN_NOISE)
    return np.clip((residuals - np.median(residuals)) / scale, -MAX_DEVIATIONS, MAX_DEVIATIONS)


def _clearest_jump(residuals: robust_stats.Array) -> tuple[int, float]:
    """The position of the clearest jump of the mean, and its size in standard errors."""
    n = len(residuals)
    if n < 2 * MIN_SEGMENT_RUNS + 2:
        return 0, 0.0
    sums = np.cumsum(_standardize(residuals))
    k = np.arange(MIN_SEGMENT_RUNS, n - MIN_SEGMENT_RUNS + 1)
    before, after = sums[k - 1] / k, (sums[-1] - sums[k - 1]) / (n - k)
    jumps = np.abs(after - before) / np.sqrt(1 / k + 1 / (n - k))
    best = int(np.argmax(jumps))
    return int(k[best]), float(jumps[best])


def _ramp_standard_errors(residuals: robust_stats.Array) -> float:
    """The slope over time in standard errors; 0 for too few runs."""
    if len(residuals) < MIN_SMOOTHED_RUNS:
        return 0.0
    time = np.arange(len(residuals)) - (len(residuals) - 1) / 2
    return float(abs(time @ _standardize(residuals)) / math.sqrt(time @ time))


def smoothed_level(errors: robust_stats.Array, has_start: robust_stats.Mask) -> tuple[float, robust_stats.Array]:
    """Return where the level has moved to, and the errors that forecasts with smoothing would have had.

    0 and `errors` when smoothing would not have predicted better; NaN for the first ones, which nothing came before.
    has_start: which errors have a known time.
    """
    ordered = errors[has_start]
    if len(ordered) < MIN_SMOOTHED_RUNS:
        return 0.0, errors
    bound = 3 * max(robust_stats.mad_scale(ordered), MIN_NOISE / 10)
    bounded = np.clip(ordered, -bound, bound)
    running_means = np.concatenate([[0.0], np.cumsum(bounded)[:-1] / np.arange(2, len(bounded) + 1)])
    least, level, remaining = MAX_ERROR_RATIO * _mean_absolute_error(bounded, running_means), 0.0, errors
    for rate in SMOOTHING_RATES:
        levels = _exponential_levels(bounded, rate)
        missed = _mean_absolute_error(bounded, levels[:-1])
        if missed < least:
            least, level = missed, float(levels[-1])
            remaining = np.full(len(errors), np.nan)
            remaining[np.flatnonzero(has_start)[MIN_SEGMENT_RUNS:]] = (ordered - levels[:-1])[MIN_SEGMENT_RUNS:]
    return level, remaining


def _mean_absolute_error(errors: robust_stats.Array, levels: robust_stats.Array) -> float:
    return float(np.abs(errors - levels)[MIN_SEGMENT_RUNS:].mean())


def _exponential_levels(errors: robust_stats.Array, rate: float) -> robust_stats.Array:
    """The level before each error, and the one after the last."""
    levels = [0.0]
    for error in errors.tolist():
        levels.append(levels[-1] + rate * (error - levels[-1]))
    return np.array(levels)


def rate_change_point(success: robust_stats.Mask) -> int:
    """Return where the rate of success changed clearly, 0 for nowhere. success: in order of time."""
    n = len(success)
    if n < 2 * MIN_SEGMENT_RUNS + 2:
        return 0
    sums = np.cumsum(success.astype(float))
    k = np.arange(MIN_SEGMENT_RUNS, n - MIN_SEGMENT_RUNS + 1).astype(float)
    before = sums[MIN_SEGMENT_RUNS - 1 : n - MIN_SEGMENT_RUNS]
    split = _log_likelihood(before, k) + _log_likelihood(sums[-1] - before, n - k)
    gain = split - _log_likelihood(sums[-1:], np.array([float(n)]))
    best = int(np.argmax(gain))
    return int(k[best]) if gain[best] > MIN_RATE_GAIN else 0


def _log_likelihood(successes: robust_stats.Array, runs: robust_stats.Array) -> robust_stats.Array:
    """Of so many successes among so many runs, at their own rate."""
    rate = np.clip(successes / runs, 1e-9, 1 - 1e-9)
    return np.asarray(successes * np.log(rate) + (runs - successes) * np.log(1 - rate))
