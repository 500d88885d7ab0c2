"""What a pass of reconcile holds in memory, and what of it is the list of a head's jobs. Pure.

Each pass is a process of its own. It lists the jobs that a head keeps (reconciler.MAX_KEPT_JOBS), so it needs more with
each job and less again when a head is new. What a listed job needs is fitted within the lives of heads and has a bound;
what is left has to stay as it is over all lives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bench.soak.slopes import Sample, Slope, fit_on_count

# With all the jobs that a head keeps a pass then needs some 10 MB more.
MAX_MB_PER_JOB = 0.02
MEMORY, JOBS, BEYOND_LIST = "reconcile_memory_mb", "reconcile_listed", "reconcile_beyond_list_mb"
Series = Mapping[str, Sequence[Sample]]


def fit_per_job(series: Series) -> Slope:
    """MB for each job that a pass lists."""
    return fit_on_count(series.get(MEMORY, ()), series.get(JOBS, ()))


def leave_out_lists(series: Series) -> list[Sample]:
    """Memory of the passes without what the listed jobs need, as one life."""
    per_job = fit_per_job(series).per_hour or 0.0
    return [
        replace(sample, value=_without_list(sample.value, jobs.value, per_job), life=0)
        for sample, jobs in zip(series.get(MEMORY, ()), series.get(JOBS, ()), strict=True)
    ]


def _without_list(memory: float | None, jobs: float | None, per_job: float) -> float | None:
    return None if memory is None or jobs is None else memory - per_job * jobs


def judge(per_job: Slope) -> list[str]:
    """What is wrong when a listed job surely needs more than MAX_MB_PER_JOB: a line."""
    if per_job.low is None or per_job.low <= MAX_MB_PER_JOB:
        return []
    return [
        f"a pass of reconcile needs {per_job.per_hour:.3g} MB for each job of the head ({per_job.low:.3g} to "
        f"{per_job.high:.3g}), more than {MAX_MB_PER_JOB:g}"
    ]
