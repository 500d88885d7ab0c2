# requirements: flexcore_base
# py: ==3.11.*
"""A stream as a Ray Dataset that a model can learn from. Shipped as source.

read → profile (what is in each column) → plan (what each column is good for) → prepare (typed columns, rows without a
target dropped) → split (by a hash of the row: the same rows are held out whatever the order and the partitions, and
equal rows never stand on both sides).

Kinds of columns: number (numbers, and text that is all numbers), flag (true, false), category (text of few values).
Left out: constants, empty columns, points in time, free text, nested values, and Singer's own `_sdc_` columns.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from f.flexcore.ray.on_ray_store import Problem, RemoteStore

# More values than this are names or free text, of which a model learns nothing.
MOST_CATEGORIES = 1000
FEW_ROWS = 50
MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")
TIME = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}.*)?")
OWN = "_sdc_"
HASH = "__flexcore_hash"
# Ranks over so many hashes are kept in memory for an exact split; beyond, the law of large numbers is exact enough.
MOST_RANKED = 5_000_000
LEAST_ROWS = 10
Json = dict[str, Any]


@dataclass
class Plan:
    """What is learned from what. features: name → kind; labels: the classes in order, empty for a regression."""

    target: str
    target_kind: str
    task: str
    features: dict[str, str]
    categories: dict[str, list[str]]
    rows: int = 0
    labels: list[Any] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read(source: Json, store: RemoteStore, columns: list[str] | None, cpus: float) -> Any:
    """The stream's files as a lazy dataset. Raises a DataError for a format or content that cannot be read."""
    import ray.data

    paths = [store.path(f"{source['uri']}/{item['path']}") for item in source["files"]]
    options: Json = {"filesystem": store.fs, "partitioning": None, "file_extensions": None, "num_cpus": cpus}
    form = format_of(source)
    if form == "parquet":
        return ray.data.read_parquet(paths, columns=columns, **options)
    if form == "csv":
        return ray.data.read_csv(paths, **options, **csv_options(source["columns"]))
    return ray.data.read_json(paths, **options, **json_options(source["columns"]))


def format_of(source: Json) -> str:
    """parquet, csv or jsonl, by the manifest or else by the files' names."""
    names = [source["format"].lower(), *(item["path"].lower() for item in source["files"][:1])]
    for form, words in {"parquet": ("parquet",), "csv": ("csv",), "jsonl": ("json", "singer")}.items():
        if any(word in name for word in words for name in names):
            return form
    raise Problem(
        "InvalidInput",
        f"The data's format {source['format']!r} cannot be trained on",
        "source.format",
        "Extract with a target that writes jsonl, csv or parquet.",
    )


def json_options(columns: dict[str, str]) -> Json:
    import pyarrow
    import pyarrow.json

    # Arrow guesses types from the first block: a column that is null there, or whole numbers first and fractions later,
    # would break the rest. What the extraction declared is taken for it.
    types = {
        "string": pyarrow.string(),
        "number": pyarrow.float64(),
        "integer": pyarrow.int64(),
        "boolean": pyarrow.bool_(),
    }
    fields = [(name, types[kind]) for name, kind in columns.items() if kind in types]
    if not fields:
        return {}
    parse = pyarrow.json.ParseOptions(explicit_schema=pyarrow.schema(fields), unexpected_field_behavior="infer")
    return {"parse_options": parse}


def csv_options(columns: dict[str, str]) -> Json:
    import pyarrow
    import pyarrow.csv

    text = {name: pyarrow.string() for name, kind in columns.items() if kind == "string"}
    return {"convert_options": pyarrow.csv.ConvertOptions(column_types=text, strings_can_be_null=True)}


def profile(batch: Any, columns: list[str]) -> Json:
    """One row: the statistics of a batch as JSON, by column (used with Dataset.map_batches)."""
    return {"profile": [json.dumps({name: column_profile(batch[name]) for name in columns if name in batch})]}


def column_profile(series: Any) -> Json:
    """{rows, values, kind: number|flag|text|nested, numeric, times, distinct} of one column's batch; `distinct` holds
    up to MOST_CATEGORIES + 1 values as text."""
    import pandas as pd

    if pd.api.types.is_bool_dtype(series):
        kind, values, numeric = "flag", series.dropna(), 0
    elif pd.api.types.is_numeric_dtype(series):
        kind, values = "number", series.dropna()
        numeric = len(values)
    elif pd.api.types.is_datetime64_any_dtype(series):
        return _counts(series, "text", series.dropna(), times=int(series.notna().sum()))
    else:
        # Ray hands on Arrow's own series, whose operations differ; plain values behave alike everywhere.
        values = series[series.notna()].astype(object)
        if len(values) and all(isinstance(value, bool) for value in values):
            kind, numeric = "flag", 0
        elif any(hasattr(value, "__iter__") and not isinstance(value, str) for value in values):
            return {"rows": len(series), "values": len(values), "kind": "nested", "distinct": []}
        else:
            kind, values = "text", values.astype(str)
            values = values[~values.isin(MISSING)]
            numeric = int(pd.to_numeric(values, errors="coerce").notna().sum())
    return _counts(series, kind, values, numeric=numeric)


def _counts(series: Any, kind: str, values: Any, numeric: int = 0, times: int = 0) -> Json:
    distinct = [str(value) for value in values.unique()[: MOST_CATEGORIES + 1]]
    if kind == "text" and not times and numeric < len(values):
        times = int(values.astype(str).str.fullmatch(TIME).sum())
    return {
        "rows": len(series), "values": len(values), "kind": kind,
        "numeric": numeric, "times": times, "distinct": distinct,
    }  # fmt: skip


def merge(profiles: list[str]) -> dict[str, Json]:
    """The batches' profiles as one, by column."""
    merged: dict[str, Json] = {}
    for text in profiles:
        for name, part in json.loads(text).items():
            whole = merged.setdefault(
                name, {"rows": 0, "values": 0, "numeric": 0, "times": 0, "kinds": set(), "distinct": set()}
            )
            for count in ("rows", "values", "numeric", "times"):
                whole[count] += part.get(count, 0)
            if part["values"]:
                whole["kinds"].add(part["kind"])
            if len(whole["distinct"]) <= MOST_CATEGORIES:
                whole["distinct"].update(part["distinct"])
    return merged


def kind_of(column: Json) -> str:
    """number | flag | category | time | text | nested | constant | empty"""
    if not column["values"]:
        return "empty"
    if "nested" in column["kinds"]:
        return "nested"
    if len(column["distinct"]) == 1 and column["values"] == column["rows"]:
        return "constant"
    if column["kinds"] == {"flag"}:
        return "flag"
    if column["numeric"] == column["values"]:
        return "number"
    if column["times"] == column["values"]:
        return "time"
    many = len(column["distinct"]) > MOST_CATEGORIES
    # An identifier: of what nearly every row has a value of its own, nothing can be learned.
    own = column["values"] > FEW_ROWS and len(column["distinct"]) > column["values"] / 2
    return "text" if many or own else "category"


def make_plan(columns: dict[str, Json], target: str, features: list[str], task: str) -> Plan:
    """What to learn from what. Raises InvalidInput or EmptyData that names the column at fault."""
    for name in [target, *features]:
        check_known(name, list(columns), "target_column" if name == target else "features")
    if target in features:
        raise Problem("InvalidInput", f"The target {target!r} is among the features", "features", "Leave it out.")
    chosen_task = task_of(columns[target], target, task)
    plan = Plan(target, kind_of(columns[target]), chosen_task, {}, {}, columns[target]["rows"])
    if chosen_task == "classification":
        plan.labels = labels_of(columns[target], plan.target_kind)
    for name in features or [name for name in columns if name != target and not name.startswith(OWN)]:
        kind = kind_of(columns[name])
        if kind in ("number", "flag", "category"):
            plan.features[name] = kind
        else:
            plan.notes.append(f"{name} is left out: {LEFT_OUT[kind]}")
        if kind == "category":
            plan.categories[name] = sorted(columns[name]["distinct"])
    if not plan.features:
        reasons = "; ".join(plan.notes)
        raise Problem("InvalidInput", f"No column is fit to learn from: {reasons}", "features", "Name other features.")
    return plan


LEFT_OUT = {
    "time": "a point in time", "text": "a text of its own in nearly every row", "nested": "a nested value",
    "constant": "the same value in every row", "empty": "null in every row",
}  # fmt: skip


def check_known(name: str, columns: list[str], argument: str) -> None:
    if name in columns:
        return
    near = get_close_matches(name, columns, 1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    raise Problem(
        "InvalidInput",
        f"The stream has no column {name!r}",
        argument,
        f"{hint}It has: {', '.join(sorted(columns))}.",
    )


def task_of(column: Json, target: str, task: str) -> str:
    """regression or classification; auto: text, true/false and numbers of exactly two values are classes."""
    kind = kind_of(column)
    if kind == "empty":
        remedy = "Choose another target column, or extract data that has it."
        raise Problem("EmptyData", f"The target column {target!r} is null in every row", "target_column", remedy)
    if kind == "constant" or len(column["distinct"]) == 1:
        remedy = "There is nothing to predict; choose another target column."
        raise Problem(
            "DataError", f"The target column {target!r} has the same value in every row", "target_column", remedy
        )
    if kind in ("nested", "time", "text"):
        reason = LEFT_OUT[kind]
        raise Problem(
            "InvalidInput",
            f"The target column {target!r} cannot be predicted: {reason}",
            "target_column",
            "Choose a column of numbers or of few values.",
        )
    if task == "regression" and kind != "number":
        raise Problem(
            "InvalidInput",
            f"The target column {target!r} holds no numbers, so it cannot be a regression",
            "task",
            "Choose classification, or auto.",
        )
    if task == "classification" and len(column["distinct"]) > MOST_CATEGORIES:
        raise Problem(
            "InvalidInput",
            f"The target column {target!r} has more than {MOST_CATEGORIES} different values",
            "task",
            "Choose regression, or another target column.",
        )
    if task != "auto":
        return task
    return "regression" if kind == "number" and len(column["distinct"]) > 2 else "classification"


def labels_of(column: Json, kind: str) -> list[Any]:
    """The classes in order: false/true, numbers (whole ones as such), or texts."""
    if kind == "flag":
        return [False, True]
    if kind == "number":
        numbers = sorted({float(value) for value in column["distinct"]})
        return [int(number) for number in numbers] if all(number.is_integer() for number in numbers) else numbers
    return sorted(column["distinct"])


def prepare(batch: Any, plan: Plan) -> Any:
    """A batch with the plan's columns alone, typed, a hash of each row, and without rows that have no target."""
    import pandas as pd

    kinds = {**plan.features, plan.target: plan.target_kind}
    table = pd.DataFrame({name: typed(batch[name], kind) for name, kind in kinds.items()})
    # Before rows go: a hash must not depend on anything but the row itself.
    table[HASH] = pd.util.hash_pandas_object(table, index=False).to_numpy()
    return table[table[plan.target].notna()]


def features_of(table: Any, plan: Plan) -> Any:
    """The features of a prepared table. Typed once more: on its way through Ray a NaN becomes pandas' NA."""
    import pandas as pd

    return pd.DataFrame({name: typed(table[name], kind) for name, kind in plan.features.items()})


def typed(series: Any, kind: str) -> Any:
    """float64 with NaN, or text with None."""
    import pandas as pd

    if kind in ("number", "flag"):
        numbers = pd.to_numeric(series, errors="coerce")
        return pd.Series(numbers.to_numpy(dtype="float64", na_value=float("nan")), index=series.index)
    there = series.notna()
    text = [
        str(value) if known and str(value) not in MISSING else None for value, known in zip(series, there, strict=True)
    ]
    # Mapped, pandas would make a text column of its own of it, in which None is NaN: no text for Arrow.
    return pd.Series(text, index=series.index, dtype=object)


def hashes(batch: Any) -> Any:
    return batch[[HASH]]


def threshold(found: Any, fraction: float) -> int:
    """Rows whose hash is below it are held out. Raises a DataError when either side would be empty."""
    import numpy as np

    if len(found) < LEAST_ROWS:
        raise Problem(
            "EmptyData" if not len(found) else "DataError",
            f"Only {len(found)} rows have a target; a model needs at least {LEAST_ROWS}",
            "source",
            "Extract more data.",
        )
    if len(found) > MOST_RANKED:
        return int(fraction * 2**64)
    ordered = np.sort(found)
    limit = int(ordered[max(1, round(len(ordered) * fraction))])
    if limit <= int(ordered[0]):
        raise Problem("DataError", "Too many rows are equal to hold some of them out", "test_fraction", "Add columns.")
    return limit


def part(batch: Any, limit: int, held_out: bool) -> Any:
    """The held-out rows of a prepared batch, or the others."""
    below = batch[HASH].to_numpy().astype("uint64") < limit
    return batch[below if held_out else ~below]
