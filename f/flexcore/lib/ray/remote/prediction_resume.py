# requirements: flexcore_base
"""Batch inference that a repeat goes on with, row by row, by Ray Data's checkpoints. Shipped as source.

Ray Data writes the ids of the rows of each file before the file, and commits them after it; before a repeat it deletes
the files of ids that were not committed, and passes over the rows whose ids were. It needs an id that no two rows share
and that is never null, and it loads all ids before it begins (about 8 bytes each for numbers, 100 for text). Source:
ray/data/checkpoint of Ray 2.60 (beta).
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from f.flexcore.lib.ray.remote import prediction_output, prediction_rows, read, shared_storage

Json = dict[str, Any]
# All of them are in the memory of one process at once: of numbers 0.4 GB, of text some 5.
MAX_IDS = 50_000_000
# Ray reserves 1 GiB for the process that filters, which a small head does not have; it grows with the ids.
FILTER_MEMORY_BYTES = 64 * 1024 * 1024


def check_ids(parts: Any, name: str, kind: Any, cpus: float) -> None:
    """Raises InvalidInput with counts for ids that are null or not unique, or of a type that cannot be compared."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not (pa.types.is_integer(kind) or pa.types.is_string(kind)):
        raise id_problem(f"id_column: {name!r} holds {kind}, which cannot tell rows apart", "of whole numbers or texts")
    total, nulls, ids = 0, 0, []
    pick = partial(pick_ids, name=name, kind=kind)
    for batch in parts.map_batches(pick, batch_format="pyarrow", batch_size=1, num_cpus=cpus).iter_batches(
        batch_format="pyarrow", batch_size=None
    ):
        column = batch["id"].combine_chunks()
        total, nulls = total + len(column), nulls + column.null_count
        if total > MAX_IDS:
            message = f"id_column: the data has more than {MAX_IDS:,} rows, and all their ids are loaded at once"
            raise id_problem(message, "for less data at a time, or leave id_column empty: a repeat then begins anew")
        ids.append(column)
    if nulls:
        raise id_problem(f"id_column: {name!r} is null in {nulls:,} of {total:,} rows", "that has a value in every row")
    distinct = pc.count_distinct(pa.chunked_array(ids)).as_py()
    if distinct != total:
        message = f"id_column: {name!r} is not unique: {total:,} rows have {distinct:,} different values"
        raise id_problem(message, "whose value no two rows share")


def id_problem(message: str, which: str) -> shared_storage.Problem:
    return shared_storage.Problem("InvalidInput", message, "id_column", f"Name a column {which}.")


def pick_ids(batch: Any, name: str, kind: Any) -> Any:
    import pyarrow as pa

    tables = [read.open_part(item["table"]) for item in batch.to_pylist()]
    columns = [prediction_rows.convert_column(table, name, kind) for table in tables]
    return pa.table({"id": pa.chunked_array(columns, kind)})


def start(output: prediction_output.Output, id_column: str) -> int:
    """Switches Ray Data's checkpoints on; returns how many rows an earlier attempt of the same work has done. What one
    of other work has left is taken away."""
    import ray.data

    try:
        from ray.data.checkpoint import CheckpointConfig
    except ImportError:
        raise shared_storage.Problem(
            "InvalidInput",
            f"id_column: Ray {ray.__version__} has no checkpoints of rows",
            "id_column",
            "Leave id_column empty, or use a cluster with Ray 2.52 or later.",
        ) from None
    begun = output.read("begun.json")
    if not begun or begun["fingerprint"] != output.fingerprint:
        output.clear()
        content = json.dumps({"fingerprint": output.fingerprint}).encode()
        output.store.write_file(f"{output.uri}/begun.json", content)
    drop_uncommitted(output)
    config: Any = CheckpointConfig(
        id_column,
        output.store.path(output.checkpoint),
        override_filesystem=output.store.fs,
        delete_checkpoint_on_success=False,
    )
    config.checkpoint_actor_memory_bytes = FILTER_MEMORY_BYTES
    ray.data.DataContext.get_current().checkpoint_config = config
    return count_done(output)


def list_committed(output: prediction_output.Output) -> list[str]:
    """The files of ids whose rows are written."""
    names = [item["path"] for item in prediction_output.list_files(output.store, output.checkpoint)]
    return [name for name in names if name.endswith(".parquet") and not name.endswith(".pending.parquet")]


def drop_uncommitted(output: prediction_output.Output) -> None:
    """Deletes the parts whose ids were not committed, which Ray Data itself has been seen to leave when the program was
    killed: a worker may write on for a moment. A part is named by its ids: `<ids>-<number>.<format>`."""
    done = {name.removesuffix(".parquet") for name in list_committed(output)}
    for item in prediction_output.list_files(output.store, output.parts):
        if item["path"].rpartition("-")[0] not in done:
            output.store.fs.delete_file(output.store.path(f"{output.parts}/{item['path']}"))


def count_done(output: prediction_output.Output) -> int:
    done = list_committed(output)
    return sum(prediction_output.count_rows(output.store, f"{output.checkpoint}/{name}", "parquet") for name in done)


def read_rows(parts: Any, features: dict[str, str], types: Json, rows_at_once: int, cpus: float) -> Any:
    """The prepared rows as a dataset that Ray Data reads, which is where it passes over those that are done."""
    import ray
    import ray.data
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource, ReadTask

    count_remote: Any = ray.remote(num_cpus=0)(count_part_rows)
    refs = parts.to_arrow_refs()
    counts = ray.get([count_remote.remote(ref) for ref in refs])
    pieces = [
        (ref, number, first, min(rows_at_once, rows - first))
        for ref, row_counts in zip(refs, counts, strict=True)
        for number, rows in enumerate(row_counts)
        for first in range(0, rows, rows_at_once)
    ]

    make_task: Any = ReadTask
    tasks = [
        make_task(
            partial(read_piece, ref, number, first, count, features, types),
            BlockMetadata(num_rows=count, size_bytes=None, input_files=None, exec_stats=None),
        )
        for ref, number, first, count in pieces
    ]
    base: Any = Datasource
    verbs = {"estimate_inmemory_data_size": lambda self: None, "get_read_tasks": lambda self, *args, **options: tasks}
    rows: Any = type("Rows", (base,), verbs)
    return ray.data.read_datasource(rows(), num_cpus=cpus, override_num_blocks=len(pieces))


def count_part_rows(parts: Any) -> list[int]:
    return [json.loads(facts)["rows"] for facts in parts["facts"].to_pylist()]


def read_piece(ref: Any, number: int, first: int, count: int, features: dict[str, str], types: Json) -> list[Any]:
    """Some rows of one part, prepared."""
    import ray

    table = read.open_part(ray.get(ref)["table"][number].as_py())
    return [prediction_rows.prepare(table.slice(first, count), features, types)]
