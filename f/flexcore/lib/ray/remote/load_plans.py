# requirements: flexcore_base
"""How the columns of Parquet files go into PostgreSQL: by binary COPY into a staging table of types that hold them
exactly, and from there into the target's own. Shipped as source.

What was handed on as text (see column_plans) has its PostgreSQL type in the column's metadata: the target is created
with it, and the text is read by that type's own input function.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from f.flexcore.lib.ray.remote import column_arrays, column_plans, postgres, shared_storage, table_catalog

TEXT_TYPES = ("text", "varchar", "bpchar", "citext", "name")


@dataclass(frozen=True)
class LoadPlan:
    """staged: the type in the staging table; hashed: the expression that the database hashes there; created: the type
    in a table that is made for it; target: the type in the table that there is, "" before that is known."""

    name: str
    staged: str
    hashed: str
    hash_kind: str
    created: str
    target: str = ""
    is_decimal: bool = False
    base: str = ""

    @property
    def value(self) -> str:
        """The expression that the target takes. Only text needs a cast of its own: any other would cut or round without
        a word what an assignment refuses."""
        name = postgres.quote_name(self.name)
        is_cast = self.staged == "text" and self.target and self.base not in TEXT_TYPES
        return f"{name}::{self.target}" if is_cast else name


def plan_load(schema: Any, columns: Sequence[str]) -> list[LoadPlan]:
    """The plans of a file's columns (or of those that are chosen). Raises Problem that names each one that does not
    fit."""
    chosen = choose_fields(schema, columns)
    plans, problems = [], []
    for field in chosen:
        arrow = normalize_type(field.type)
        staged = staged_type(arrow)
        if staged is None:
            problems.append(f"{field.name} ({field.type})")
            continue
        hint = ((field.metadata or {}).get(column_arrays.TYPE_KEY) or b"").decode()
        plans.append(make_plan(field.name, arrow, staged, hint))
    if problems:
        raise shared_storage.Problem(
            "DataError",
            f"Columns that PostgreSQL has no type for: {'; '.join(problems)}",
            "columns",
            "Leave them out by columns, or write them as text before.",
        )
    return plans


def choose_fields(schema: Any, columns: Sequence[str]) -> list[Any]:
    for name in columns:
        if name not in schema.names:
            raise shared_storage.Problem(
                "InvalidInput",
                f"columns: the data has no column {name}{table_catalog.suggest(name, schema.names)}",
                "columns",
                f"Choose among {', '.join(schema.names[:20])}.",
            )
    return [field for field in schema if not columns or field.name in columns]


def make_plan(name: str, arrow: Any, staged: str, hint: str) -> LoadPlan:
    import pyarrow as pa

    quoted = postgres.quote_name(name)
    if pa.types.is_decimal(arrow):
        created = hint if hint.startswith("numeric(") else f"numeric({arrow.precision},{arrow.scale})"
        created = hint or created
        if arrow.precision <= column_plans.MAX_SCALED_DIGITS:
            hashed = f"({quoted} * {10**arrow.scale})::int8" if arrow.scale else f"({quoted})::int8"
            return LoadPlan(name, staged, hashed, "int64", created)
        hashed = f'{quoted}::numeric({arrow.precision},{arrow.scale})::text COLLATE "C"'
        return LoadPlan(name, staged, hashed, "bytes", created, is_decimal=True)
    base = staged.removesuffix("[]")
    hash_kind = column_plans.PLAIN[base][1]
    hashed = f'{quoted} COLLATE "C"' if base == "text" else quoted
    return LoadPlan(name, staged, hashed, f"list:{hash_kind}" if staged != base else hash_kind, hint or staged)


def normalize_type(kind: Any) -> Any:
    """The Arrow type that a column is cast to before it is loaded."""
    import pyarrow as pa

    types = pa.types
    if types.is_dictionary(kind):
        return normalize_type(kind.value_type)
    if types.is_list(kind) or types.is_large_list(kind):
        return pa.list_(normalize_type(kind.value_type))
    if types.is_timestamp(kind):
        return pa.timestamp("us", "UTC" if kind.tz else None)
    if types.is_time(kind):
        return pa.time64("us")
    changed = {
        pa.int8(): pa.int16(),
        pa.uint8(): pa.int16(),
        pa.uint16(): pa.int32(),
        pa.uint32(): pa.int64(),
        pa.uint64(): pa.decimal128(20, 0),
        pa.float16(): pa.float32(),
        pa.date64(): pa.date32(),
        pa.large_string(): pa.string(),
        pa.string_view(): pa.string(),
        pa.large_binary(): pa.binary(),
        pa.binary_view(): pa.binary(),
        pa.null(): pa.string(),
    }
    return pa.binary() if types.is_fixed_size_binary(kind) and not types.is_decimal(kind) else changed.get(kind, kind)


def staged_type(kind: Any) -> str | None:
    import pyarrow as pa

    if pa.types.is_decimal128(kind) and kind.scale >= 0:
        return "numeric"
    if pa.types.is_list(kind):
        inner = staged_type(kind.value_type)
        return f"{inner}[]" if inner and inner != "numeric" and inner != "time" and "[]" not in inner else None
    if pa.types.is_timestamp(kind):
        return "timestamptz" if kind.tz else "timestamp"
    names = {
        pa.bool_(): "bool",
        pa.int16(): "int2",
        pa.int32(): "int4",
        pa.int64(): "int8",
        pa.float32(): "float4",
        pa.float64(): "float8",
        pa.string(): "text",
        pa.binary(): "bytea",
        pa.date32(): "date",
        pa.time64("us"): "time",
    }
    return names.get(kind)


def staging_schema(schema: Any, plans: Sequence[LoadPlan]) -> Any:
    import pyarrow as pa

    return pa.schema([pa.field(plan.name, normalize_type(schema.field(plan.name).type)) for plan in plans])


def cast_batch(batch: Any, schema: Any, file: str) -> Any:
    """A batch of a file as it is loaded. Raises Problem for a value that another type cannot hold, and for columns
    that are not the first file's."""
    import pyarrow as pa

    arrays = []
    for field in schema:
        try:
            array = batch.column(field.name)
            arrays.append(array if array.type == field.type else array.cast(field.type))
        except KeyError:
            raise file_problem(file, f"has no column {field.name}, which the first file has") from None
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise file_problem(file, f"column {field.name}: {str(error).splitlines()[0][:200]}") from None
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def file_problem(file: str, what: str) -> shared_storage.Problem:
    return shared_storage.Problem("DataError", f"{file} {what}", file, "Correct what writes it, then run again.")


def hash_batch(batch: Any, plans: Sequence[LoadPlan]) -> int:
    """The sum of the row hashes, as the staging table's own will be."""
    from f.flexcore.lib.ray.remote import row_hash

    columns = []
    for number, plan in enumerate(plans):
        array = batch.column(number)
        columns.append((column_arrays.decimal_text(array) if plan.is_decimal else array, plan.hash_kind))
    return row_hash.sum_hashes(row_hash.hash_rows(columns))
