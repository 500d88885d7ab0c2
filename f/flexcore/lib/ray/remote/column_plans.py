# requirements: flexcore_base
"""How each column of a table goes through Arrow: exactly, as PostgreSQL's own exact text, or not at all. Shipped as
source.

    kind        PostgreSQL                                     Arrow, Parquet
    plain       flags, integers, floats, text, bytea, dates,   the same
                points in time, times of day
    scaled      numeric of up to 18 digits                     decimal, read as a whole number
    decimal     numeric of up to 38 digits                     decimal, read as text
    list        one-dimensional arrays of plain elements       list
    text        everything else: ranges, enums, json, uuid,    text, with the type's name in the column's metadata;
                intervals, geometry, addresses, nested arrays  written back through it, the value is the same

A numeric without a precision has that of its largest and its finest value, which one query measures at the snapshot.
What does not fit is refused by name before anything is published: NaN and infinity in a numeric, infinite or too large
dates, 24:00, more than 38 digits, nested arrays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from f.flexcore.lib.ray.remote import postgres, row_hash, shared_storage, table_catalog

MAX_DIGITS, MAX_SCALED_DIGITS = 38, 18
# typname → (Arrow type, kind of hash, JSON type)
PLAIN = {
    "bool": ("bool", "int32", "boolean"),
    "int2": ("int16", "int32", "integer"),
    "int4": ("int32", "int32", "integer"),
    "int8": ("int64", "int64", "integer"),
    "float4": ("float", "double", "number"),
    "float8": ("double", "double", "number"),
    "text": ("string", "bytes", "string"),
    "varchar": ("string", "bytes", "string"),
    "bytea": ("binary", "bytes", "string"),
    "date": ("date32[day]", "date", "string"),
    "timestamp": ("timestamp[us]", "timestamp", "string"),
    "timestamptz": ("timestamp[us, tz=UTC]", "timestamp", "string"),
    "time": ("time64[us]", "int64", "string"),
}
# Read as a type of PLAIN that holds each of their values.
WIDENED = {"oid": "int8", "bpchar": "text", "name": "text", "char": "text", "citext": "text"}
TEXTUAL = ("text", "varchar")
LISTED = tuple(name for name in PLAIN if name not in ("time",))


@dataclass(frozen=True)
class ColumnPlan:
    """select: the expression that is read; hashed: the one that the database hashes; arrow: the type that is handed on;
    hash_kind: see row_hash; digits, scale: of a decimal. note: what a reader should know."""

    name: str
    pg_type: str
    base: str
    kind: str
    select: str
    hashed: str
    arrow: str
    hash_kind: str
    json_type: str
    digits: int = 0
    scale: int = 0
    note: str = ""


@dataclass(frozen=True)
class Measured:
    """Of a column's values at the snapshot: digits before and after the point; has_special: whether one is NaN or
    infinite (of an array: nested, or counted from another number than 1)."""

    whole_digits: int = 0
    scale: int = 0
    has_special: bool = False


def plan_columns(
    table: table_catalog.Table,
    columns: Sequence[str],
    as_text: Sequence[str],
    unfit: str,
    ask: table_catalog.Ask,
    encoding: str,
) -> list[ColumnPlan]:
    """The plans of the chosen columns (none chosen: all). unfit: `refuse` or `text`, what becomes of columns that do
    not fit. Raises Problem that names every column that does not, with its type."""
    chosen = choose_columns(table, columns, as_text)
    measured = measure_columns(table, [item for item in chosen if item.name not in as_text], unfit, ask)
    plans, problems = [], []
    for column in chosen:
        problem = "" if column.name in as_text else find_unfit(column, measured.get(column.name))
        if problem and unfit == "refuse":
            problems.append(f"{column.name} ({column.pg_type}) {problem}")
        is_text = bool(problem) or column.name in as_text
        # The hash of an array of texts is one of the database's own bytes.
        is_text = is_text or (encoding != "UTF8" and column.element in TEXTUAL)
        plans.append(plan_text(column, problem) if is_text else plan_column(column, measured.get(column.name)))
    if problems:
        raise unfit_problem(problems)
    return [with_encoding(plan, encoding) for plan in plans]


def choose_columns(
    table: table_catalog.Table, columns: Sequence[str], as_text: Sequence[str]
) -> list[table_catalog.Column]:
    known = [column.name for column in table.columns]
    for field, names in (("columns", columns), ("text_columns", as_text)):
        for name in names:
            if name not in known:
                raise shared_storage.Problem(
                    "InvalidInput",
                    f"{field}: {table.label} has no column {name}{table_catalog.suggest(name, known)}",
                    field,
                    f"Choose among {', '.join(known[:20])}.",
                )
    return [column for column in table.columns if not columns or column.name in columns]


def is_numeric(column: table_catalog.Column) -> bool:
    return column.base in ("numeric", "money")


def has_precision(column: table_catalog.Column) -> bool:
    return column.base == "numeric" and column.typmod >= 4


def is_listed(column: table_catalog.Column) -> bool:
    return bool(column.element) and column.element in LISTED


def declared_digits(column: table_catalog.Column) -> tuple[int, int]:
    """(digits, scale) of numeric(p, s) in the form of a decimal: a negative scale has zeros before the point, one above
    the precision zeros after it."""
    precision = ((column.typmod - 4) >> 16) & 0xFFFF
    scale = (((column.typmod - 4) & 0x7FF) ^ 1024) - 1024
    return max(precision, scale, precision - scale), max(scale, 0)


def measure_columns(
    table: table_catalog.Table, columns: Sequence[table_catalog.Column], unfit: str, ask: table_catalog.Ask
) -> dict[str, Measured]:
    """What one query says of the columns whose type alone does not tell whether they fit."""
    parts: list[tuple[str, str, str, str]] = []
    for column in columns:
        name = postgres.quote_name(column.name)
        if is_numeric(column) and not has_precision(column):
            value = f"{name}::numeric"
            finite = f"CASE WHEN {value} IN ('NaN', 'Infinity', '-Infinity') THEN 0 ELSE {value} END"
            parts.append(
                (
                    column.name,
                    f"trunc(max(abs({finite})))::text",
                    f"max(scale({value}))::int8",
                    f"bool_or({value} IN ('NaN', 'Infinity', '-Infinity'))",
                )
            )
        elif is_listed(column):
            nested = f"array_ndims({name}) > 1 OR array_lower({name}, 1) <> 1"
            parts.append((column.name, "'0'", "0::int8", f"bool_or({nested}{_special_elements(column, name, unfit)})"))
        elif unfit == "text" and (special := special_value(column, name)):
            parts.append((column.name, "'0'", "0::int8", f"bool_or({special})"))
    if not parts:
        return {}
    query = ", ".join(item for part in parts for item in part[1:])
    (row,) = ask(f"SELECT {query} FROM {table.quoted}")
    measured = {}
    for number, part in enumerate(parts):
        whole, scale, special = row[3 * number : 3 * number + 3]
        digits = len(str(whole or "0").lstrip("-0"))
        measured[part[0]] = Measured(digits, int(scale or 0), bool(special))
    return measured


def special_value(column: table_catalog.Column, name: str) -> str:
    """A condition for the values that the column's Arrow type cannot hold; "" when it holds all."""
    if has_precision(column):
        return f"{name}::numeric = 'NaN'"
    if column.base == "date":
        return f"NOT isfinite({name})"
    if column.base in ("timestamp", "timestamptz"):
        return f"NOT isfinite({name}) OR {name} >= '294247-01-01'"
    return f"{name} = '24:00'" if column.base == "time" else ""


def _special_elements(column: table_catalog.Column, name: str, unfit: str) -> str:
    if unfit != "text" or column.element not in ("date", "timestamp", "timestamptz"):
        return ""
    return f" OR EXISTS (SELECT FROM unnest({name}) AS item WHERE NOT isfinite(item) OR item >= '294247-01-01')"


def find_unfit(column: table_catalog.Column, measured: Measured | None) -> str:
    """Why the column's values do not fit into an Arrow type; "" when they do, so far as one can know before."""
    if has_precision(column) and declared_digits(column)[0] > MAX_DIGITS:
        return f"has {declared_digits(column)[0]} digits, and a decimal holds {MAX_DIGITS}"
    if measured is None:
        return ""
    if measured.has_special and is_listed(column):
        return "holds arrays that are nested, or do not begin at 1, or hold an infinite value"
    if measured.has_special:
        return "holds NaN or infinity" if is_numeric(column) else "holds an infinite value, or 24:00"
    digits = measured.whole_digits + measured.scale
    if is_numeric(column) and digits > MAX_DIGITS:
        return f"needs {digits} digits, and a decimal holds {MAX_DIGITS}"
    return ""


def unfit_problem(problems: Sequence[str]) -> shared_storage.Problem:
    return shared_storage.Problem(
        "DataError",
        f"Columns that Parquet cannot hold exactly: {'; '.join(problems)}",
        "text_columns",
        "Name them in text_columns, or set unfit to text: they are handed on as PostgreSQL's own exact text.",
    )


def plan_column(column: table_catalog.Column, measured: Measured | None) -> ColumnPlan:
    name = postgres.quote_name(column.name)
    base = WIDENED.get(column.base, column.base)
    if base in PLAIN:
        arrow, hash_kind, json_type = PLAIN[base]
        # A domain's values are of a type that nobody but its database knows.
        is_same = column.pg_type == column.declared_base and base == column.base
        select = name if is_same else f"{name}::{base}"
        return ColumnPlan(
            column.name, column.pg_type, base, "plain", select, hashed(select, base), arrow, hash_kind, json_type
        )
    if is_numeric(column):
        return plan_decimal(column, measured)
    if is_listed(column):
        arrow, hash_kind, _ = PLAIN[column.element]
        select = f"{name}::{column.element}[]"
        expression = f'{select} COLLATE "C"' if column.element in TEXTUAL else select
        return ColumnPlan(
            column.name, column.pg_type, column.element, "list", select, expression, arrow, f"list:{hash_kind}", "array"
        )
    return plan_text(column, "")


def plan_decimal(column: table_catalog.Column, measured: Measured | None) -> ColumnPlan:
    name = f"{postgres.quote_name(column.name)}::numeric"
    if has_precision(column):
        digits, scale = declared_digits(column)
        note = ""
    else:
        found = measured or Measured()
        digits, scale = max(1, found.whole_digits + found.scale), found.scale
        note = f"{column.name} ({column.pg_type}) has no precision; its values need {digits} digits, {scale} of them "
        note += "after the point"
    arrow = f"decimal128({digits}, {scale})"
    if digits <= MAX_SCALED_DIGITS:
        select = f"({name} * {10**scale})::int8" if scale else f"({name})::int8"
        return ColumnPlan(
            column.name,
            column.pg_type,
            "numeric",
            "scaled",
            select,
            select,
            arrow,
            "int64",
            "number",
            digits,
            scale,
            note,
        )
    select = f"({name})::numeric({digits},{scale})::text"
    return ColumnPlan(
        column.name,
        column.pg_type,
        "numeric",
        "decimal",
        select,
        hashed(select, "text"),
        arrow,
        "bytes",
        "number",
        digits,
        scale,
        note,
    )


def plan_text(column: table_catalog.Column, problem: str) -> ColumnPlan:
    select = f"{postgres.quote_name(column.name)}::text"
    note = f"{column.name} ({column.pg_type}) {problem or 'has no type of its own in Parquet'}: handed on as text"
    return ColumnPlan(
        column.name,
        column.pg_type,
        "text",
        "text",
        select,
        hashed(select, "text"),
        "string",
        "bytes",
        "string",
        note=note,
    )


def hashed(expression: str, base: str) -> str:
    # By bytes, whatever the column's collation takes for equal.
    return f'{expression} COLLATE "C"' if base in TEXTUAL else expression


def with_encoding(plan: ColumnPlan, encoding: str) -> ColumnPlan:
    """A database that is not UTF-8 hashes its own bytes; Arrow has those of UTF-8."""
    if encoding == "UTF8" or plan.hash_kind != "bytes" or plan.base == "bytea":
        return plan
    return replace(plan, hashed=f"convert_to({plan.select}, 'UTF8')")


def hash_query(plans: Iterable[ColumnPlan], source: str, condition: str = "") -> str:
    """Query for (rows, sum of the rows' hashes as text) of what the plans read."""
    row = ", ".join(plan.hashed for plan in plans)
    where = f" WHERE {condition}" if condition else ""
    return f"SELECT count(*), COALESCE(sum(hash_record_extended(ROW({row}), 0)), 0)::text FROM {source}{where}"


def parse_hash(text: str) -> int:
    """The sum as `row_hash.sum_hashes` gives it."""
    return int(text) % row_hash.MODULUS
