"""What a pass of reconcile holds in memory, and what of it is its lists. Pure.

Each pass is a process of its own. It lists the jobs that a head keeps (reconciler.MAX_KEPT_JOBS) and the Kubernetes
objects of executions that are live or have just ended, so it needs more with each, and less again when a head is new or
fewer executions end. What a listed job needs is fitted within the lives of heads and has a bound; what is left without
both lists has to stay as it is over all lives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bench.soak.slopes import Sample, Slope, fit_on_count, leave_out

# With all the jobs that a head keeps a pass then needs some 10 MB more.
MAX_MB_PER_JOB = 0.02
MEMORY, JOBS, OBJECTS = "reconcile_memory_mb", "reconcile_listed", "reconcile_listed_objects"
BEYOND_LIST = "reconcile_beyond_list_mb"
Series = Mapping[str, Sequence[Sample]]


def fit_per_job(series: Series) -> Slope:
    """MB for each job that a pass lists."""
    return fit_on_count(series.get(MEMORY, ()), series.get(JOBS, ()))


def leave_out_lists(series: Series) -> list[Sample]:
    """Memory of the passes without what the listed jobs and Kubernetes objects need, as one life."""
    left = leave_out(*(series.get(name, ()) for name in (MEMORY, JOBS, OBJECTS)))
    return [replace(sample, life=0) for sample in left]


def judge(per_job: Slope) -> list[str]:
    """What is wrong when a listed job surely needs more than MAX_MB_PER_JOB: a line."""
    if per_job.low is None or per_job.low <= MAX_MB_PER_JOB:
        return []
    return [
        f"a pass of reconcile needs {per_job.per_hour:.3g} MB for each job of the head ({per_job.low:.3g} to "
        f"{per_job.high:.3g}), more than {MAX_MB_PER_JOB:g}"
    ]
