from __future__ import annotations

from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from f.flexcore.ray.on_ray_store import Problem
from f.flexcore.ray.on_ray_table import (
    HASH,
    Plan,
    features_of,
    format_of,
    kind_of,
    make_plan,
    merge,
    part,
    prepare,
    profile,
    threshold,
    typed,
)
from tests.ray.data import flowers, houses

Rows = list[dict[str, Any]]


def profiled(rows: Rows, batches: int = 3) -> dict[str, Any]:
    """The profile of rows that arrive in several batches, as Ray Data hands them on."""
    columns = list(rows[0])
    size = len(rows) // batches + 1
    parts = [pd.DataFrame(rows[start : start + size]) for start in range(0, len(rows), size)]
    return merge([profile(item, columns)["profile"][0] for item in parts])


def column(values: list[Any]) -> dict[str, Any]:
    return profiled([{"x": value} for value in values])["x"]  # type: ignore[no-any-return]


def arrow_column(values: list[Any]) -> Any:
    """As Ray hands it on: Arrow's own series, and text where nothing tells otherwise."""
    array = pa.array(values)
    return pd.Series(pd.arrays.ArrowExtensionArray(array.cast(pa.string()) if pa.types.is_null(array.type) else array))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2, 3.5], "number"),
        (["1", "2.5", "", None], "number"),
        ([True, False, None], "flag"),
        (["a", "b", "a"], "category"),
        (["1", "b", "2"], "category"),
        ([f"name {n}" for n in range(60)], "text"),
        ([f"name {n % 1001}" for n in range(2500)], "text"),
        (["2024-01-01", "2024-05-06"], "time"),
        (["2024-01-01T10:00:00Z", "2024-05-06T10:00:00Z"], "time"),
        ([[1], [2]], "nested"),
        ([{"a": 1}, {"a": 2}], "nested"),
        ([7, 7, 7], "constant"),
        (["NA", "", None], "empty"),
        ([None, None], "empty"),
    ],
)
def test_a_column_is_told_by_what_is_in_it(values: list[Any], kind: str) -> None:
    assert kind_of(column(values)) == kind
    arrow = pd.DataFrame({"x": arrow_column(values)})
    assert kind_of(merge(profile(arrow, ["x"])["profile"])["x"]) == kind


@pytest.mark.parametrize("values", [["a", None, "", "NA", "b"], [None, None], ["ü", "東京"]])
def test_text_has_none_where_there_is_nothing_and_arrow_can_take_it(values: list[Any]) -> None:
    for series in (pd.Series(values, dtype=object), pd.Series(values, dtype="str"), arrow_column(values)):
        made = typed(series, "category")
        assert list(made) == [value if value not in (None, "", "NA") else None for value in values]
        pa.array(made, type=pa.string(), from_pandas=False)


def test_a_constant_with_gaps_still_says_something() -> None:
    assert kind_of(column(["x", None, "x"])) == "category"


def test_the_plan_takes_what_is_fit_and_says_what_it_leaves_out() -> None:
    plan = make_plan(profiled(houses(200)), "price", [], "auto")
    assert plan.task == "regression"
    assert plan.features == {"rooms": "number", "city": "category", "garden": "flag", "area": "number"}
    assert plan.categories == {"city": ["Lima", "Oslo", "Rome"]}
    assert {note.split(" ")[0] for note in plan.notes} == {"id", "country", "remark", "sold_at"}


@pytest.mark.parametrize(
    ("values", "task", "chosen", "labels"),
    [
        ([1.0, 2.5, 3.0] * 5, "auto", "regression", []),
        (["yes", "no"] * 5, "auto", "classification", ["no", "yes"]),
        ([True, False] * 5, "auto", "classification", [False, True]),
        ([0, 1] * 5, "auto", "classification", [0, 1]),
        (["0", "1"] * 5, "auto", "classification", [0, 1]),
        ([0, 1] * 5, "regression", "regression", []),
        ([1, 2, 3] * 5, "classification", "classification", [1, 2, 3]),
        ([0.5, 1.5] * 5, "classification", "classification", [0.5, 1.5]),
    ],
)
def test_the_task_is_chosen_by_the_target(values: list[Any], task: str, chosen: str, labels: list[Any]) -> None:
    rows = [{"x": number % 7, "y": value} for number, value in enumerate(values)]
    plan = make_plan(profiled(rows), "y", [], task)
    assert (plan.task, plan.labels) == (chosen, labels)
    assert [type(label) for label in plan.labels] == [type(label) for label in labels]


@pytest.mark.parametrize(
    ("change", "kind", "subject", "text"),
    [
        ({"target": "prize"}, "InvalidInput", "target_column", "Did you mean 'price'"),
        ({"target": "country"}, "DataError", "target_column", "same value"),
        ({"target": "nothing"}, "EmptyData", "target_column", "null in every row"),
        ({"target": "id"}, "InvalidInput", "target_column", "cannot be predicted"),
        ({"target": "sold_at"}, "InvalidInput", "target_column", "point in time"),
        ({"target": "city", "task": "regression"}, "InvalidInput", "task", "no numbers"),
        ({"features": ["romms"]}, "InvalidInput", "features", "Did you mean 'rooms'"),
        ({"features": ["price"]}, "InvalidInput", "features", "among the features"),
        ({"features": ["country", "sold_at"]}, "InvalidInput", "features", "No column is fit"),
    ],
)
def test_a_request_that_does_not_fit_the_data_is_told_by_name(
    change: dict[str, Any], kind: str, subject: str, text: str
) -> None:
    rows = [row | {"nothing": None} for row in houses(200)]
    asked = {"target": "price", "features": [], "task": "auto", **change}
    with pytest.raises(Problem) as caught:
        make_plan(profiled(rows), **asked)
    told = caught.value.flexcore
    assert (told["type"], told["subject"]) == (kind, subject)
    assert text in f"{told['message']} {told['remedy']}"


def test_rows_are_typed_and_those_without_a_target_dropped() -> None:
    plan = Plan("y", "number", "regression", {"n": "number", "c": "category", "f": "flag"}, {"c": ["a"]})
    raw = pd.DataFrame(
        {
            "n": ["1", "", "3"],
            "c": ["a", "NA", None],
            "f": [True, None, False],
            "y": ["1.5", "2", None],
            "more": [1, 2, 3],
        }
    )
    table = prepare(raw, plan)
    assert table["y"].tolist() == [1.5, 2.0]
    features = features_of(table, plan)
    assert features["n"].tolist()[0] == 1.0 and pd.isna(features["n"].tolist()[1])
    assert features["c"].tolist()[0] == "a" and pd.isna(features["c"].tolist()[1])
    assert features["f"].tolist()[0] == 1.0


def held_out(rows: Rows, batches: int) -> set[float]:
    plan = make_plan(profiled(rows), "size", [], "auto")
    size = len(rows) // batches + 1
    tables = [prepare(pd.DataFrame(rows[at : at + size]), plan) for at in range(0, len(rows), size)]
    whole = pd.concat(tables)
    limit = threshold(whole[HASH].to_numpy(), 0.25)
    seen = pd.concat([part(table, limit, False) for table in tables])
    test = pd.concat([part(table, limit, True) for table in tables])
    assert len(seen) + len(test) == len(rows)
    return set(test["size"])


def test_the_same_rows_are_held_out_whatever_their_order_and_batches() -> None:
    rows = flowers(200)
    first = held_out(rows, 1)
    assert len(first) == 50
    assert held_out(rows[::-1], 7) == first


def test_equal_rows_never_stand_on_both_sides() -> None:
    import numpy as np

    hashes = np.array([5, 5, 5, 5, 9, 9, 9, 12, 12, 12], dtype="uint64")
    limit = threshold(hashes, 0.5)
    assert 0 < (hashes < limit).sum() < 10


@pytest.mark.parametrize(("count", "kind"), [(0, "EmptyData"), (9, "DataError")])
def test_too_few_rows_are_told(count: int, kind: str) -> None:
    import numpy as np

    with pytest.raises(Problem) as caught:
        threshold(np.arange(count, dtype="uint64"), 0.2)
    assert caught.value.flexcore["type"] == kind


@pytest.mark.parametrize(
    ("form", "path", "found"),
    [
        ("jsonl", "x", "jsonl"),
        ("csv", "x", "csv"),
        ("parquet", "x", "parquet"),
        ("files", "a.jsonl.gz", "jsonl"),
        ("target-csv", "a", "csv"),
    ],
)
def test_the_format_is_told_by_the_manifest_or_the_files(form: str, path: str, found: str) -> None:
    assert format_of({"format": form, "files": [{"path": path}]}) == found


def test_a_format_that_cannot_be_read_is_told() -> None:
    with pytest.raises(Problem, match="'sqlite'"):
        format_of({"format": "sqlite", "files": [{"path": "a.db"}]})
