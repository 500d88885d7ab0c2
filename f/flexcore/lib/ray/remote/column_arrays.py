# requirements: flexcore_base
"""The record batches of a table: as they are handed on, and the hash of their rows. Shipped as source."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from f.flexcore.lib.ray.remote import column_plans, row_hash

# In the metadata of a Parquet column: the type that it has in the database.
TYPE_KEY = b"flexcore.postgresql_type"
# The first day and microsecond that PostgreSQL knows: what lies before was infinite, or past what Arrow's numbers hold,
# and has wrapped around. A day ends at 24:00, which no time of day of Arrow's is.
FIRST_DAY, FIRST_MICROSECOND, DAY_END = -2_440_588, -210_866_803_200_000_000, 86_400_000_000


def arrow_type(plan: column_plans.ColumnPlan) -> Any:
    import pyarrow as pa

    if plan.kind in ("scaled", "decimal"):
        return pa.decimal128(plan.digits, plan.scale)
    kind = pa.timestamp("us", "UTC") if plan.base == "timestamptz" else pa.timestamp("us")
    special = {"timestamp": kind, "timestamptz": kind, "date": pa.date32(), "time": pa.time64("us")}
    item = special.get(plan.base) or pa.type_for_alias(column_plans.PLAIN[plan.base][0])
    return pa.list_(item) if plan.kind == "list" else item


def arrow_schema(plans: Iterable[column_plans.ColumnPlan]) -> Any:
    import pyarrow as pa

    return pa.schema(
        [pa.field(plan.name, arrow_type(plan), metadata={TYPE_KEY: plan.pg_type.encode()}) for plan in plans]
    )


def convert_batch(batch: Any, plans: Sequence[column_plans.ColumnPlan], schema: Any) -> Any:
    """A batch of what the plans read, as it is handed on. Raises Problem for a value that does not fit."""
    import pyarrow as pa

    arrays = [convert_column(batch.column(number), plan) for number, plan in enumerate(plans)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def convert_column(array: Any, plan: column_plans.ColumnPlan) -> Any:
    import pyarrow as pa

    array = array.storage if isinstance(array, pa.ExtensionArray) else array
    if plan.kind == "scaled":
        return scale_integers(array, plan)
    if plan.kind == "decimal":
        try:
            return array.cast(pa.decimal128(plan.digits, plan.scale))
        except pa.ArrowInvalid:
            raise column_plans.unfit_problem([f"{plan.name} ({plan.pg_type}) holds NaN or infinity"]) from None
    check_values(array.flatten() if plan.kind == "list" else array, plan)
    wanted = arrow_type(plan)
    return array if array.type == wanted else array.cast(wanted)


def scale_integers(array: Any, plan: column_plans.ColumnPlan) -> Any:
    """Whole numbers of the last decimal place as decimals: their bits, with the sign drawn out."""
    import numpy as np
    import pyarrow as pa

    low = row_hash.fixed_values(array)
    words = np.empty((len(low), 2), np.int64)
    words[:, 0], words[:, 1] = low, low >> 63
    validity = array.is_valid()
    mask = validity.buffers()[1] if array.null_count else None
    return pa.Array.from_buffers(
        pa.decimal128(plan.digits, plan.scale), len(low), [mask, pa.py_buffer(words)], array.null_count
    )


def check_values(array: Any, plan: column_plans.ColumnPlan) -> None:
    """Raises Problem for dates and times that have wrapped around, or that Arrow does not know."""
    import pyarrow as pa
    import pyarrow.compute as pc

    first = {"date": FIRST_DAY, "timestamp": FIRST_MICROSECOND, "timestamptz": FIRST_MICROSECOND}.get(plan.base)
    if first is None and plan.base != "time":
        return
    width = pa.int32() if plan.base == "date" else pa.int64()
    bounds = pc.min_max(array.view(width)).as_py()
    if bounds["min"] is None:
        return
    if first is not None and bounds["min"] < first:
        raise column_plans.unfit_problem([f"{plan.name} ({plan.pg_type}) holds an infinite or too late value"])
    if plan.base == "time" and bounds["max"] >= DAY_END:
        raise column_plans.unfit_problem([f"{plan.name} ({plan.pg_type}) holds 24:00"])


def hash_batch(batch: Any, plans: Sequence[column_plans.ColumnPlan]) -> int:
    """The sum of the row hashes of a batch that is handed on."""
    columns = []
    for number, plan in enumerate(plans):
        array = batch.column(number)
        columns.append((decimal_text(array) if plan.kind == "decimal" else array, plan.hash_kind))
    return row_hash.sum_hashes(row_hash.hash_rows(columns))


def decimal_text(array: Any) -> Any:
    """Decimals as PostgreSQL writes them: every place after the point, and never an exponent."""
    import pyarrow as pa
    import pyarrow.compute as pc

    text = array.cast(pa.string())
    if not pc.any(pc.match_substring(text, "E")).as_py():
        return text
    return pa.array([None if item is None else f"{item:f}" for item in array.to_pylist()], pa.string())
