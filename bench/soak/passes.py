"""What a pass of reconcile holds in memory, and what of it is its lists. Pure.

Each pass is a process of its own. It lists the jobs that a head keeps (reconciler.MAX_KEPT_JOBS) and all else that
executions which are live or have just ended have in the clusters and in the store, so it needs more with each, and less
again when a head is new or fewer executions end. What a listed job needs is fitted within the lives of heads and has a
bound; how much else there is, by the pass's own count, must not grow, and what is left without both lists has to stay
as it is over all lives.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from bench.soak.slopes import Sample, Slope, fit_on_count, leave_out

# With all the jobs that a head keeps a pass then needs some 10 MB more.
MAX_MB_PER_JOB = 0.02
MEMORY, JOBS, OTHERS = "reconcile_memory_mb", "reconcile_listed_jobs", "reconcile_listed_others"
BEYOND_LIST = "reconcile_beyond_list_mb"
# From then on as many of the others go (admissions after two minutes, containers after one) as come.
OTHERS_WARM_UP_S = 300.0
# As reconciler.describe_rows writes it.
SEEN = re.compile(r"^(\d+) objects seen", re.MULTILINE)
Series = Mapping[str, Sequence[Sample]]


def count_others(log: str, jobs: int | None) -> int | None:
    """What a pass has listed, by its log, besides the jobs of the head; None where one of both is not known."""
    seen = SEEN.search(log)
    return None if seen is None or jobs is None else int(seen[1]) - jobs


def fit_per_job(series: Series) -> Slope:
    """MB for each job that a pass lists."""
    return fit_on_count(series.get(MEMORY, ()), series.get(JOBS, ()))


def leave_out_lists(series: Series) -> list[Sample]:
    """Memory of the passes without what they list, as one life: of all heads together."""
    left = leave_out(*(series.get(name, ()) for name in (MEMORY, JOBS, OTHERS)))
    return [replace(sample, life=0) for sample in left]


def judge(per_job: Slope) -> list[str]:
    """What is wrong when a listed job surely needs more than MAX_MB_PER_JOB: a line."""
    if per_job.low is None or per_job.low <= MAX_MB_PER_JOB:
        return []
    return [
        f"a pass of reconcile needs {per_job.per_hour:.3g} MB for each job of the head ({per_job.low:.3g} to "
        f"{per_job.high:.3g}), more than {MAX_MB_PER_JOB:g}"
    ]
