"""Learns from more rows than a limit of the operating system lets a process hold; run in a process of its own.

python -m tests.ray.learn_on_disk ALGORITHM LIMIT_BYTES FOLDER ROWS COLUMNS ROUNDS    prints one line of JSON
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from f.flexcore.lib.ray.remote import boosting, dataset, external_memory, memory_limit
from f.flexcore.lib.serving import estimators, model_format

BATCH_ROWS = 8192


class Shard:
    """Rows that are made as they are asked for, as Ray Data hands them on batch by batch."""

    def __init__(self, rows: int, columns: int) -> None:
        self.rows, self.names = rows, [f"x{number}" for number in range(columns)]

    def iter_batches(self, **_: Any) -> Iterator[pa.Table]:
        for start in range(0, self.rows, BATCH_ROWS):
            generator = np.random.default_rng(start)
            values = generator.normal(size=(min(BATCH_ROWS, self.rows - start), len(self.names)))
            target = 3 * values[:, 0] - 2 * values[:, 1] + 0.1 * generator.normal(size=len(values))
            yield pa.table({**{name: values[:, at] for at, name in enumerate(self.names)}, "y": target})


def main(algorithm: str, limit: int, folder: Path, rows: int, columns: int, rounds: int) -> dict[str, Any]:
    import lightgbm  # noqa: F401
    import pandas  # noqa: F401
    import xgboost  # noqa: F401

    began, shard = time.monotonic(), Shard(rows, columns)
    plan = dataset.Plan("y", "number", "regression", dict.fromkeys(shard.names, "number"), {}, rows, usable_rows=rows)
    parameters = {"memory_gib_per_worker": limit / memory_limit.GIB, "algorithm": algorithm}
    asked = {"n_estimators": rounds, "learning_rate": 0.3}
    estimator = estimators.make_estimator(algorithm.replace("in-memory", "xgboost"), "regression", asked, 2)
    pipeline = estimators.make_pipeline(estimator, plan.features, {})
    columns_part = pipeline.named_steps["columns"].fit(model_format.make_blank_rows(plan.features))
    held_out = next(Shard(BATCH_ROWS, columns).iter_batches()).to_pandas()
    base = memory_limit.read_status("VmRSS")
    memory_limit.set_limit(parameters)
    granted = resource.getrlimit(resource.RLIMIT_DATA)[0]
    if algorithm == "in-memory":
        np.concatenate([batch.to_pandas().to_numpy() for batch in shard.iter_batches()])
    sample = memory_limit.count_sample_rows(plan, parameters)
    with external_memory.open_cache(plan, rows, limit) as cache:
        seen = external_memory.fill_cache(cache, shard, columns_part, plan, [], sample)
        cached, written = cache.rows, time.monotonic() - began
        on_disk = sum(path.stat().st_size for path in cache.folder.iterdir())
        watch = boosting.Rounds({}, rounds, 0, 0, boosting.Start(), boosting.FITS[algorithm][1], lambda *_: None)
        fitted = boosting.FITS[algorithm][0](estimator, boosting.Rows(cache, None), None, plan, watch)
    pipeline.steps[-1] = ("model", fitted)
    truth = held_out["y"].to_numpy()
    answers = pipeline.predict(dataset.select_features(held_out, plan))
    return {
        "cached_rows": cached,
        "sample_rows": len(seen),
        "cache_bytes": on_disk,
        "decoded_bytes": rows * columns * 8,
        "limit_bytes": limit,
        "granted_data_bytes": granted,
        "peak_rss_bytes": memory_limit.read_status("VmHWM"),
        "base_rss_bytes": base,
        "cache_s": round(written, 1),
        "total_s": round(time.monotonic() - began, 1),
        "r2": 1 - float(((truth - answers) ** 2).sum() / ((truth - truth.mean()) ** 2).sum()),
        "left": [str(path) for path in folder.iterdir()],
    }


if __name__ == "__main__":
    name, limit, folder, *numbers = sys.argv[1:]
    print(json.dumps(main(name, int(limit), Path(folder), *map(int, numbers))))
