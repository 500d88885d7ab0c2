# requirements: flexcore_base
"""How much memory a worker of a training may take, held by the operating system, and whether the rows fit. Shipped as
source.

RLIMIT_DATA counts what a process allocates for itself: neither Ray's shared object store nor files that are mapped, of
which RLIMIT_AS would count all (Linux 4.7 and later; setrlimit(2)). What Ray's own threads hold already is granted on
top.
"""

from __future__ import annotations

import re
import resource
from pathlib import Path
from typing import Any

from f.flexcore.lib.ray.remote import dataset, shared_storage
from f.flexcore.lib.serving import estimators

Json = dict[str, Any]
GIB = 1 << 30
# Bytes of a value as pandas has it, and of the numbers that become of it.
VALUE_BYTES = {"number": 8, "flag": 8, "category": 64, "time": 64}
NUMBERS = {"number": 1, "flag": 1, "category": 1, "time": 6}
# The rows as Arrow and pandas have them, as a matrix, and what the algorithm makes of that: an estimate.
COPIES = 3.5
# What a booster keeps of each row (gradients, scores, positions); LightGBM adds a byte for each number. Sketches,
# histograms and threads take the rest: estimates, of which a limit of 128 MiB was seen to be too small for 128 columns.
ROW_BYTES, FIXED_BYTES = 48, 160 << 20
# xgboost's sketch takes about 8 KiB for each bin of a column while it looks for the bins' bounds, and its threads, a
# batch and the sample of rows the rest (xgboost 3, 32 to 256 bins). With fewer bins a column is split more coarsely.
BIN_BYTES, XGBOOST_BYTES = 8 << 10, 96 << 20
MAX_BINS, MIN_BINS = 256, 16
OUT_OF_MEMORY = re.compile(r"bad_alloc|bad allocation|Cannot allocate memory|Unable to allocate|out of memory", re.I)


def read_limit(parameters: Json) -> int | None:
    """Bytes that a worker may take; None for no limit."""
    asked = float(parameters.get("memory_gib_per_worker") or 0)
    return int(asked * GIB) if asked else None


def estimate_bytes(plan: dataset.Plan, rows: float) -> int:
    """What a training in memory takes for so many rows."""
    return int(rows * COPIES * sum(VALUE_BYTES[kind] for kind in plan.features.values()))


def is_large(plan: dataset.Plan, parameters: Json, workers: int) -> bool:
    """Whether the rows are learned from on disk. Raises InvalidInput that names the algorithm when it cannot do so: it
    is not tried, since it would end when the memory is gone."""
    limit = read_limit(parameters)
    needed = estimate_bytes(plan, plan.rows / workers)
    if limit is None or needed <= limit:
        return False
    algorithm = parameters["algorithm"]
    known = estimators.ALIASES.get(algorithm.lower(), algorithm.lower()) in estimators.BOOSTERS
    if known and plan.task != "ranking":
        check_disk_training(plan, parameters, workers, limit)
        return True
    what = "a ranking" if known else algorithm
    raise shared_storage.Problem(
        "InvalidInput",
        f"memory_gib_per_worker is {limit / GIB:g} GiB, and {what} learns in memory: {plan.rows:,} rows of "
        f"{len(plan.features)} columns take about {needed / GIB:.1f} GiB",
        "memory_gib_per_worker",
        f"Choose xgboost or lightgbm for a regression or classification, which learn from disk; or fewer features or "
        f"rows; or give at least {needed / GIB * 1.1:.1f} GiB.",
    )


def check_disk_training(plan: dataset.Plan, parameters: Json, workers: int, limit: int) -> None:
    """Raises InvalidInput when what a booster keeps of each row, or xgboost of each column, does not fit either."""
    numbers, rows = count_numbers(plan), plan.rows / workers
    name = parameters["algorithm"].lower()
    if estimators.ALIASES.get(name, name) == "lightgbm":
        needed = int(rows * (ROW_BYTES + numbers)) + FIXED_BYTES
    else:
        needed = int(rows * ROW_BYTES) + XGBOOST_BYTES + numbers * MIN_BINS * BIN_BYTES
    if needed > limit:
        raise shared_storage.Problem(
            "InvalidInput",
            f"memory_gib_per_worker is {limit / GIB:g} GiB, and {parameters['algorithm']} keeps about "
            f"{needed / GIB:.2f} GiB of {plan.rows:,} rows in memory, also when it learns from disk",
            "memory_gib_per_worker",
            f"Give at least {needed / GIB * 1.1:.2f} GiB, more workers, or fewer rows.",
        )


def choose_bins(plan: dataset.Plan, rows: float, limit: int) -> int:
    """So many bins of each column xgboost finds within the limit: the same number on every worker."""
    room = limit - XGBOOST_BYTES - int(rows * ROW_BYTES)
    return max(MIN_BINS, min(MAX_BINS, room // (BIN_BYTES * max(1, count_numbers(plan)))))


def count_numbers(plan: dataset.Plan) -> int:
    """The columns of the matrix that the features become."""
    return sum(NUMBERS[kind] for kind in plan.features.values())


def count_sample_rows(plan: dataset.Plan, parameters: Json) -> int:
    """So many rows may be in memory at once beside a training on disk: to measure by, and to tell of."""
    limit = read_limit(parameters)
    assert limit is not None, "without a limit nothing is learned from on disk"
    return max(1000, limit // 8 // max(1, estimate_bytes(plan, 1)))


def set_limit(parameters: Json) -> None:
    """Holds this process to its limit from now on."""
    limit = read_limit(parameters)
    if limit is None:
        return
    soft = read_status("VmData") + limit
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = soft if hard == resource.RLIM_INFINITY else min(soft, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def lift_limit() -> None:
    """Ends what `set_limit` began: a worker is used again."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def read_status(name: str) -> int:
    """Bytes of this process: VmData, VmRSS, VmHWM (the most of VmRSS)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


def memory_problem(error: BaseException, parameters: Json) -> shared_storage.Problem | None:
    """A failure for want of memory as a problem of the limit; None for another, or without a limit."""
    limit = read_limit(parameters)
    if limit is None or not (isinstance(error, MemoryError) or OUT_OF_MEMORY.search(str(error))):
        return None
    return shared_storage.Problem(
        "ExecutionFailed",
        f"The training took more than memory_gib_per_worker, {limit / GIB:g} GiB",
        "memory_gib_per_worker",
        "Give more memory, or learn from fewer features or rows.",
    )
