# requirements: flexcore_base
"""Which rows are held out to measure a model. Shipped as source.

A row's place is decided by its content, so the same rows are held out whatever their order and partitions. Equal rows
are numbered first: of a thousand equal ones the wanted fraction is held out, not all or none. A classification is
stratified: each class of two rows or more stands on both sides.
"""

from __future__ import annotations

from typing import Any

from f.flexcore.lib.ray.remote import dataset, ranking, shared_storage

MIN_ROWS = 10
SHOWN_CLASSES = 5
# The finalizer of SplitMix64 (Steele, Lea and Flood, 2014): equal rows' numbers become as good as random.
GOLDEN, MIX_1, MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def hold_out(hashes: Any, rows: Any, classes: Any, fraction: float) -> tuple[Any, list[str]]:
    """(the numbers of the held-out rows in order, notes). hashes and rows: of all rows; classes: of each row its class,
    None for a regression. Raises EmptyData or DataError when there are too few rows."""
    import numpy as np

    if len(hashes) < MIN_ROWS:
        raise too_few_rows(len(hashes))
    order = np.lexsort((rows, hashes))
    keys = number_equal_rows(hashes[order])
    taken = np.zeros(len(order), dtype=bool)
    groups, notes = [np.arange(len(order))], list[str]()
    if classes is not None:
        names, codes = np.unique(np.asarray(classes, dtype=object)[order].astype(str), return_inverse=True)
        groups = [np.flatnonzero(codes == code) for code in range(len(names))]
        single = [str(name) for name, group in zip(names, groups, strict=True) if len(group) == 1]
        if len(single) == len(names):
            raise shared_storage.Problem(
                "DataError",
                "Each class of the target has a single row, so none can be held out to measure the model",
                "target_column",
                "Extract more data, or choose another target column.",
            )
        notes = [
            f"The class {shorten_name(name)} has a single row: it is learned from, and not among the held-out rows"
            for name in single[:SHOWN_CLASSES]
        ]
        if len(single) > SHOWN_CLASSES:
            notes.append(f"So are {len(single) - SHOWN_CLASSES} further classes of a single row")
        if len(names) - len(single) == 1:
            notes.append("The held-out rows are of one class, so their area under the curve is not defined")
    for group in groups:
        if len(group) > 1:
            count = min(max(1, round(len(group) * fraction)), len(group) - 1)
            taken[group[np.argsort(keys[group], kind="stable")[:count]]] = True
    return np.sort(rows[order][taken]), notes


def too_few_rows(rows: int) -> shared_storage.Problem:
    return shared_storage.Problem(
        "DataError" if rows else "EmptyData",
        f"Only {rows} rows have a target; a model needs at least {MIN_ROWS}",
        "source",
        "Extract more data.",
    )


def shorten_name(name: str) -> str:
    return repr(name if len(name) <= 40 else f"{name[:40]}…")


def number_equal_rows(ordered: Any) -> Any:
    """A key of each row out of its hash and its number among the equal ones before it; `ordered`: hashes in order."""
    import numpy as np

    at = np.arange(len(ordered))
    first = np.concatenate(([True], ordered[1:] != ordered[:-1]))
    number = at - np.maximum.accumulate(np.where(first, at, 0))
    return mix(ordered.astype("uint64") + number.astype("uint64") * np.uint64(GOLDEN))


def mix(key: Any) -> Any:
    """Numbers as good as random, from others of 64 bits."""
    import numpy as np

    key = (key ^ (key >> np.uint64(30))) * np.uint64(MIX_1)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(MIX_2)
    return key ^ (key >> np.uint64(31))


def split_columns(batch: Any, target: str) -> Any:
    """What the split is decided by, of a prepared batch."""
    wanted = [dataset.HASH, dataset.ROW, dataset.GROUP, target]
    return batch.select([name for name in wanted if name in batch.column_names])


def choose_rows(keys: Any, plan: dataset.Plan, fraction: float) -> tuple[Any, list[str]]:
    """(the numbers of the rows to hold out, in order; notes), of the `split_columns` of all rows as a pandas table."""
    if not len(keys):
        # Without rows Ray does not even keep the columns.
        raise too_few_rows(0)
    if plan.task == "ranking":
        groups, rows = (keys[name].to_numpy(dtype="uint64") for name in (dataset.GROUP, dataset.ROW))
        return ranking.hold_out_groups(groups, rows, fraction)
    classes = keys[plan.target].to_numpy(dtype=object) if plan.task == "classification" else None
    hashes, rows = (keys[name].to_numpy(dtype="uint64") for name in (dataset.HASH, dataset.ROW))
    return hold_out(hashes, rows, classes, fraction)


def select_part(batch: Any, held: Any, held_out: bool) -> Any:
    """The held-out rows of a prepared batch, or the others. `held`: their numbers in order."""
    import numpy as np
    import pyarrow as pa

    numbers = batch[dataset.ROW].to_numpy()
    at = np.minimum(np.searchsorted(held, numbers), len(held) - 1)
    among = held[at] == numbers
    return batch.filter(pa.array(among if held_out else ~among))


def select_between(batch: Any, low: float, high: float) -> Any:
    """The rows of a prepared batch whose key, a number from 0 to 1 by their content and place, lies there. It needs no
    list of all rows, and no order of them."""
    import numpy as np
    import pyarrow as pa

    mixed = batch[dataset.HASH].to_numpy() + batch[dataset.ROW].to_numpy() * np.uint64(GOLDEN)
    keys = mix(mixed) / float(2**64)
    return batch.filter(pa.array((keys >= low) & (keys < high)))


def count_values(batch: Any, name: str) -> Any:
    """{value, count} of a column of a prepared batch."""
    import pyarrow as pa

    counted = batch[name].combine_chunks().value_counts()
    return pa.table({"value": counted.field("values"), "count": counted.field("counts")})


def select_shared_part(batch: Any, box: list[Any], held_out: bool) -> Any:
    """`part`, with the numbers as an object of Ray's store: as an argument each task would carry them all."""
    import ray

    return select_part(batch, ray.get(box[0]), held_out)
