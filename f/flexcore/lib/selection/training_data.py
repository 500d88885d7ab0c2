# requirements: flexcore_learning
"""History as columns of numbers, one set for each runtime: no duplicates, in order of time. Pure.

The same rows in another order give the same columns. A start that is unknown, or later than now by more than SKEW
(clock skew), puts a row before all others, where it tells nothing of drift.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter, itemgetter

import numpy as np

from f.flexcore.lib.core import workloads
from f.flexcore.lib.selection import forecast, robust_stats

# The newest runs of each runtime and type; older ones would cost time and change nothing.
NEWEST = 200
SKEW = timedelta(days=1)
# type, runtime, size, rows, complexity, start, duration, cost, success
Key = tuple[str, str, int | None, int | None, str | None, datetime | None, float | None, float | None, bool]
# log size = first + second · log rows, with the third as its variance
Link = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Rows:
    """Runs of one runtime as columns, the oldest first. x: log size, NaN when unknown; rows: log rows more than usual
    for the size; timed: whether its start is known."""

    kind: robust_stats.Names
    x: robust_stats.Array
    rows: robust_stats.Array
    complexity: robust_stats.Names
    duration: robust_stats.Array
    cost: robust_stats.Array
    success: robust_stats.Mask
    timed: robust_stats.Mask

    def where(self, mask: robust_stats.Mask) -> Rows:
        return Rows(*(getattr(self, name)[mask] for name in self.__slots__))


def by_runtime(history: Iterable[workloads.Run], now: datetime) -> tuple[dict[str, Rows], Link | None, int]:
    """Columns by runtime, the link from rows to sizes, and how many rows were duplicates."""
    keys = [_key(run) for run in history]
    # Without a start, two rows may be alike and yet two runs.
    unique = [*dict.fromkeys(key for key in keys if key[5]), *(key for key in keys if not key[5])]
    latest, link = _latest(unique, now), _rows_link(unique)
    grouped: dict[str, list[Key]] = {}
    for key in unique:
        grouped.setdefault(key[1], []).append(key)
    return {name: _columns(each, link, latest) for name, each in sorted(grouped.items())}, link, len(keys) - len(unique)


_key: Callable[[workloads.Run], Key] = attrgetter(
    "workflow_type",
    "runtime",
    "data_size_bytes",
    "rows",
    "complexity",
    "started_at",
    "duration_s",
    "cost_usd",
    "success",
)


def _latest(keys: list[Key], now: datetime) -> datetime:
    """Starts after this are wrong. When most are, it is this clock that is wrong, and none is."""
    starts = sorted(key[5] for key in keys if key[5])
    middle = starts[len(starts) // 2] if starts else now
    return now + SKEW if middle <= now + SKEW else starts[-1]


def _rows_link(keys: list[Key]) -> Link | None:
    """Log size from log rows, when the one tells enough of the other."""
    pairs = [(key[3], key[2]) for key in keys[-5000:] if key[2] and key[3]]
    if len(pairs) < 5:
        return None
    rows, sizes = np.log(np.array(pairs, dtype=float)).T
    slope = min(max(robust_stats.theil(rows, sizes), 0.5), 1.5)
    rest = sizes - slope * rows
    level = float(np.median(rest))
    variance = robust_stats.mad(rest - level) ** 2
    return (level, slope, variance) if variance < 1 else None


def _columns(keys: list[Key], link: Link | None, latest: datetime) -> Rows:
    known = [key for key in keys if key[5] is not None and key[5] <= latest]
    unknown = [key for key in keys if key[5] is None or key[5] > latest]
    known = _newest(sorted(known, key=itemgetter(5)))
    timed = len(known)
    keys = [*sorted(unknown, key=_told)[-NEWEST:], *sorted(known, key=lambda key: (key[5], _told(key)))]
    size, count = _floats(key[2] for key in keys), _floats(key[3] for key in keys)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_rows = np.where(count > 0, np.log(count), np.nan)
    x = np.log(np.maximum(size, forecast.SMALLEST))
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
        timed=np.arange(len(keys)) >= len(keys) - timed,
    )


def _newest(keys: list[Key]) -> list[Key]:
    """The newest of each type, and those that began together with the last of them."""
    seen: Counter[str] = Counter()
    oldest: dict[str, datetime | None] = {}
    kept = []
    for key in reversed(keys):
        seen[key[0]] += 1
        if seen[key[0]] <= NEWEST:
            oldest[key[0]] = key[5]
        if key[5] == oldest[key[0]]:
            kept.append(key)
    return kept


def _floats(values: Iterable[float | int | None]) -> robust_stats.Array:
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def _told(key: Key) -> tuple[float, ...]:
    """Orders rows of the same time by what they say, whatever their order in the file."""
    return (key[8], *(-1.0 if part is None else part for part in (key[6], key[2], key[3], key[7])))
