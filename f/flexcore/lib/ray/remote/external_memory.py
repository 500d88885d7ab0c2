# requirements: flexcore_base
"""Learning from rows that do not fit into memory: xgboost by its external-memory iterator, LightGBM by sequences.
Shipped as source.

    rows, a batch at a time → numbers, float32 → files of some megabytes in a folder of the worker's disk
    xgboost    ExtMemQuantileDMatrix, which keeps its own pages beside them
    lightgbm   one Sequence for each file; the Dataset holds bins of one byte

What is measured and told comes from a sample of rows that fits. Sources: xgboost, Using XGBoost External Memory
Version; lightgbm.Sequence.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from f.flexcore.lib.ray.remote import class_weights, dataset, holdout, memory_limit, shared_storage, training_data

Json = dict[str, Any]
BATCH_BYTES = 8 << 20
# The cache as float32, and xgboost's pages of it.
DISK_BYTES_PER_NUMBER = 4 + 2
# Part of the rows to learn from that early stopping looks at.
VALIDATION_FRACTION = 0.1
# What xgboost reads at a time: with small pages it was seen to take twice the memory.
PAGES_OF_LIMIT, MAX_PAGE_BYTES = 20, 64 << 20
SEED = 0
LIGHTGBM_SAMPLE = 200_000


@dataclass
class Cache:
    """Rows as files: `x<n>.npy` (float32), `y<n>.npy`, `w<n>.npy` (when they are weighed)."""

    folder: Path
    files: int = 0
    rows: int = 0
    columns: int = 0
    weighed: bool = False
    limit: int = 0
    bins: int = memory_limit.MAX_BINS
    parts: list[int] = field(default_factory=list)

    def add(self, matrix: Any, truth: Any, weights: Any) -> None:
        import numpy as np

        np.save(self.folder / f"x{self.files}.npy", np.ascontiguousarray(matrix, dtype="float32"))
        np.save(self.folder / f"y{self.files}.npy", np.asarray(truth, dtype="float32"))
        if weights is not None:
            self.weighed = True
            np.save(self.folder / f"w{self.files}.npy", np.asarray(weights, dtype="float32"))
        self.files, self.rows, self.columns = self.files + 1, self.rows + len(matrix), matrix.shape[1]
        self.parts.append(len(matrix))

    def read(self, kind: str, number: int, mapped: bool = False) -> Any:
        import numpy as np

        return np.load(self.folder / f"{kind}{number}.npy", mmap_mode="r" if mapped else None)

    def read_all(self, kind: str, files: range | None = None) -> Any:
        import numpy as np

        return np.concatenate([self.read(kind, number) for number in (files or range(self.files))])


def split_rows(rows: Any, plan: dataset.Plan, fraction: float, sample: int, validates: bool) -> dict[str, Any]:
    """train, test and, where early stopping wants it, valid: by the key of each row alone, which needs no list of rows.
    Of the held-out rows a sample that fits into memory is measured by, which is noted."""
    bounds = {"test": (0.0, min(fraction, sample / plan.rows)), "train": (fraction, 1.0)}
    if validates:
        stop = fraction + (1 - fraction) * VALIDATION_FRACTION
        bounds |= {"valid": (fraction, fraction + min(stop - fraction, sample / plan.rows)), "train": (stop, 1.0)}
    if bounds["test"][1] < fraction:
        plan.notes.append(
            f"The rows are learned from on disk; the model is measured by about {sample:,} of the "
            f"{round(plan.rows * fraction):,} rows held out"
        )
    return {
        name: rows.map_batches(
            holdout.select_between, fn_args=list(limits), batch_format="pyarrow", batch_size=None, num_cpus=0
        )
        for name, limits in bounds.items()
    }


def count_classes(rows: Any, plan: dataset.Plan) -> dict[str, int]:
    """The rows of each class, a batch at a time."""
    counts: dict[str, int] = {}
    tables = rows.map_batches(
        holdout.count_values, fn_args=[plan.target], batch_format="pyarrow", batch_size=None, num_cpus=0
    )
    for item in tables.take_all():
        counts[item["value"]] = counts.get(item["value"], 0) + int(item["count"])
    return counts


@contextmanager
def open_cache(plan: dataset.Plan, rows: float, limit: int) -> Iterator[Cache]:
    """An empty cache in a folder that goes with it. Raises ExecutionFailed when the disk surely has no room for it."""
    with TemporaryDirectory(prefix="flexcore-cache-") as name:
        numbers = memory_limit.count_numbers(plan)
        needed, free = int(rows * numbers * DISK_BYTES_PER_NUMBER), shutil.disk_usage(name).free
        if needed > free:
            raise shared_storage.Problem(
                "ExecutionFailed",
                f"The cache of the rows needs about {needed / memory_limit.GIB:.1f} GiB of disk in {name}, which has "
                f"{free / memory_limit.GIB:.1f} GiB free",
                "disk",
                "Free space there, set TMPDIR to a larger disk of the workers, or give more memory.",
            )
        try:
            yield Cache(Path(name), limit=limit, bins=memory_limit.choose_bins(plan, rows, limit))
        except Exception as error:
            if shared_storage.is_disk_full(error):
                raise shared_storage.full_problem("caching the rows", name) from error
            raise


def fill_cache(cache: Cache, shard: Any, columns: Any, plan: dataset.Plan, given: list[str], sample: int) -> Any:
    """Writes the rows of a dataset into the cache; returns a sample of them as a prepared pandas table."""
    import numpy as np
    import pandas as pd

    generator, kept = np.random.default_rng(SEED), []
    size = max(256, BATCH_BYTES // max(1, memory_limit.estimate_bytes(plan, 1)))
    codes = {label: code for code, label in enumerate(plan.labels)}
    for batch in shard.iter_batches(batch_format="pyarrow", batch_size=size, prefetch_batches=1):
        frame = batch.to_pandas()
        truth = training_data.read_target(frame, plan)
        weights = class_weights.weigh_rows(truth, plan, given)
        target = truth.map(codes) if plan.task == "classification" else truth
        cache.add(columns.transform(dataset.select_features(frame, plan)), target, weights)
        kept.append(frame[generator.random(len(frame)) < sample / plan.rows])
    if not cache.rows:
        raise holdout.too_few_rows(0)
    return pd.concat(kept, ignore_index=True)


def make_xgboost_matrix(cache: Cache, threads: int, bins: int) -> Any:
    import xgboost

    pages = list(group_files(cache))

    class Batches(xgboost.DataIter):
        def __init__(self) -> None:
            self.number = 0
            super().__init__(cache_prefix=str(cache.folder / "pages"), on_host=False)

        def next(self, input_data: Any) -> bool:
            if self.number == len(pages):
                return False
            files = pages[self.number]
            weights = cache.read_all("w", files) if cache.weighed else None
            input_data(data=cache.read_all("x", files), label=cache.read_all("y", files), weight=weights)
            self.number += 1
            return True

        def reset(self) -> None:
            self.number = 0

    return xgboost.ExtMemQuantileDMatrix(Batches(), max_bin=bins, nthread=threads)


def group_files(cache: Cache) -> Iterator[range]:
    """The files of each page."""
    first, size = 0, 0
    most = min(MAX_PAGE_BYTES, cache.limit // PAGES_OF_LIMIT)
    for number, rows in enumerate(cache.parts):
        size += rows * cache.columns * 4
        if size >= most or number == cache.files - 1:
            yield range(first, number + 1)
            first, size = number + 1, 0


def make_lightgbm_dataset(cache: Cache, parameters: Json) -> Any:
    import lightgbm
    import numpy as np

    class File(lightgbm.Sequence):
        # Rows that LightGBM reads at a time.
        batch_size = 4096

        def __init__(self, number: int) -> None:
            self.rows = cache.read("x", number, mapped=True)

        def __getitem__(self, index: Any) -> Any:
            return np.asarray(self.rows[index], dtype="float64")

        def __len__(self) -> int:
            return len(self.rows)

    # The rows from which it chooses its bins are in memory at once, several times.
    fitting = max(1000, cache.limit // 16 // (8 * cache.columns))
    chosen = {"bin_construct_sample_cnt": min(LIGHTGBM_SAMPLE, fitting), **parameters}
    return lightgbm.Dataset(
        [File(number) for number in range(cache.files)],
        label=cache.read_all("y"),
        weight=cache.read_all("w") if cache.weighed else None,
        params=chosen,
        free_raw_data=True,
    )


def describe_peak() -> Json:
    """What this process took at most, for the result and the log."""
    peak = memory_limit.read_status("VmHWM")
    print(f"Memory at most {peak / memory_limit.GIB:.2f} GiB", file=sys.stderr)
    return {"peak_memory_bytes": peak}
