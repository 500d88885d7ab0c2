"""What a job adds to the memory of a Ray head, against a head that runs nothing of flexcore. Pure.

What Ray itself keeps with each job is no leak of ours, and it grows with the jobs, not with the hours. So memory is
fitted on the number of jobs that a head has run, and what is judged is the difference to the control.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from bench.soak.slopes import Sample, Slope, fit_on_count

HEAD, CONTROL = "head", "control"
# Ray's C++ daemons open an arena for each of their threads as jobs come: a raylet with no-op jobs grew by 4.3 MB with
# the first ten, by 1.3 with the next ten and by 0.3 with the third.
HEAD_WARM_UP_JOBS = 20


def leave_out_first_jobs(name: str, series: Mapping[str, Sequence[Sample]]) -> Sequence[Sample]:
    """A head's samples without the values before its HEAD_WARM_UP_JOBS-th job; other series as they are."""
    jobs = series.get(f"{name.partition('_')[0]}_jobs")
    if jobs is None or name.endswith("_jobs"):
        return series[name]
    warm_at: dict[int, float] = {}
    for sample in jobs:
        if sample.value is not None and sample.value >= HEAD_WARM_UP_JOBS:
            warm_at.setdefault(sample.life, sample.at_s)
    return [
        sample if sample.at_s >= warm_at.get(sample.life, math.inf) else replace(sample, value=None)
        for sample in series[name]
    ]


def fit_per_job(head: str, series: Mapping[str, Sequence[Sample]]) -> Slope:
    """How the head's memory grows with the jobs that it has run: MB, in place of an hour for each job. No more jobs
    than a life of HEAD has had: later ones add less, and the control has one long life."""
    most = max((item.value for item in series.get(f"{HEAD}_jobs", ()) if item.value is not None), default=0.0)
    memory, jobs = series.get(f"{head}_memory_mb", ()), series.get(f"{head}_jobs", ())
    return fit_on_count(memory, [job if (job.value or 0) <= most else replace(job, value=None) for job in jobs])


def compare(ours: Slope, control: Slope) -> list[str]:
    """What is wrong when a job of flexcore adds more than one that does nothing: a line; none when it does not."""
    if ours.low is None or control.high is None or ours.low <= max(control.high, 0):
        return []
    return [
        f"head_memory_mb grows by {ours.per_hour:.3g} a job ({ours.low:.3g} to {ours.high:.3g}), that of a head "
        f"without flexcore by {control.per_hour:.3g} ({control.low:.3g} to {control.high:.3g})"
    ]


def describe_per_job(slope: Slope) -> dict[str, Any]:
    """The slope as plain data, by job."""
    found = asdict(slope)
    return {"per_job": found.pop("per_hour"), **found}
