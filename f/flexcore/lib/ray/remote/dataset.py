# requirements: flexcore_base
"""A stream as a table that a model can learn from. Shipped as source.

parts (see read) → collect (see stream_profile) → plan (what each column is good for) → prepare (typed
columns, rows without a target dropped, each row with a hash of its content and a number of its own).

Kinds of columns: number (numbers, durations in seconds, and text that is all numbers), flag (true, false), time (points
in time, of which the parts are learned from), category (text of few values, and what is of several types). Left out:
constants, empty columns, free text, nested and binary values, times of day, and Singer's own `_sdc_` columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from f.flexcore.lib.ray.remote import read, shared_storage, stream_profile
from f.flexcore.lib.serving import column_kinds

Json = dict[str, Any]
OWN = "_sdc_"
HASH, ROW, GROUP = "__flexcore_hash", "__flexcore_row", "__flexcore_group"
RESERVED = (HASH, ROW, GROUP)
# A row's number: its file, its part of it, and its place there.
FILE_BITS, PART_BITS = 44, 28
KINDS = ("number", "flag", "time", "category")
LEFT_OUT = {
    "time": "a point in time",
    "date": "dates of which day and month cannot be told apart",
    "text": "a text of its own in nearly every row",
    "amount": "numbers with separators, a currency or a unit; write them as plain numbers such as 1234.5",
    "nested": "a nested value",
    "bytes": "binary data",
    "clock": "a time of day",
    "constant": "the same value in every row",
    "empty": "null in every row",
    "unusable": "infinite or too large in every row",
}
TIME_PARTS = "year, month, day, day of week, hour (UTC) and days since 1970"


@dataclass
class Plan:
    """What is learned from what. features: name → kind; times: name → the form of its points in time; labels: the
    classes in order, empty for a regression; class_counts: their rows by name, once the split has counted them; group:
    the column of the rows that are ranked together; usable_rows: those with a target, when they are learned from on
    disk, else 0."""

    target: str
    target_kind: str
    task: str
    features: dict[str, str]
    categories: dict[str, list[str]]
    rows: int = 0
    labels: list[Any] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    times: dict[str, str] = field(default_factory=dict)
    class_counts: dict[str, int] = field(default_factory=dict)
    group: str = ""
    usable_rows: int = 0


def make_plan(
    stream: stream_profile.Stream, target: str, features: list[str], task: str, date_parts: bool = True, group: str = ""
) -> Plan:
    """What to learn from what. Raises InvalidInput or EmptyData that names the column at fault."""
    columns = stream.columns
    for name in [target, *features, *([group] if group else [])]:
        argument = "target_column" if name == target else "group_column" if name == group else "features"
        check_free(name, argument)
        stream_profile.check_single(name, stream, argument)
        stream_profile.check_known(name, stream.names, argument)
    if target in features:
        raise shared_storage.Problem(
            "InvalidInput", f"The target {target!r} is among the features", "features", "Leave it out."
        )
    check_target_numbers(columns[target], target)
    chosen_task = choose_task(columns[target], target, task)
    plan = Plan(
        target,
        stream_profile.classify_column(columns[target]),
        chosen_task,
        {},
        {},
        stream.rows,
        notes=list(stream.notes),
        group=group,
    )
    if group:
        check_groups(columns[group], group)
    if chosen_task == "classification":
        plan.labels = list_labels(columns[target], plan.target_kind)
        if len(plan.labels) < 2:
            raise constant_target(target, columns[target])
    plan.notes += _describe_unusable(target, columns[target], "the rows are left out")
    if not features:
        plan.notes += [f"{name} is left out: {where}" for name, where in stream.twice.items()]
        plan.notes += [f"{name} is left out: its name is reserved by flexcore" for name in RESERVED if name in columns]
    for name in features or [
        name for name in columns if name not in (target, group) and not name.startswith((OWN, *RESERVED))
    ]:
        add_feature(plan, name, columns[name], date_parts)
    if not plan.features:
        reasons = "; ".join(plan.notes)
        raise shared_storage.Problem(
            "InvalidInput", f"No column is fit to learn from: {reasons}", "features", "Name other features."
        )
    return plan


def add_feature(plan: Plan, name: str, column: Json, date_parts: bool) -> None:
    """Takes a column into the plan, or notes why it is left out."""
    kind = stream_profile.classify_column(column)
    if kind not in KINDS or (kind == "time" and not date_parts):
        mixed = " (and of several types)" if stream_profile.is_mixed(column) else ""
        plan.notes.append(f"{name} is left out: {LEFT_OUT[kind]}{mixed}")
        return
    plan.features[name] = kind
    plan.notes += _describe_unusable(name, column, "they are read as no value")
    if kind == "category":
        plan.categories[name] = sorted(column["distinct"])
        if stream_profile.is_mixed(column):
            plan.notes.append(f"{name} holds values of several types; it is read as text")
    if kind == "time":
        plan.times[name] = column["times"][0]
        plan.notes.append(f"{name} is a point in time; its {TIME_PARTS} are learned from")
    if "duration" in column["kinds"]:
        plan.notes.append(f"{name} is a duration; it is read in seconds")


def _describe_unusable(name: str, column: Json, effect: str) -> list[str]:
    what = {"unusable": "infinite or too large values", "words": "words such as NA, which count as no value"}
    return [f"{name} has {column[fact]} {words}; {effect}" for fact, words in what.items() if column[fact]]


def check_free(name: str, argument: str) -> None:
    if name in RESERVED:
        raise shared_storage.Problem(
            "InvalidInput",
            f"The name {name!r} is reserved by flexcore",
            argument,
            "Give the column another name where the data is made.",
        )


def check_target_numbers(column: Json, target: str) -> None:
    """Raises DataError for a target that is NaN: a computation that failed, other than a null is no missing value."""
    if column["nans"]:
        raise shared_storage.Problem(
            "DataError",
            f"The target column {target!r} is NaN in {column['nans']} of {column['rows']} rows",
            "target_column",
            "Correct them where the data is made, or write null: rows without a target are left out.",
            nans=column["nans"],
        )


def check_groups(column: Json, group: str) -> None:
    """Raises DataError for rows of no group."""
    missing = column["rows"] - column["values"]
    if missing:
        raise shared_storage.Problem(
            "DataError",
            f"The group column {group!r} is empty in {missing} of {column['rows']} rows",
            "group_column",
            "Give each row its group where the data is made, or name another column.",
        )


def choose_task(column: Json, target: str, task: str) -> str:
    """regression or classification; auto: text, true/false and numbers of exactly two values are classes."""
    kind = stream_profile.classify_column(column)
    if kind == "empty":
        remedy = "Choose another target column, or extract data that has it."
        raise shared_storage.Problem(
            "EmptyData", f"The target column {target!r} is null in every row", "target_column", remedy
        )
    if kind == "constant" or len(column["distinct"]) == 1:
        raise constant_target(target, column)
    if kind not in ("number", "flag", "category"):
        reason = LEFT_OUT[kind]
        raise shared_storage.Problem(
            "InvalidInput",
            f"The target column {target!r} cannot be predicted: {reason}",
            "target_column",
            "Choose a column of numbers or of few values."
            if kind != "amount"
            else "Write them so where the data is made.",
        )
    if task in ("regression", "ranking") and kind != "number":
        mixed = " alone (some are text)" if stream_profile.is_mixed(column) else ""
        raise shared_storage.Problem(
            "InvalidInput",
            f"The target column {target!r} holds no numbers{mixed}, so it cannot be a {task}",
            "task",
            "Choose classification, or auto.",
        )
    if task == "classification" and len(column["distinct"]) > column_kinds.MAX_CATEGORIES:
        raise shared_storage.Problem(
            "InvalidInput",
            f"The target column {target!r} has more than {column_kinds.MAX_CATEGORIES} different values",
            "task",
            "Choose regression, or another target column.",
        )
    if task != "auto":
        return task
    return "regression" if kind == "number" and len(column["distinct"]) > 2 else "classification"


def constant_target(target: str, column: Json) -> shared_storage.Problem:
    words = f" but {column['words']}, which are words such as NA and count as no value" if column["words"] else ""
    remedy = "Write that class as another word, or" if words else "There is nothing to predict;"
    return shared_storage.Problem(
        "DataError",
        f"The target column {target!r} has the same value in every row{words}",
        "target_column",
        f"{remedy} choose another target column.",
    )


def list_labels(column: Json, kind: str) -> list[Any]:
    """The classes in order: false/true, whole numbers, or texts; fractions are texts, since scikit-learn takes them for
    amounts, and so are numbers beyond 64 bits."""
    if kind == "flag":
        return [False, True]
    named = {column_kinds.to_class_text(value, kind) for value in column["distinct"]} - {None}
    texts = sorted(str(item) for item in named)
    if kind != "number":
        return texts
    if all(item.lstrip("-").isdigit() and -(2**63) <= int(item) < 2**63 for item in texts):
        return sorted(int(item) for item in texts)
    return sorted(texts, key=float)


def format_label(label: Any) -> str:
    """The text by which a prepared table names a class."""
    return str(label).lower() if isinstance(label, bool) else str(label)


def prepare(batch: Any, plan: Plan) -> Iterator[Any]:
    """Each part of a batch as a table of the plan's columns alone, typed, with HASH and ROW, without rows that have no
    target."""
    for item in batch.to_pylist():
        yield prepare_table(
            read.open_part(item["table"]), plan, (item["file"] << FILE_BITS) | (item["part"] << PART_BITS)
        )


def prepare_table(table: Any, plan: Plan, first_row: int = 0) -> Any:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    columns = {name: to_arrow(table, name, kind) for name, kind in plan.features.items()}
    if plan.task == "classification" and plan.target in table.column_names:
        columns[plan.target] = column_kinds.to_class_texts(table[plan.target], plan.target_kind)
    else:
        columns[plan.target] = to_arrow(table, plan.target, plan.target_kind)
    # Before rows go: a hash must not depend on anything but the row itself.
    frame = pd.DataFrame({name: column.to_pandas() for name, column in columns.items()})
    hashes = pd.util.hash_pandas_object(frame, index=False).to_numpy()
    rows = np.arange(first_row, first_row + table.num_rows, dtype="uint64")
    made = pa.table({**columns, **_hash_groups(table, plan), HASH: pa.array(hashes, pa.uint64()), ROW: pa.array(rows)})
    return made.filter(made[plan.target].is_valid())


def _hash_groups(table: Any, plan: Plan) -> Json:
    """The hash of each row's group, when the rows are ranked."""
    import pandas as pd
    import pyarrow as pa

    if not plan.group:
        return {}
    names = to_arrow(table, plan.group, "category").to_pandas().astype(object)
    return {GROUP: pa.array(pd.util.hash_pandas_object(names, index=False).to_numpy(), pa.uint64())}


def to_arrow(table: Any, name: str, kind: str) -> Any:
    """A column as float64 or text, null where there is no value; null alone where the part does not have it."""
    import pyarrow as pa

    numeric = kind in ("number", "flag")
    if name not in table.column_names:
        return pa.nulls(table.num_rows, pa.float64() if numeric else pa.string())
    if numeric:
        return pa.array(column_kinds.to_numbers(table[name]), pa.float64(), from_pandas=True)
    return column_kinds.to_time_texts(table[name]) if kind == "time" else column_kinds.to_texts(table[name])


def select_features(table: Any, plan: Plan) -> Any:
    """The features of a prepared table as pandas takes them."""
    return make_frame(table, plan.features)


def make_frame(table: Any, kinds: dict[str, str]) -> Any:
    """A pandas table of float64 with NaN, or text with None, out of one that Ray handed on."""
    import pandas as pd

    return pd.DataFrame({name: convert_series(table[name], kind) for name, kind in kinds.items()})


def convert_series(series: Any, kind: str) -> Any:
    """float64 with NaN, or text with None."""
    import pandas as pd

    if kind in ("number", "flag"):
        numbers = pd.to_numeric(series, errors="coerce")
        return pd.Series(numbers.to_numpy(dtype="float64", na_value=float("nan")), index=series.index)
    there = series.notna()
    text = [
        str(value) if known and str(value) not in column_kinds.MISSING else None
        for value, known in zip(series, there, strict=True)
    ]
    # Mapped, pandas would make a text column of its own of it, in which None is NaN: no text for Arrow.
    return pd.Series(text, index=series.index, dtype=object)
