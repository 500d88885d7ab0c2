"""Tables as people have them: each is learned from, or ends in an error that names the column and what helps."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from f.flexcore.lib.ray.remote.dataset import make_frame
from f.flexcore.lib.ray.remote.model_files import make_signature
from f.flexcore.lib.ray.remote.shared_storage import Problem
from f.flexcore.lib.serving.open_inference import infer
from tests.ray.learning import Learned, learn
from tests.ray.test_split import passengers

Json = dict[str, Any]
Rows = list[Json]
ROWS = range(120)


def jsonl(folder: Path, rows: Rows) -> list[Path]:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [path]


def parquet(folder: Path, **columns: Any) -> list[Path]:
    path = folder / "rows.parquet"
    pa.parquet.write_table(pa.table(columns), path)
    return [path]


@pytest.mark.parametrize("algorithm", ["xgboost", "lightgbm", "RandomForestClassifier", "LogisticRegression"])
@pytest.mark.parametrize(
    ("classes", "answers"),
    [
        (["a", "b", "c"], {"a", "b", "c"}),
        ([1.0, 2.0, 3.0], {1, 2, 3}),
        (["1", "2", "3"], {1, 2, 3}),
        (["01", "02", "03"], {"01", "02", "03"}),
        ([0.5, 1.5, 2.5], {"0.5", "1.5", "2.5"}),
        ([True, True, False], {True, False}),
        ([2**63, 2**64, 7], {str(2**63), str(2**64), "7"}),
        ([1, "b", None], {"1", "b"}),
    ],
)
def test_classes_of_every_kind_are_learned(
    tmp_path: Path, algorithm: str, classes: list[Any], answers: set[Any]
) -> None:
    rows = [{"x": n % 3 * 10 + n % 2, "y": classes[n % 3]} for n in ROWS]
    done = learn("jsonl", jsonl(tmp_path, rows), "y", algorithm, task="classification")
    assert done.metrics["accuracy"] == 1.0
    assert set(done.pipeline.predict(pd.DataFrame({"x": [0.0, 10.0, 20.0]})).tolist()) <= answers


@pytest.mark.parametrize("algorithm", ["xgboost", "lightgbm", "RandomForestClassifier"])
def test_a_class_of_one_row_ends_nothing(tmp_path: Path, algorithm: str) -> None:
    rows = [{"x": n, "y": "a" if n < 60 else "b"} for n in ROWS] + [{"x": 500, "y": "z"}]
    done = learn("jsonl", jsonl(tmp_path, rows), "y", algorithm)
    assert "The class 'z' has a single row: it is learned from, and not among the held-out rows" in done.notes
    assert done.metrics["accuracy"] is not None and done.metrics["accuracy"] > 0.9
    assert all(value is None or math.isfinite(value) for value in done.metrics.values())


@pytest.mark.parametrize("algorithm", ["xgboost", "LogisticRegression"])
def test_two_thousand_rows_of_a_dozen_kinds_are_measured(tmp_path: Path, algorithm: str) -> None:
    done = learn("jsonl", jsonl(tmp_path, passengers()), "survived", algorithm)
    assert (done.seen, done.held_out) == (1600, 400)
    assert done.metrics["accuracy"] > done.metrics["baseline_accuracy"] + 0.1
    assert 0.7 < done.metrics["auc"] < 1


@pytest.mark.parametrize("algorithm", ["xgboost", "lightgbm", "Ridge", "RandomForestRegressor", "SVR"])
def test_infinities_and_numbers_too_large_are_no_values(tmp_path: Path, algorithm: str) -> None:
    x = [float("inf") if n == 3 else 1e300 if n == 4 else float("nan") if n == 5 else float(n) for n in ROWS]
    y = [float("-inf") if n == 7 else 1e308 if n == 8 else 2.0 * n for n in ROWS]
    done = learn("parquet", parquet(tmp_path, x=x, y=y), "y", algorithm)
    assert "x has 2 infinite or too large values; they are read as no value" in done.notes
    assert "y has 2 infinite or too large values; the rows are left out" in done.notes
    assert done.seen + done.held_out == len(ROWS) - 2
    assert np.isfinite(done.pipeline.predict(pd.DataFrame({"x": [float("inf"), 1e300, float("nan")]}))).all()


@pytest.mark.parametrize(
    "target",
    [
        pa.array([n % 40 + 0.5 for n in ROWS], pa.float16()),
        pa.array([decimal.Decimal(n % 40) / 8 for n in ROWS], pa.decimal128(30, 10)),
        pa.array([decimal.Decimal(n % 40) / 8 for n in ROWS], pa.decimal256(50, 20)),
        pa.array([2**63 + n % 40 * 2**50 for n in ROWS], pa.uint64()),
        pa.array([n % 40 for n in ROWS], pa.uint8()),
        pa.array([n % 40 * 1000 for n in ROWS], pa.duration("ms")),
        pa.array([str(n % 40) for n in ROWS]),
        pa.array([str(n % 40) for n in ROWS]).dictionary_encode(),
    ],
)
def test_numbers_of_every_type_are_target_and_feature(tmp_path: Path, target: Any) -> None:
    files = parquet(tmp_path, x=[float(n % 40) for n in ROWS], y=target)
    assert learn("parquet", files, "y", "Ridge").metrics["r2"] > 0.99
    assert learn("parquet", files, "x", "Ridge").metrics["r2"] > 0.99


@pytest.mark.parametrize("algorithm", ["xgboost", "lightgbm", "Ridge"])
def test_the_parts_of_points_in_time_are_learned(tmp_path: Path, algorithm: str) -> None:
    start = dt.datetime(2024, 1, 1)
    times = [start + dt.timedelta(hours=7 * n) for n in range(600)]
    rows = [{"at": time.isoformat(), "y": 10.0 * (time.weekday() >= 5) + (time.hour >= 12)} for time in times]
    done = learn(
        "jsonl", jsonl(tmp_path, rows), "y", "xgboost" if algorithm == "Ridge" else algorithm, task="regression"
    )
    assert done.metrics["r2"] > 0.95
    assert any(note.startswith("at is a point in time; its year") for note in done.notes)
    trend = [{"at": time.isoformat(), "y": (time - start).days * 2.0} for time in times]
    assert learn("jsonl", jsonl(tmp_path, trend), "y", algorithm).metrics["r2"] > 0.95


def test_points_in_time_are_not_learned_from_when_that_is_off(tmp_path: Path) -> None:
    rows = [{"at": f"2024-01-{n % 28 + 1:02d}", "x": n, "y": n * 2.0} for n in ROWS]
    done = learn("jsonl", jsonl(tmp_path, rows), "y", "Ridge", date_parts=False)
    assert list(done.plan.features) == ["x"]
    assert "at is left out: a point in time" in done.notes


@pytest.mark.parametrize(
    ("texts", "asked", "hour"),
    [
        (["2024-03-31T02:30:00+01:00", "2024-03-31T01:30:00Z"], "2024-03-31 01:30", 1),
        (["31.03.2024 01:30", "1.4.2024 01:30"], "31.03.2024 01:30", 1),
        (["0001-01-01", "9999-12-31T23:00:00.123456789"], "9999-12-31T23:00:00", 23),
    ],
)
def test_the_same_moment_is_the_same_feature_however_it_is_written(
    tmp_path: Path, texts: list[str], asked: str, hour: int
) -> None:
    rows = [{"at": texts[n % 2], "x": n, "y": n * 1.0} for n in ROWS]
    done = learn("jsonl", jsonl(tmp_path, rows), "y", "Ridge")
    calendar = done.pipeline.named_steps["columns"].named_transformers_["time 0 calendar"]
    parts = calendar[:-1].transform(pd.Series([asked, None, "never", ""], dtype=object))
    assert parts[0][4] == hour
    assert len(done.pipeline.predict(pd.DataFrame({"at": [asked, None, "never"], "x": [1.0, 2.0, 3.0]}))) == 3


def test_an_endpoint_takes_points_in_time_as_text(tmp_path: Path) -> None:
    rows = [{"at": f"2024-01-{n % 28 + 1:02d}", "y": (n % 28) * 2.0} for n in ROWS]
    done = learn("jsonl", jsonl(tmp_path, rows), "y", "xgboost")
    signature = make_signature(done.plan.features, done.plan.task, done.plan.labels)
    assert signature["inputs"] == [{"name": "at", "datatype": "BYTES"}]
    request = {"inputs": [{"name": "at", "datatype": "BYTES", "shape": [3, 1], "data": ["2024-01-03", None, "never"]}]}
    answer = infer(done.pipeline, {"name": "m", "version": "1", "signature": signature}, request)
    assert answer["outputs"][0]["data"][0] == pytest.approx(4, abs=0.5)


def test_the_example_is_nobodys(tmp_path: Path) -> None:
    cases: list[Rows] = [
        [{"x": n, "city": ["Lima", "Oslo"][n % 2], "y": n * 1.0} for n in range(121)],
        [{"sex": row["sex"], "class": row["class"], "y": n * 1.0} for n, row in enumerate(passengers())],
        [{"flag": True if n % 2 else None, "other": n % 3 == 0, "y": n * 1.0} for n in range(60)],
        [{"name": f"Person {n}", "born": f"1980-02-{n % 28 + 1:02d}", "y": n * 1.0} for n in range(40)],
    ]
    for rows in cases:
        done = learn("jsonl", jsonl(tmp_path, rows), "y", "Ridge")
        [example] = done.example
        assert set(example) == set(done.plan.features)
        assert example not in [{name: row[name] for name in example} for row in rows]
        assert "Person" not in json.dumps(example)
        assert len(done.pipeline.predict(make_frame(pd.DataFrame([example], dtype=object), done.plan.features))) == 1


def test_there_is_no_example_when_every_row_would_be_one_of_the_source(tmp_path: Path) -> None:
    rows = [{"a": [True, False, None][n % 3], "y": n * 1.0} for n in ROWS]
    done = learn("jsonl", jsonl(tmp_path, rows), "y", "Ridge")
    assert done.example == []


@pytest.mark.parametrize(
    ("rows", "asked", "kind", "text"),
    [
        ([{"x": n, "y": n * 1.0} for n in range(5)], {}, "DataError", "Only 5 rows have a target"),
        ([{"x": n, "y": "one"} for n in ROWS], {}, "DataError", "'y' has the same value in every row"),
        ([{"x": n, "y": ["1", "1.0"][n % 2]} for n in ROWS], {}, "DataError", "same value in every row"),
        ([{"x": n, "y": None} for n in ROWS], {}, "EmptyData", "'y' is null in every row"),
        ([{"x": n, "y": [n, "a", "b"][n % 3]} for n in ROWS], {"task": "regression"}, "InvalidInput", "some are text"),
        ([{"x": n, "y": [1, 2]} for n in ROWS], {}, "InvalidInput", "'y' cannot be predicted: a nested value"),
        (
            [{"x": [n], "y": n * 1.0} for n in ROWS],
            {"features": ["x"]},
            "InvalidInput",
            "x is left out: a nested value",
        ),
        ([{"x": n, "y": f"id {n}"} for n in range(40)], {}, "DataError", "a single row"),
    ],
)
def test_what_cannot_be_learned_from_is_told_by_name(
    tmp_path: Path, rows: Rows, asked: Json, kind: str, text: str
) -> None:
    with pytest.raises(Problem) as caught:
        learn("jsonl", jsonl(tmp_path, rows), "y", **asked)
    assert caught.value.flexcore["type"] == kind
    assert text in caught.value.flexcore["message"]
    assert caught.value.flexcore["remedy"]


@pytest.mark.parametrize("algorithm", ["xgboost", "lightgbm", "Ridge"])
def test_names_as_people_give_them_stay_as_they_are(tmp_path: Path, algorithm: str) -> None:
    names = ["price[usd]", "<age>", "größe, m²", " rooms ", "a.b:c{d}", 'the "best"', "цвет", "class", "a\nb", "__x__"]
    rows = [
        {**{name: (n * (at + 3)) % 17 for at, name in enumerate(names)}, "y": (n * 3) % 17 * 2.0} for n in range(300)
    ]
    done = learn("jsonl", jsonl(tmp_path, rows), "y", algorithm)
    assert list(done.plan.features) == names
    assert done.metrics["r2"] > 0.9


def test_semicolons_decimal_commas_and_a_mark_are_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes("x;größe;y\r\n".encode("utf-8-sig") + "".join(f"{n},5;a{n % 3};{n},25\r\n" for n in ROWS).encode())
    done: Learned = learn("csv", [path], "y", "Ridge")
    assert done.plan.features == {"x": "number", "größe": "category"}
    assert done.metrics["r2"] > 0.99
