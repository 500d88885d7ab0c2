# requirements: flexcore_base
"""Works through parts side by side: in threads of the job's own process, or as read tasks of Ray Data. Shipped as
source.

Both call `work(part)` for every part and yield its record, a small JSON object, as soon as it is there. What a part
reads and writes never passes through Ray's object store, so that a node needs memory for one batch of each part that
it works on, however large the table is.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from f.flexcore.lib.ray.remote import shared_storage

Json = dict[str, Any]
Work = Callable[[Any], Json]
PROGRESS_INTERVAL_S = 5.0
MAX_TRIES = 3
RETRY_PAUSE_S = 2.0
# Worth another try at once: a connection that was cut. What Ray itself loses (a worker, a node) Ray runs again.
RETRIED = ("Unreachable",)


def run_here(parts: Sequence[Any], work: Work, workers: int) -> Iterator[Json]:
    """In threads: the database's driver, Arrow and the store let go of Python's lock while they work."""
    with ThreadPoolExecutor(max(1, workers)) as pool:
        waiting = [pool.submit(attempt, work, part) for part in parts]
        try:
            for done in as_completed(waiting):
                yield done.result()
        finally:
            for item in waiting:
                item.cancel()


def run_on_ray(parts: Sequence[Any], work: Work, workers: int) -> Iterator[Json]:
    """As a dataset of which every part is one read task; at most `workers` of them at once."""
    import ray.data

    source: Any = make_datasource(parts, work)
    rows = ray.data.read_datasource(
        source,
        override_num_blocks=len(parts),
        concurrency=max(1, min(workers, len(parts))),
        num_cpus=1,
    )
    try:
        for row in rows.iter_rows():
            yield json.loads(row["record"])
    except Exception as error:
        raise find_problem(error) from None


def make_datasource(parts: Sequence[Any], work: Work) -> Any:
    """A Ray Data datasource whose read tasks each do the work of one part. The class is made here: where this module is
    read for its text alone, there is no Ray."""
    import pyarrow as pa
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource, ReadTask

    class PartDatasource(Datasource):
        def get_read_tasks(
            self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
        ) -> list[Any]:
            metadata = BlockMetadata(num_rows=1, size_bytes=1024, exec_stats=None)
            return [
                ReadTask(reader(part, work), metadata, schema=pa.schema([("record", pa.string())])) for part in parts
            ]

        def estimate_inmemory_data_size(self) -> int:
            return 1024 * len(parts)

    made: Any = PartDatasource
    return made()


def reader(part: Any, work: Work) -> Callable[[], Any]:
    def read() -> Any:
        import pyarrow as pa

        yield pa.table({"record": [json.dumps(attempt(work, part))]})

    return read


def attempt(work: Callable[[Any], Any], part: Any) -> Any:
    """What the work makes of a part; a lost connection is tried again."""
    tried = 1
    while True:
        try:
            return work(part)
        except shared_storage.Problem as problem:
            if problem.flexcore["type"] not in RETRIED or tried >= MAX_TRIES:
                raise
            print(f"A part is begun again: {problem}", flush=True)
        time.sleep(RETRY_PAUSE_S * tried)
        tried += 1


def find_problem(error: BaseException) -> shared_storage.Problem:
    """The Problem that a task raised, below what Ray wraps around it."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, shared_storage.Problem):
            return seen
        seen = getattr(seen, "cause", None) or seen.__cause__ or seen.__context__
    text = (str(error).strip().splitlines() or [type(error).__name__])[-1]
    return shared_storage.Problem(
        "ExecutionFailed", f"Ray could not work through the parts: {text[:300]}", "cluster", "Read the end of the log."
    )


class Progress:
    """Says how far the work is: parts, rows, rows/s, and the time that is left at that rate."""

    def __init__(self, total: int, weight_done: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.total, self.clock, self.began = total, clock, clock()
        self.done, self.rows, self.start_weight, self.weight = 0, 0, weight_done, weight_done
        self.told_at = self.began

    def add(self, rows: int, weight: float) -> None:
        self.done, self.rows, self.weight = self.done + 1, self.rows + rows, self.weight + weight
        now = self.clock()
        if now - self.told_at >= PROGRESS_INTERVAL_S or self.done == self.total:
            self.told_at = now
            print(self.text(now), flush=True)

    def text(self, now: float) -> str:
        elapsed = max(now - self.began, 1e-3)
        made = self.weight - self.start_weight
        left = elapsed / made * max(0.0, 1 - self.weight) if made > 0 else None
        ending = "" if self.done == self.total or left is None else f", about {left:.0f} s left"
        return f"{self.done} of {self.total} parts, {self.rows} rows, {self.rows / elapsed:.0f} rows/s{ending}"
