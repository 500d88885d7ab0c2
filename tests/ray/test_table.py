from __future__ import annotations

import datetime as dt
import decimal
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from f.flexcore.lib.ray.remote.dataset import (
    HASH,
    ROW,
    Plan,
    convert_series,
    make_plan,
    prepare_table,
    select_features,
)
from f.flexcore.lib.ray.remote.file_blocks import get_mark
from f.flexcore.lib.ray.remote.json_files import make_table
from f.flexcore.lib.ray.remote.shared_storage import Problem
from f.flexcore.lib.ray.remote.stream_profile import Stream, classify_column, merge
from f.flexcore.lib.serving.column_kinds import profile_column, to_class_texts, to_numbers, to_texts, to_time_texts
from tests.ray.data import houses

Rows = list[dict[str, Any]]


def arrow(rows: Rows) -> Any:
    """The rows as a part of a stream that was read from JSON."""
    return make_table({name: [row[name] for row in rows] for name in rows[0]}, len(rows))


def profiled(rows: Rows, batches: int = 3) -> Stream:
    """The columns of rows that arrive in several parts."""
    size = len(rows) // batches + 1
    tables = [arrow(rows[start : start + size]) for start in range(0, len(rows), size)]
    return Stream(merge([profile(item) for item in tables], len(rows)), len(rows), list(rows[0]))


def profile(table: Any) -> dict[str, Any]:
    return {field.name: profile_column(table[field.name], get_mark(field)) for field in table.schema}


def column(values: list[Any]) -> dict[str, Any]:
    return profiled([{"x": value} for value in values]).columns["x"]


def kind_of_parts(*parts: Any) -> str:
    """What a column is that has these values or Arrow arrays in its parts."""
    tables = [
        pa.table({"x": part}) if isinstance(part, pa.Array) else make_table({"x": part}, len(part)) for part in parts
    ]
    return classify_column(merge([profile(item) for item in tables], sum(map(len, parts)))["x"])


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
        (["01", "02", "03"], "category"),
        (["true", "FALSE", None], "flag"),
        ([1, "two", True], "category"),
        ([2**63, 2**64, -(2**63) - 1], "number"),
        ([1, 2.5, float("nan")], "number"),
        ([" 1", "2 "], "number"),
        (["2024-01-01", "2024-05-06"], "time"),
        (["2024-01-01T10:00:00Z", "2024-05-06T10:00:00Z"], "time"),
        (["0001-01-01", "9999-12-31 23:59:59.123456789", "1969-07-20T20:17:40-05:00"], "time"),
        (["31.12.2024", "1.2.2024"], "time"),
        (["12/31/2024 9:30", "01/02/2024 10:30"], "time"),
        (["11/12/2024", "01/02/2024"], "date"),
        (["2024-01-01", "soon"], "category"),
        ([[1], [2]], "nested"),
        ([{"a": 1}, {"a": 2}], "nested"),
        ([7, 7, 7], "constant"),
        (["NA", "", None], "empty"),
        ([None, None], "empty"),
    ],
)
def test_a_column_is_told_by_what_is_in_it(values: list[Any], kind: str) -> None:
    assert classify_column(column(values)) == kind
    assert kind_of_parts(*[[value] for value in values]) == kind


@pytest.mark.parametrize(
    ("parts", "kind"),
    [
        (([None, None], ["Lima", "Oslo"]), "category"),
        (([None], [1, 2.5], [3]), "number"),
        (([1, 2], ["three"]), "category"),
        (([True], [1]), "category"),
        (([{"a": 1}], ["text"]), "nested"),
        ((pa.array(["2024-01-01"]), pa.array([dt.date(2024, 5, 6)])), "time"),
        ((pa.array([1, 2], pa.uint64()), pa.array([2.5], pa.float16())), "number"),
        ((pa.array([decimal.Decimal("1.5")], pa.decimal256(50, 20)), pa.array(["2"])), "number"),
        ((pa.array([1, 2], pa.duration("ms")),), "number"),
        ((pa.array([dt.time(1), dt.time(2)]),), "clock"),
        ((pa.array([b"a", b"b"]),), "bytes"),
        ((pa.array(["a", "b"]).dictionary_encode(),), "category"),
        ((pa.array(["a", "b"], pa.string_view()), pa.array(["c"], pa.large_string())), "category"),
        ((pa.nulls(3),), "empty"),
    ],
)
def test_a_column_may_have_another_type_in_each_part(parts: Any, kind: str) -> None:
    assert kind_of_parts(*parts) == kind
    assert kind_of_parts(*parts[::-1]) == kind


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array(["1.5", " 2", "NA", "", "x", "true"]), [1.5, 2, None, None, None, 1]),
        (pa.array([1.0, float("inf"), float("-inf"), float("nan"), 1e39]), [1, None, None, None, None]),
        (pa.array([18446744073709551615], pa.uint64()), [18446744073709551615.0]),
        (pa.array([decimal.Decimal("1" + "0" * 39), decimal.Decimal("0.5")], pa.decimal256(60, 10)), [None, 0.5]),
        (pa.array([1500, None], pa.duration("ms")), [1.5, None]),
        (pa.array([True, None]), [1, None]),
        (pa.array([1.5, None], pa.float16()), [1.5, None]),
    ],
)
def test_a_value_has_one_number_however_it_is_stored(array: Any, expected: list[Any]) -> None:
    assert pa.array(to_numbers(array), from_pandas=True).to_pylist() == expected


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array([1, 2]), ["1", "2"]),
        (pa.array([1.0, 2.5, None, float("nan")]), ["1", "2.5", None, None]),
        (pa.array([True, False]), ["true", "false"]),
        (pa.array(["a", "NA", None]), ["a", None, None]),
        (
            pa.array([-62135596800, 253402300799, 253402300800], pa.timestamp("s")),
            ["0001-01-01T00:00:00", "9999-12-31T23:59:59", None],
        ),
        (pa.array([-1], pa.timestamp("us", "Europe/Berlin")), ["1969-12-31T23:59:59"]),
        (pa.array([dt.date(1, 1, 1)]), ["0001-01-01"]),
    ],
)
def test_a_value_has_one_text_however_it_is_stored(array: Any, expected: list[Any]) -> None:
    assert to_texts(array).to_pylist() == expected


def test_a_class_has_one_text_however_it_is_written() -> None:
    assert to_class_texts(pa.array(["1", "1.0", " 1", "2", None]), "number").to_pylist() == ["1", "1", "1", "2", None]
    assert to_class_texts(pa.array(["TRUE", "false"]), "flag").to_pylist() == ["true", "false"]
    big = [9007199254740992, 9007199254740993]
    assert to_class_texts(pa.array(big), "number").to_pylist() == [str(item) for item in big]


def test_finer_fractions_than_microseconds_are_cut() -> None:
    assert to_time_texts(pa.array(["1677-09-21 00:12:43.145224193"])).to_pylist() == ["1677-09-21 00:12:43.145224"]


@pytest.mark.parametrize("values", [["a", None, "", "NA", "b"], [None, None], ["ü", "東京"]])
def test_text_has_none_where_there_is_nothing_and_arrow_can_take_it(values: list[Any]) -> None:
    for series in (pd.Series(values, dtype=object), pd.Series(values, dtype="str")):
        made = convert_series(series, "category")
        assert list(made) == [value if value not in (None, "", "NA") else None for value in values]
        pa.array(made, type=pa.string(), from_pandas=False)


def test_a_constant_with_gaps_still_says_something() -> None:
    assert classify_column(column(["x", None, "x"])) == "category"


def test_the_plan_takes_what_is_fit_and_says_what_it_leaves_out() -> None:
    plan = make_plan(profiled(houses(200)), "price", [], "auto")
    assert plan.task == "regression"
    assert plan.features == {
        "rooms": "number",
        "city": "category",
        "garden": "flag",
        "area": "number",
        "sold_at": "time",
    }
    assert plan.categories == {"city": ["Lima", "Oslo", "Rome"]}
    assert plan.times == {"sold_at": "ISO8601"}
    assert {note.split(" ")[0] for note in plan.notes} == {"id", "country", "remark", "sold_at"}


def test_points_in_time_are_left_out_when_their_parts_are_not_wanted() -> None:
    plan = make_plan(profiled(houses(200)), "price", [], "auto", date_parts=False)
    assert "sold_at" not in plan.features
    assert "sold_at is left out: a point in time" in plan.notes


def test_the_plan_notes_what_it_reads_as_something_else() -> None:
    rows = [
        {"y": n * 1.5, "mixed": n if n % 2 else "text", "big": float("inf") if n == 3 else n + 0.5} for n in range(40)
    ]
    notes = make_plan(profiled(rows), "y", [], "auto").notes
    assert "mixed holds values of several types; it is read as text" in notes
    assert "big has 1 infinite or too large values; they are read as no value" in notes


@pytest.mark.parametrize(
    ("write", "kind"),
    [
        (lambda number: f"{number * 1000:,}.50", "amount"),
        (lambda number: f"{number}.000,25 €", "amount"),
        (lambda number: f"$ {number}.5", "amount"),
        (lambda number: f"EUR {number}", "amount"),
        (lambda number: f"{number} %", "amount"),
        (lambda number: f"10.0.0.{number}", "text"),
        (lambda number: f"{number:032}", "text"),
        (lambda number: f"No {number}", "text"),
    ],
)
def test_numbers_as_people_write_them_are_named_as_such(write: Any, kind: str) -> None:
    assert classify_column(column([write(number) for number in range(1, 121)])) == kind


def test_words_that_count_as_no_value_are_noted_and_named_where_they_may_be_a_class() -> None:
    rows = [{"area": "NA" if number % 4 else "EU", "x": number % 7, "y": number} for number in range(20)]
    plan = make_plan(profiled(rows), "y", [], "auto")
    assert "area has 15 words such as NA, which count as no value; they are read as no value" in plan.notes
    with pytest.raises(Problem) as caught:
        make_plan(profiled(rows), "area", [], "auto")
    assert "in every row but 15, which are words such as NA" in caught.value.flexcore["message"]


def test_a_target_that_is_infinite_in_every_row_is_told() -> None:
    rows = [{"x": number, "y": number * 1e200 + 1e199} for number in range(20)]
    with pytest.raises(Problem) as caught:
        make_plan(profiled(rows), "y", [], "auto")
    assert "infinite or too large in every row" in caught.value.flexcore["message"]


def test_a_column_of_a_name_that_flexcore_uses_is_left_out_with_a_note() -> None:
    rows = [{HASH: number, ROW: number, "x": number, "y": 2 * number} for number in range(20)]
    plan = make_plan(profiled(rows), "y", [], "auto")
    assert list(plan.features) == ["x"] and any(HASH in note for note in plan.notes)
    with pytest.raises(Problem, match="reserved by flexcore"):
        make_plan(profiled(rows), ROW, [], "auto")


@pytest.mark.parametrize("first", [["4.5", "Oslo"], ["2024-01-02", "Lima"], ["ada@example.org", "Rome"], ["3,5", "-7"]])
def test_a_file_without_a_header_is_named_without_its_first_row(first: list[str]) -> None:
    with pytest.raises(Problem) as caught:
        make_plan(profiled([dict.fromkeys(first, number) for number in range(20)]), "y", [], "auto")
    said = str(caught.value.flexcore)
    assert "hold values" in said and not any(value in said for value in first)


def test_a_name_in_other_letters_is_suggested() -> None:
    with pytest.raises(Problem) as caught:
        make_plan(profiled([{"Price": number, "x": -number} for number in range(20)]), "price", [], "auto")
    assert "Did you mean 'Price'?" in caught.value.flexcore["remedy"]


def test_a_column_that_stands_twice_is_never_one_of_the_two() -> None:
    rows = [{"y": n * 1.5, "z": n} for n in range(40)]
    stream = profiled(rows)
    stream.twice = {"x": "rows.csv line 1 has it as columns 1 and 2"}
    stream.names += ["x"]
    plan = make_plan(stream, "y", [], "auto")
    assert "x is left out: rows.csv line 1 has it as columns 1 and 2" in plan.notes
    for target, features, subject in (("y", ["x"], "features"), ("x", [], "target_column")):
        with pytest.raises(Problem, match=r"'x' stands twice in the data: rows\.csv line 1") as caught:
            make_plan(stream, target, features, "auto")
        assert caught.value.flexcore["subject"] == subject


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
        # scikit-learn takes fractions for amounts ("Unknown label type: continuous").
        ([0.5, 1.5] * 5, "classification", "classification", ["0.5", "1.5"]),
        ([1.0, 2.0] * 5, "classification", "classification", [1, 2]),
        (["1", "1.0", "2"] * 5, "classification", "classification", [1, 2]),
        (["01", "1"] * 5, "auto", "classification", ["01", "1"]),
        ([2**63, 2**64] * 5, "auto", "classification", [str(2**63), str(2**64)]),
        (["TRUE", "false"] * 5, "auto", "classification", [False, True]),
        ([1, "a"] * 5, "auto", "classification", ["1", "a"]),
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
        ({"features": ["country", "remark"]}, "InvalidInput", "features", "No column is fit"),
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
    raw = pa.table(
        {
            "n": ["1", "", "3"],
            "c": ["a", "NA", None],
            "f": [True, None, False],
            "y": ["1.5", "2", None],
            "more": [1, 2, 3],
        }
    )
    table = prepare_table(raw, plan, first_row=100).to_pandas()
    assert table["y"].tolist() == [1.5, 2.0]
    assert table[ROW].tolist() == [100, 101]
    features = select_features(table, plan)
    assert features["n"].tolist()[0] == 1.0 and pd.isna(features["n"].tolist()[1])
    assert features["c"].tolist()[0] == "a" and pd.isna(features["c"].tolist()[1])
    assert features["f"].tolist()[0] == 1.0


def test_a_part_without_a_column_has_no_value_in_it() -> None:
    plan = Plan("y", "number", "regression", {"n": "number", "c": "category"}, {"c": ["a"]})
    table = prepare_table(pa.table({"y": [1, 2]}), plan)
    assert table.num_rows == 2
    assert select_features(table.to_pandas(), plan).isna().all(axis=None)
    assert prepare_table(pa.table({"n": [1, 2]}), plan).num_rows == 0


def test_equal_rows_have_the_same_hash_in_every_part() -> None:
    plan = Plan("y", "number", "regression", {"n": "number", "c": "category"}, {"c": ["1"]})
    first = prepare_table(pa.table({"y": [1], "n": ["2"], "c": [1.0]}), plan)
    other = prepare_table(pa.table({"y": ["1"], "n": [2.0], "c": ["1"]}), plan)
    assert first[HASH].to_pylist() == other[HASH].to_pylist()
