# requirements: flexcore_learning
"""History as columns of numbers, one table for each runtime: no duplicates, in order of time. Pure.

The same runs in another order give the same columns. A start that is unknown, or later than now by more than
MAX_CLOCK_SKEW, puts a run before all others, where it shows no drift.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from typing import NamedTuple

import numpy as np

from f.flexcore.lib.core import workloads
from f.flexcore.lib.selection import forecast, robust_stats

# The newest runs of each runtime and type; older ones would cost time and change nothing.
MAX_RUNS_PER_TYPE = 200
MAX_CLOCK_SKEW = timedelta(days=1)
# The size link: how many pairs make it, how many are read, the bounds of its slope, and how well it must predict.
MIN_LINK_RUNS, MAX_LINK_RUNS = 5, 5000
LINK_SLOPES = (0.5, 1.5)
MAX_LINK_VARIANCE = 1.0
# log size = first + second · log rows, with the third as its variance
SizeLink = tuple[float, float, float]


class RunKey(NamedTuple):
    """What tells one run from another; two runs with the same key and a known start are duplicates."""

    workflow_type: str
    runtime: str
    data_size_bytes: int | None
    rows: int | None
    complexity: str | None
    started_at: datetime | None
    duration_s: float | None
    cost_usd: float | None
    success: bool


_key_fields = attrgetter(*RunKey._fields)


@dataclass(frozen=True, slots=True)
class RunTable:
    """Runs of one runtime as columns, the oldest first. log_size: NaN when unknown; extra_rows: log rows more than
    usual for the size; has_start: whether the start is known."""

    workflow_type: robust_stats.Labels
    log_size: robust_stats.Array
    extra_rows: robust_stats.Array
    complexity: robust_stats.Labels
    duration_s: robust_stats.Array
    cost_usd: robust_stats.Array
    success: robust_stats.Mask
    has_start: robust_stats.Mask

    def filter(self, mask: robust_stats.Mask) -> RunTable:
        return RunTable(*(getattr(self, name)[mask] for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The tables by runtime, the link from rows to sizes, and how many runs were duplicates."""

    tables: dict[str, RunTable]
    size_link: SizeLink | None
    duplicates: int


def build_training_data(history: Iterable[workloads.Run], now: datetime) -> TrainingData:
    """Return the columns to learn from. now: later starts are clock skew."""
    keys = [RunKey._make(_key_fields(run)) for run in history]
    # Without a start, two rows may be alike and yet two runs.
    unique = [*dict.fromkeys(key for key in keys if key.started_at), *(key for key in keys if not key.started_at)]
    latest, link = _latest_plausible_start(unique, now), _fit_size_link(unique)
    grouped: dict[str, list[RunKey]] = {}
    for key in unique:
        grouped.setdefault(key.runtime, []).append(key)
    tables = {name: _build_table(group, link, latest) for name, group in sorted(grouped.items())}
    return TrainingData(tables, link, len(keys) - len(unique))


def _latest_plausible_start(keys: list[RunKey], now: datetime) -> datetime:
    """Starts after this are wrong. When most of them lie ahead, it is this clock that is wrong, and none is."""
    starts = sorted(key.started_at for key in keys if key.started_at)
    middle = starts[len(starts) // 2] if starts else now
    return now + MAX_CLOCK_SKEW if middle <= now + MAX_CLOCK_SKEW else starts[-1]


def _fit_size_link(keys: list[RunKey]) -> SizeLink | None:
    """Log size from log rows; None when rows predict sizes too poorly."""
    pairs = [(key.rows, key.data_size_bytes) for key in keys[-MAX_LINK_RUNS:] if key.data_size_bytes and key.rows]
    if len(pairs) < MIN_LINK_RUNS:
        return None
    log_rows, log_sizes = np.log(np.array(pairs, dtype=float)).T
    slope = min(max(robust_stats.theil_slope(log_rows, log_sizes), LINK_SLOPES[0]), LINK_SLOPES[1])
    rest = log_sizes - slope * log_rows
    level = float(np.median(rest))
    variance = robust_stats.mad_scale(rest - level) ** 2
    return (level, slope, variance) if variance < MAX_LINK_VARIANCE else None


def _build_table(keys: list[RunKey], link: SizeLink | None, latest: datetime) -> RunTable:
    known = _newest_by_type([key for key in keys if key.started_at is not None and key.started_at <= latest])
    unknown = [key for key in keys if key.started_at is None or key.started_at > latest]
    keys = [*sorted(unknown, key=_content)[-MAX_RUNS_PER_TYPE:], *known]
    log_size, extra_rows = _locate_sizes(keys, link)
    return RunTable(
        workflow_type=np.array([key.workflow_type for key in keys]),
        log_size=log_size,
        extra_rows=extra_rows,
        complexity=np.array([key.complexity or "" for key in keys]),
        duration_s=_floats(key.duration_s for key in keys),
        cost_usd=_floats(key.cost_usd for key in keys),
        success=np.array([key.success for key in keys]),
        has_start=np.arange(len(keys)) >= len(keys) - len(known),
    )


def _locate_sizes(keys: list[RunKey], link: SizeLink | None) -> tuple[robust_stats.Array, robust_stats.Array]:
    """Log sizes, from rows where only those are known, and the log rows above what is usual for them."""
    size, count = _floats(key.data_size_bytes for key in keys), _floats(key.rows for key in keys)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_rows = np.where(count > 0, np.log(count), np.nan)
    log_size = np.log(np.maximum(size, forecast.MIN_SIZE_BYTES))
    if link is None:
        return log_size, np.zeros(len(keys))
    extra = (log_rows - (log_size - link[0]) / link[1]).clip(-forecast.MAX_EXTRA_ROWS, forecast.MAX_EXTRA_ROWS)
    return np.where(np.isnan(log_size), link[0] + link[1] * log_rows, log_size), np.nan_to_num(extra)


def _newest_by_type(keys: list[RunKey]) -> list[RunKey]:
    """In order of time the newest of each type, and those that began together with the last of them."""
    seen: Counter[str] = Counter()
    oldest: dict[str, datetime | None] = {}
    kept = []
    for key in sorted(keys, key=attrgetter("started_at"), reverse=True):
        seen[key.workflow_type] += 1
        if seen[key.workflow_type] <= MAX_RUNS_PER_TYPE:
            oldest[key.workflow_type] = key.started_at
        if key.started_at == oldest[key.workflow_type]:
            kept.append(key)
    return sorted(kept, key=lambda key: (key.started_at, _content(key)))


def _floats(values: Iterable[float | int | None]) -> robust_stats.Array:
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def _content(key: RunKey) -> tuple[float, ...]:
    """Orders runs of the same time by what they hold, whatever their order in the file."""
    numbers = (key.duration_s, key.data_size_bytes, key.rows, key.cost_usd)
    return (key.success, *(-1.0 if number is None else number for number in numbers))
