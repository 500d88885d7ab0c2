# requirements: flexcore_base
"""The rows of a batch inference: typed as their whole columns, as a model takes them, and with what it says. Shipped as
source."""

from __future__ import annotations

from typing import Any

from f.flexcore.lib.ray.remote import dataset, read, stream_profile
from f.flexcore.lib.serving import column_kinds

Json = dict[str, Any]
NUMERIC = ("FP64", "INT64", "BOOL")
PREDICTION, CERTAINTY = "prediction", "probability"
# Of a prepared column: this, its kind, a colon, and its name.
FEATURE = "__flexcore_input:"


def list_features(model: Json, pipeline: Any) -> dict[str, str]:
    """The model's inputs in order, each with the kind that dataset.to_arrow takes."""
    times = find_time_features(pipeline)
    return {
        item["name"]: "number" if item["datatype"] in NUMERIC else "time" if item["name"] in times else "category"
        for item in model["signature"]["inputs"]
    }


def prepare(table: Any, features: dict[str, str], types: Json) -> Any:
    """A part's rows as a model takes them (FEATURE columns), beside what is kept of them."""
    import pyarrow as pa

    kept = {name: convert_column(table, name, kind) for name, kind in types.items()}
    inputs = {f"{FEATURE}{kind}:{name}": dataset.to_arrow(table, name, kind) for name, kind in features.items()}
    return pa.table({**kept, **inputs})


def answer(pipeline: Any, rows: Any) -> Any:
    """What is kept of prepared rows, and what the model says."""
    import pandas as pd
    import pyarrow as pa

    features, frame = {}, {}
    for name in rows.column_names:
        if name.startswith(FEATURE):
            kind, feature = name[len(FEATURE) :].split(":", 1)
            features[feature], frame[feature] = kind, rows[name].to_pandas()
    inputs = dataset.make_frame(pd.DataFrame(frame), features)
    predicted = {PREDICTION: pa.array(pipeline.predict(inputs), from_pandas=True)}
    if hasattr(pipeline, "predict_proba"):
        predicted[CERTAINTY] = pa.array(pipeline.predict_proba(inputs).max(axis=1), from_pandas=True)
    kept = {name: rows[name] for name in rows.column_names if not name.startswith(FEATURE)}
    return pa.table({**kept, **predicted})


def find_time_features(pipeline: Any) -> set[str]:
    """The inputs that a trained pipeline takes for points in time."""
    return {columns for _, _, columns in pipeline.named_steps["columns"].transformers if isinstance(columns, str)}


def choose_column_types(stream: stream_profile.Stream, schemas: list[Any], source: Json, form: str) -> Json:
    """The type of each column: that of all its parts, one that holds them all, or text. Text of a CSV file is what all
    of it can be read as, unless the extraction declared it text."""
    import pyarrow as pa

    chosen = {}
    for name, column in stream.columns.items():
        fields = [schema.field(name) for schema in schemas if name in schema.names]
        kinds = list(dict.fromkeys(item.type for item in fields if not pa.types.is_null(item.type)))
        if read.detect_format(source) == "csv" and source["columns"].get(name) != "string":
            kinds = [choose_csv_type(column)]
        if len(kinds) > 1 and all(pa.types.is_integer(item) or pa.types.is_floating(item) for item in kinds):
            whole = all(pa.types.is_integer(item) for item in kinds)
            kinds = [pa.int64() if whole and pa.uint64() not in kinds else pa.string() if whole else pa.float64()]
        chosen[name] = kinds[0] if len(kinds) == 1 else pa.string()
        if form == "csv" and column_kinds.classify_type(chosen[name]) not in ("number", "flag", "time", "text"):
            # A cell of a CSV file holds no more.
            chosen[name] = pa.string()
    return chosen


def choose_csv_type(column: Json) -> Any:
    import pyarrow as pa

    if not column["values"]:
        return pa.string()
    if column["integer"]:
        return pa.int64()
    return pa.float64() if column["numeric"] else pa.bool_() if column["flag"] else pa.string()


def convert_column(table: Any, name: str, kind: Any) -> Any:
    """A column of a part in the type of the whole column."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if name not in table.column_names:
        return pa.nulls(table.num_rows, kind)
    column = table[name].combine_chunks()
    if column.type == kind:
        return column
    if pa.types.is_string(kind):
        return to_text(column)
    if pa.types.is_string(column.type):
        column = column_kinds.to_texts(pc.utf8_trim_whitespace(column))
    return pc.cast(column, kind, safe=False)


def to_text(column: Any) -> Any:
    """Text as it is, without a thought of which values stand for a missing one."""
    import pyarrow as pa

    column = column_kinds.normalize(column)
    return column if pa.types.is_string(column.type) else column_kinds.to_texts(column)
