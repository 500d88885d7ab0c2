# requirements: flexcore_base
"""A stream as a table that a model can learn from. Shipped as source.

parts (see on_ray_read) → collect (what the whole columns are) → plan (what each column is good for) → prepare (typed
columns, rows without a target dropped, each row with a hash of its content and a number of its own).

Kinds of columns: number (numbers, durations in seconds, and text that is all numbers), flag (true, false), time (points
in time, of which the parts are learned from), category (text of few values, and what is of several types). Left out:
constants, empty columns, free text, nested and binary values, times of day, and Singer's own `_sdc_` columns.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from f.flexcore.lib.ray.remote import column_kinds, read, shared_storage

FEW_ROWS = 50
OWN = "_sdc_"
HASH, ROW = "__flexcore_hash", "__flexcore_row"
RESERVED = (HASH, ROW)
# A row's number: its file, its part of it, and its place there.
FILE_BITS, PART_BITS = 44, 28
Json = dict[str, Any]
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
class Stream:
    """The columns of a stream by name, each as `merge` makes it; names: also of those that were not read; twice: what
    stands twice in a file, and where."""

    columns: dict[str, Json]
    rows: int
    names: list[str] = field(default_factory=list)
    twice: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass
class Plan:
    """What is learned from what. features: name → kind; times: name → the form of its points in time; labels: the
    classes in order, empty for a regression."""

    target: str
    target_kind: str
    task: str
    features: dict[str, str]
    categories: dict[str, list[str]]
    rows: int = 0
    labels: list[Any] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    times: dict[str, str] = field(default_factory=dict)


def collect(parts: list[Json], declared: list[str]) -> Stream:
    """The stream that the facts of its parts, {file, part, facts}, make; a declared column may be absent from all rows.
    Raises the first error in the order of the files, and EmptyData when there are no rows."""
    facts = [json.loads(item["facts"]) for item in sorted(parts, key=lambda item: (item["file"], item["part"]))]
    for item in facts:
        if item["error"]:
            told = item["error"]
            raise shared_storage.Problem(
                told["type"], told["message"], told["subject"], told["remedy"], **told["details"]
            )
    rows = sum(item["rows"] for item in facts)
    if not rows:
        raise shared_storage.Problem("EmptyData", "The stream has no rows", "source", "Extract data first.")
    stream = Stream(merge([item["profile"] for item in facts], rows), rows)
    for name in declared:
        stream.columns.setdefault(name, _nothing(rows))
    for item in facts:
        stream.twice = {**item["twice"], **stream.twice}
    stream.names = list(dict.fromkeys([*stream.columns, *(name for item in facts for name in item["columns"] if name)]))
    for name in stream.twice:
        stream.columns.pop(name, None)
    stream.notes = list(dict.fromkeys(note for item in facts for note in item["notes"])) + absences(facts, stream)
    return stream


def absences(facts: list[Json], stream: Stream) -> list[str]:
    """A note for each column that some files with rows do not have."""
    names: dict[str, set[str]] = {}
    for item in facts:
        if item["rows"]:
            names.setdefault(item["name"], set()).update(item["columns"])
    return [
        f"{column} is not in {_some(missing)}; it is null there"
        for column in stream.columns
        for missing in [[name for name, known in names.items() if column not in known]]
        if missing
    ]


def _some(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def merge(profiles: list[dict[str, Json]], rows: int) -> dict[str, Json]:
    """The parts' profiles as one, by column: {rows, values, kinds, numeric, integer, flag, times, distinct, unusable}.
    A row that has no such column has no value in it."""
    merged: dict[str, Json] = {}
    for profile in profiles:
        for name, part in profile.items():
            whole = merged.setdefault(name, _nothing(rows))
            whole["words"] += part.get("words", 0)
            if part["values"]:
                _add(whole, part)
    return merged


def _nothing(rows: int) -> Json:
    empty: Json = {"rows": rows, "values": 0, "kinds": set(), "distinct": set(), "unusable": 0, "mixed": False}
    empty["words"] = 0
    return empty | {"numeric": True, "integer": True, "flag": True, "amounts": True, "times": list(column_kinds.TIMES)}


def _add(whole: Json, part: Json) -> None:
    kind = part["kind"]
    whole["values"] += part["values"]
    whole["unusable"] += part.get("unusable", 0)
    whole["kinds"].add(kind)
    whole["mixed"] |= part.get("mixed", False)
    whole["numeric"] &= kind in ("number", "duration") or part.get("numeric", False)
    whole["integer"] &= part.get("integer", False)
    whole["amounts"] &= part.get("amounts", False)
    whole["flag"] &= kind == "flag" or part.get("flag", False)
    forms = [column_kinds.ISO] if kind == "time" else part.get("times", [])
    whole["times"] = [form for form in whole["times"] if form in forms]
    if len(whole["distinct"]) <= column_kinds.MAX_CATEGORIES:
        whole["distinct"].update(part["distinct"])


def kind_of(column: Json) -> str:
    """One of KINDS or of LEFT_OUT."""
    if not column["values"]:
        return "empty"
    for kind in ("nested", "bytes"):
        if kind in column["kinds"]:
            return kind
    if column["unusable"] == column["values"]:
        return "unusable"
    if len(column["distinct"]) == 1 and column["values"] == column["rows"]:
        return "constant"
    if column["kinds"] == {"clock"}:
        return "clock"
    if column["flag"]:
        return "flag"
    if column["numeric"]:
        return "number"
    if column["times"]:
        return "time" if len(column["times"]) == 1 else "date"
    many = len(column["distinct"]) > column_kinds.MAX_CATEGORIES
    # An identifier: of what nearly every row has a value of its own, nothing can be learned.
    own = column["values"] > FEW_ROWS and len(column["distinct"]) > column["values"] / 2
    if many or own:
        return "amount" if column["amounts"] else "text"
    return "category"


def make_plan(stream: Stream, target: str, features: list[str], task: str, date_parts: bool = True) -> Plan:
    """What to learn from what. Raises InvalidInput or EmptyData that names the column at fault."""
    columns = stream.columns
    for name in [target, *features]:
        argument = "target_column" if name == target else "features"
        check_free(name, argument)
        check_single(name, stream, argument)
        check_known(name, stream.names, argument)
    if target in features:
        raise shared_storage.Problem(
            "InvalidInput", f"The target {target!r} is among the features", "features", "Leave it out."
        )
    chosen_task = task_of(columns[target], target, task)
    plan = Plan(target, kind_of(columns[target]), chosen_task, {}, {}, stream.rows, notes=list(stream.notes))
    if chosen_task == "classification":
        plan.labels = labels_of(columns[target], plan.target_kind)
        if len(plan.labels) < 2:
            raise same_value(target, columns[target])
    plan.notes += _unusable(target, columns[target], "the rows are left out")
    if not features:
        plan.notes += [f"{name} is left out: {where}" for name, where in stream.twice.items()]
        plan.notes += [f"{name} is left out: a name that flexcore uses itself" for name in RESERVED if name in columns]
    for name in features or [name for name in columns if name != target and not name.startswith((OWN, *RESERVED))]:
        add_feature(plan, name, columns[name], date_parts)
    if not plan.features:
        reasons = "; ".join(plan.notes)
        raise shared_storage.Problem(
            "InvalidInput", f"No column is fit to learn from: {reasons}", "features", "Name other features."
        )
    return plan


def add_feature(plan: Plan, name: str, column: Json, date_parts: bool) -> None:
    """Takes a column into the plan, or notes why it is left out."""
    kind = kind_of(column)
    if kind not in KINDS or (kind == "time" and not date_parts):
        mixed = " (and of several types)" if is_mixed(column) else ""
        plan.notes.append(f"{name} is left out: {LEFT_OUT[kind]}{mixed}")
        return
    plan.features[name] = kind
    plan.notes += _unusable(name, column, "they are read as no value")
    if kind == "category":
        plan.categories[name] = sorted(column["distinct"])
        if is_mixed(column):
            plan.notes.append(f"{name} holds values of several types; it is read as text")
    if kind == "time":
        plan.times[name] = column["times"][0]
        plan.notes.append(f"{name} is a point in time; its {TIME_PARTS} are learned from")
    if "duration" in column["kinds"]:
        plan.notes.append(f"{name} is a duration; it is read in seconds")


def is_mixed(column: Json) -> bool:
    """Whether the values are of several types, of which text is the one that holds them all."""
    return bool(column["mixed"] or len(column["kinds"]) > 1)


def _unusable(name: str, column: Json, effect: str) -> list[str]:
    what = {"unusable": "infinite or too large values", "words": "words such as NA, which count as no value"}
    return [f"{name} has {column[fact]} {words}; {effect}" for fact, words in what.items() if column[fact]]


def check_free(name: str, argument: str) -> None:
    if name in RESERVED:
        raise shared_storage.Problem(
            "InvalidInput",
            f"The name {name!r} is one that flexcore uses itself",
            argument,
            "Give the column another name where the data is made.",
        )


def check_single(name: str, stream: Stream, argument: str) -> None:
    if name in stream.twice:
        raise shared_storage.Problem(
            "InvalidInput",
            f"The column {name!r} stands twice in the data: {stream.twice[name]}",
            argument,
            "Give one of the two another name where the data is made, or name other columns.",
        )


def check_known(name: str, columns: list[str], argument: str) -> None:
    if name in columns:
        return
    if any(map(is_value, columns)):
        raise shared_storage.Problem(
            "InvalidInput",
            f"The stream has no column {name!r}: its first line seems to hold values, and no names",
            argument,
            "Write the columns' names into the first line.",
        )
    lower = {column.lower(): column for column in columns}
    near = [lower[match] for match in get_close_matches(name.lower(), lower, 1)]
    hint = f"Did you mean {near[0]!r}? " if near else ""
    raise shared_storage.Problem(
        "InvalidInput",
        f"The stream has no column {name!r}",
        argument,
        f"{hint}It has: {', '.join(sorted(columns))}.",
    )


def names_of(columns: list[str]) -> str:
    """What columns there are, unless a row stands in their place."""
    if any(map(is_value, columns)):
        return "Its first line seems to hold values, and no names: write the columns' names there."
    return f"The data has: {', '.join(columns)}."


def is_value(name: str) -> bool:
    """Whether a column's name is surely a value of a row, which no message may show: a fraction, a date, an address."""
    forms = [column_kinds.TIMES[column_kinds.ISO], r"[+-]?\d+[.,]\d+", r"-\d+", r"[^@\s]+@[^@\s]+\.[^@\s]+"]
    return any(re.fullmatch(form, name.strip()) for form in forms)


def task_of(column: Json, target: str, task: str) -> str:
    """regression or classification; auto: text, true/false and numbers of exactly two values are classes."""
    kind = kind_of(column)
    if kind == "empty":
        remedy = "Choose another target column, or extract data that has it."
        raise shared_storage.Problem(
            "EmptyData", f"The target column {target!r} is null in every row", "target_column", remedy
        )
    if kind == "constant" or len(column["distinct"]) == 1:
        raise same_value(target, column)
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
    if task == "regression" and kind != "number":
        mixed = " alone (some are text)" if is_mixed(column) else ""
        raise shared_storage.Problem(
            "InvalidInput",
            f"The target column {target!r} holds no numbers{mixed}, so it cannot be a regression",
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


def same_value(target: str, column: Json) -> shared_storage.Problem:
    words = f" but {column['words']}, which are words such as NA and count as no value" if column["words"] else ""
    remedy = "Write that class as another word, or" if words else "There is nothing to predict;"
    return shared_storage.Problem(
        "DataError",
        f"The target column {target!r} has the same value in every row{words}",
        "target_column",
        f"{remedy} choose another target column.",
    )


def labels_of(column: Json, kind: str) -> list[Any]:
    """The classes in order: false/true, whole numbers, or texts; fractions are texts, since scikit-learn takes them for
    amounts, and so are numbers beyond 64 bits."""
    if kind == "flag":
        return [False, True]
    named = {column_kinds.class_text(value, kind) for value in column["distinct"]} - {None}
    texts = sorted(str(item) for item in named)
    if kind != "number":
        return texts
    if all(item.lstrip("-").isdigit() and -(2**63) <= int(item) < 2**63 for item in texts):
        return sorted(int(item) for item in texts)
    return sorted(texts, key=float)


def label_text(label: Any) -> str:
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

    columns = {name: arrow_of(table, name, kind) for name, kind in plan.features.items()}
    if plan.task == "classification" and plan.target in table.column_names:
        columns[plan.target] = column_kinds.class_texts(table[plan.target], plan.target_kind)
    else:
        columns[plan.target] = arrow_of(table, plan.target, plan.target_kind)
    # Before rows go: a hash must not depend on anything but the row itself.
    frame = pd.DataFrame({name: column.to_pandas() for name, column in columns.items()})
    hashes = pd.util.hash_pandas_object(frame, index=False).to_numpy()
    rows = np.arange(first_row, first_row + table.num_rows, dtype="uint64")
    made = pa.table({**columns, HASH: pa.array(hashes, pa.uint64()), ROW: pa.array(rows, pa.uint64())})
    return made.filter(made[plan.target].is_valid())


def arrow_of(table: Any, name: str, kind: str) -> Any:
    """A column as float64 or text, null where there is no value; null alone where the part does not have it."""
    import pyarrow as pa

    numeric = kind in ("number", "flag")
    if name not in table.column_names:
        return pa.nulls(table.num_rows, pa.float64() if numeric else pa.string())
    if numeric:
        return pa.array(column_kinds.numbers(table[name]), pa.float64(), from_pandas=True)
    return column_kinds.time_texts(table[name]) if kind == "time" else column_kinds.texts(table[name])


def features_of(table: Any, plan: Plan) -> Any:
    """The features of a prepared table as pandas takes them."""
    return frame_of(table, plan.features)


def frame_of(table: Any, kinds: dict[str, str]) -> Any:
    """A pandas table of float64 with NaN, or text with None, out of one that Ray handed on."""
    import pandas as pd

    return pd.DataFrame({name: typed(table[name], kind) for name, kind in kinds.items()})


def typed(series: Any, kind: str) -> Any:
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
