"""What an engine keeps of its executions for a time, apart from how many there are. Pure.

Rows of the database go when their time is over, so there are as many as executions have ended within that time, and a
busier machine has more. What must not grow is the number of rows for each of them, and the database beyond its rows.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import replace

from bench.soak.slopes import Sample, leave_out

ROWS, ENDED, DATABASE = "rows_kept", "executions_ended", "database_mb"
PER_EXECUTION, BEYOND_ROWS = "rows_per_execution", "database_beyond_rows_mb"
Series = Mapping[str, Sequence[Sample]]


def count_rows_per_execution(series: Series, retention_s: float) -> list[Sample]:
    """Rows for each execution that has ended within the time for which they are kept; not measured while none has."""
    ended = [(sample.at_s, sample.value) for sample in series.get(ENDED, ()) if sample.value is not None]
    times = [at for at, _ in ended]

    def count(at: float) -> float:
        place = bisect_left(times, at)
        return ended[min(place, len(ended) - 1)][1] if ended else 0.0

    found = []
    for sample in series.get(ROWS, ()):
        kept = count(sample.at_s) - count(sample.at_s - retention_s)
        found.append(replace(sample, value=sample.value / kept if sample.value is not None and kept else None))
    return found


def leave_out_rows(series: Series) -> list[Sample]:
    """The database without what its rows need."""
    return leave_out(series.get(DATABASE, ()), series.get(ROWS, ()))
