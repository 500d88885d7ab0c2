# requirements: flexcore_learning
"""Whether the past still holds: jumps and ramps of a level, turns of a rate, and slow drift. Pure.

drift      what residuals show in the order of time: the clearest jumps between two stretches, or a steady ramp,
           whichever is clearer, when it is CLEAR standard errors
followed   exponential smoothing with the rate that predicted each next run best
turn       the largest gain of likelihood from two rates of success instead of one
"""

from __future__ import annotations

import math

import numpy as np

from f.flexcore.lib.selection import robust_stats

# The largest of some tens of normal jumps passes 4 in fewer than one history of a hundred.
CLEAR = 4.0
# A jump is the clearest of many places, a ramp has one slope: so much more must it be clear.
CHOSEN_OF_MANY = 0.6
JUMPS = 3
SHORTEST = 3
# A residual counts as at most so many deviations.
BOUND = 2.5
QUIET = 0.01
RATES = (0.05, 0.1, 0.2, 0.35)
# A smoothing rate must predict this much better than none: small gains are chance.
GAIN = 0.96
FOLLOWED_FROM = 12
# A gain of log likelihood that is hardly chance.
TURN_GAIN = 6.0


def drift(residuals: robust_stats.Array) -> tuple[list[int], bool]:
    """Where the level jumped (the last is where the present begins), and whether it climbs or falls steadily.

    residuals: in order of time.
    """
    edges: list[int] = []
    begin = 0
    for _ in range(JUMPS):
        edge, clear = _jump(residuals[begin:])
        slope = _ramp(residuals[begin:])
        if max(clear, slope) < CLEAR:
            break
        if slope > clear - CHOSEN_OF_MANY:
            return edges, True
        begin += edge
        edges.append(begin)
    return edges, False


def _scaled(residuals: robust_stats.Array) -> robust_stats.Array:
    """In deviations, bounded. The differences of neighbours tell the noise, however the level moves."""
    scale = max(robust_stats.mad(np.diff(residuals)) / math.sqrt(2), QUIET)
    return np.clip((residuals - np.median(residuals)) / scale, -BOUND, BOUND)


def _jump(residuals: robust_stats.Array) -> tuple[int, float]:
    """The position of the clearest jump of the mean, and how many standard errors it has."""
    n = len(residuals)
    if n < 2 * SHORTEST + 2:
        return 0, 0.0
    sums = np.cumsum(_scaled(residuals))
    k = np.arange(SHORTEST, n - SHORTEST + 1)
    before, after = sums[k - 1] / k, (sums[-1] - sums[k - 1]) / (n - k)
    jumps = np.abs(after - before) / np.sqrt(1 / k + 1 / (n - k))
    best = int(np.argmax(jumps))
    return int(k[best]), float(jumps[best])


def _ramp(residuals: robust_stats.Array) -> float:
    """The slope over time, in standard errors."""
    if len(residuals) < FOLLOWED_FROM:
        return 0.0
    time = np.arange(len(residuals)) - (len(residuals) - 1) / 2
    return float(abs(time @ _scaled(residuals)) / math.sqrt(time @ time))


def followed(errors: robust_stats.Array, timed: robust_stats.Mask) -> tuple[float, robust_stats.Array]:
    """Where the level has moved to, and the errors of forecasts that had followed it: 0 and `errors` when following
    would not have predicted better. NaN for the first ones, which nothing came before."""
    past = errors[timed]
    if len(past) < FOLLOWED_FROM:
        return 0.0, errors
    bound = 3 * max(robust_stats.mad(past), QUIET / 10)
    bounded = np.clip(past, -bound, bound)
    settled = np.concatenate([[0.0], np.cumsum(bounded)[:-1] / np.arange(2, len(bounded) + 1)])
    best, level, left = GAIN * _missed(bounded, settled), 0.0, errors
    for rate in RATES:
        levels = _levels(bounded, rate)
        missed = _missed(bounded, levels[:-1])
        if missed < best:
            best, level = missed, float(levels[-1])
            left = np.full(len(errors), np.nan)
            left[np.flatnonzero(timed)[SHORTEST:]] = (past - levels[:-1])[SHORTEST:]
    return level, left


def _missed(errors: robust_stats.Array, levels: robust_stats.Array) -> float:
    return float(np.abs(errors - levels)[SHORTEST:].mean())


def _levels(errors: robust_stats.Array, rate: float) -> robust_stats.Array:
    """The level before each error, and the one after the last."""
    levels = [0.0]
    for error in errors.tolist():
        levels.append(levels[-1] + rate * (error - levels[-1]))
    return np.array(levels)


def turn(success: robust_stats.Mask) -> int:
    """Where the rate of success changed clearly, 0 for nowhere. success: in order of time."""
    n = len(success)
    if n < 2 * SHORTEST + 2:
        return 0
    sums = np.cumsum(success.astype(float))
    k = np.arange(SHORTEST, n - SHORTEST + 1).astype(float)
    good = sums[SHORTEST - 1 : n - SHORTEST]
    gain = _likelihood(good, k) + _likelihood(sums[-1] - good, n - k) - _likelihood(sums[-1:], np.array([float(n)]))
    best = int(np.argmax(gain))
    return int(k[best]) if gain[best] > TURN_GAIN else 0


def _likelihood(good: robust_stats.Array, of: robust_stats.Array) -> robust_stats.Array:
    """Log likelihood of so many successes at their own rate."""
    rate = np.clip(good / of, 1e-9, 1 - 1e-9)
    return np.asarray(good * np.log(rate) + (of - good) * np.log(1 - rate))
