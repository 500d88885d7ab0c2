from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest

from f.flexcore.lib.ray.remote.model_files import (
    drop_undefined,
    make_examples,
    make_signature,
    measure_model,
    verify_model,
    write_model,
)
from f.flexcore.lib.ray.remote.shared_storage import Problem
from f.flexcore.lib.serving.estimators import (
    find_named_parameter,
    make_estimator,
    make_pipeline,
    needs_label_wrapper,
    wrap_labels,
)
from tests.ray.data import flowers

KINDS = {"size": "number", "petals": "number", "colour": "category"}
CATEGORIES = {"colour": ["blue", "red"]}


def table() -> pd.DataFrame:
    return pd.DataFrame([row | {"colour": "red" if row["petals"] % 2 else "blue"} for row in flowers(120)])


@pytest.mark.parametrize(
    ("algorithm", "task", "name"),
    [
        ("xgboost", "regression", "XGBRegressor"),
        ("XGBoost", "classification", "XGBClassifier"),
        ("lgbm", "regression", "LGBMRegressor"),
        ("lightgbm", "classification", "LGBMClassifier"),
        ("RandomForestRegressor", "regression", "RandomForestRegressor"),
        ("Ridge", "regression", "Ridge"),
        ("SVC", "classification", "SVC"),
        ("MLPClassifier", "classification", "MLPClassifier"),
        ("GaussianNB", "classification", "GaussianNB"),
    ],
)
def test_an_algorithm_is_known_by_its_name(algorithm: str, task: str, name: str) -> None:
    assert type(make_estimator(algorithm, task, {}, 2)).__name__ == name


@pytest.mark.parametrize(
    ("algorithm", "task", "parameters", "subject", "text"),
    [
        ("RandomForrestRegressor", "regression", {}, "algorithm", "RandomForestRegressor"),
        ("xgbost", "regression", {}, "algorithm", "xgboost"),
        ("KMeans", "regression", {}, "algorithm", "No algorithm"),
        ("os.system", "regression", {}, "algorithm", "No algorithm"),
        ("LogisticRegression", "regression", {}, "algorithm", "does classification"),
        ("RandomForestRegressor", "classification", {}, "algorithm", "RandomForestClassifier"),
        ("VotingRegressor", "regression", {}, "algorithm", "needs other estimators"),
        ("Ridge", "regression", {"alhpa": 1}, "parameters.alhpa", "alpha"),
        ("Ridge", "regression", {"n_estimators": 10}, "parameters.n_estimators", "It has: alpha"),
        ("xgboost", "regression", {"max_deph": 3}, "parameters.max_deph", "max_depth"),
        ("lightgbm", "regression", {"leaves": 3}, "parameters.leaves", "num_leaves"),
    ],
)
def test_an_unknown_algorithm_or_parameter_is_told_with_the_nearest_names(
    algorithm: str, task: str, parameters: dict[str, Any], subject: str, text: str
) -> None:
    with pytest.raises(Problem) as caught:
        make_estimator(algorithm, task, parameters, 1)
    told = caught.value.flexcore
    assert told["subject"] == subject
    assert text in f"{told['message']} {told['remedy']}"


def test_parameters_left_empty_keep_their_defaults_and_a_seed_is_set() -> None:
    estimator = make_estimator("xgboost", "regression", {"max_depth": 3, "learning_rate": None, "eta": 0.1}, 2)
    given = estimator.get_params()
    assert (given["max_depth"], given["learning_rate"], given["random_state"], given["n_jobs"]) == (3, None, 0, 2)


@pytest.mark.parametrize(
    ("algorithm", "parameters", "subject"),
    [
        ("Ridge", {"alpha": -1}, "parameters.alpha"),
        ("xgboost", {"max_depth": "deep"}, "parameters.max_depth"),
        ("lightgbm", {"num_leaves": "many"}, "parameters.num_leaves"),
        ("RandomForestRegressor", {"n_estimators": 0}, "parameters.n_estimators"),
    ],
)
def test_a_parameter_that_the_library_refuses_is_told_by_name(
    algorithm: str, parameters: dict[str, Any], subject: str
) -> None:
    pipeline = make_pipeline(make_estimator(algorithm, "regression", parameters, 1), KINDS, CATEGORIES)
    rows = table()
    with pytest.raises(Exception) as caught:
        pipeline.fit(rows[list(KINDS)], rows["size"])
    problem = find_named_parameter(caught.value, parameters)
    assert problem is not None
    assert problem.flexcore["subject"] == subject


def test_an_error_about_something_else_blames_no_parameter() -> None:
    assert find_named_parameter(ValueError("out of memory"), {"max_depth": 3}) is None


@pytest.mark.parametrize(
    "algorithm", ["xgboost", "lightgbm", "RandomForestRegressor", "Ridge", "SVR", "HistGradientBoostingRegressor"]
)
def test_a_pipeline_takes_raw_rows_with_gaps_text_numbers_and_unknown_categories(algorithm: str) -> None:
    pipeline = make_pipeline(make_estimator(algorithm, "regression", {}, 1), KINDS, CATEGORIES)
    rows = table()
    pipeline.fit(rows[list(KINDS)], rows["size"])
    strange = pd.DataFrame(
        [{"size": None, "petals": 3, "colour": "green"}, {"size": "2.5", "petals": None, "colour": None}], dtype=object
    )
    assert len(pipeline.predict(strange)) == 2


@pytest.mark.parametrize(
    ("labels", "needed"),
    # Also 0, 1, 2: a fold of a search may lack one of them.
    [([0, 1], True), ([0, 1, 2], True), ([1, 2], True), (["a", "b"], True), ([False, True], True), ([], False)],
)
def test_xgboost_gets_its_classes_as_it_likes_them(labels: list[Any], needed: bool) -> None:
    assert needs_label_wrapper(make_estimator("xgboost", "classification", {}, 1), labels) is needed
    assert needs_label_wrapper(make_estimator("SVC", "classification", {}, 1), labels) is False


def test_a_classifier_is_measured_against_the_most_frequent_class() -> None:
    rows = table()
    pipeline = make_pipeline(wrap_labels(make_estimator("xgboost", "classification", {}, 1)), KINDS, CATEGORIES)
    pipeline.fit(rows[list(KINDS)], rows["kind"])
    metrics = measure_model(pipeline, rows[list(KINDS)], rows["kind"], rows["kind"], "classification")
    assert metrics["accuracy"] == pytest.approx(1)
    assert metrics["auc"] == pytest.approx(1)
    assert metrics["baseline_accuracy"] == pytest.approx(rows["kind"].value_counts(normalize=True).iloc[0])


def test_what_is_not_defined_is_not_measured() -> None:
    rows = table()
    pipeline = make_pipeline(make_estimator("LinearSVC", "classification", {}, 1), KINDS, CATEGORIES)
    pipeline.fit(rows[list(KINDS)], rows["tall"])
    assert measure_model(pipeline, rows[list(KINDS)], rows["tall"], rows["tall"], "classification")["auc"] is None


@pytest.mark.parametrize("algorithm", ["xgboost", "LogisticRegression"])
def test_held_out_rows_of_one_class_have_no_area_and_no_nan(algorithm: str) -> None:
    rows = table()
    pipeline = make_pipeline(wrap_labels(make_estimator(algorithm, "classification", {}, 1)), KINDS, CATEGORIES)
    pipeline.fit(rows[list(KINDS)], rows["kind"])
    one = rows[rows["kind"] == "daisy"]
    metrics = measure_model(pipeline, one[list(KINDS)], one["kind"], rows["kind"], "classification")
    assert metrics["auc"] is None
    json.dumps(metrics, allow_nan=False)


def test_measures_that_are_no_numbers_are_null() -> None:
    assert drop_undefined({"r2": float("nan"), "rmse": float("inf"), "mae": 1.5, "auc": None}) == {
        "r2": None,
        "rmse": None,
        "mae": 1.5,
        "auc": None,
    }


def test_a_model_is_loaded_and_asked_in_a_fresh_process_before_it_counts(tmp_path: Any) -> None:
    rows = table()
    pipeline = make_pipeline(make_estimator("xgboost", "regression", {"n_estimators": 5}, 1), KINDS, CATEGORIES)
    pipeline.fit(rows[list(KINDS)], rows["size"])
    written = write_model(tmp_path, pipeline, "flowers", "1")
    assert any(item.startswith("xgboost") for item in written["requirements"])
    assert (tmp_path / "requirements.txt").read_text().split() == written["requirements"]
    examples = make_examples(rows[list(KINDS)], KINDS)
    assert len(verify_model(tmp_path, examples, written["format"])) == 1
    assert verify_model(tmp_path, [], written["format"]) == []
    (tmp_path / "model.ubj").write_bytes(b"damaged")
    with pytest.raises(Problem, match="cannot be loaded again"):
        verify_model(tmp_path, examples, written["format"])


def test_the_signature_names_raw_columns_and_the_kind_of_answer() -> None:
    signature = make_signature(KINDS | {"wild": "flag"}, "classification", ["a", "b"])
    assert [item["datatype"] for item in signature["inputs"]] == ["FP64", "FP64", "BYTES", "BOOL"]
    assert signature["outputs"] == [{"name": "predict", "datatype": "BYTES"}]


def test_the_example_is_a_typical_row_that_is_none_of_the_source() -> None:
    kinds = {"n": "number", "c": "category", "f": "flag", "t": "time"}
    rows = pd.DataFrame(
        {
            "n": [1.0, 123.456, 900.0, None],
            "c": ["a", "a", "b", None],
            "f": [1.0, 0.0, 0.0, None],
            "t": ["2024-05-17"] * 4,
        }
    )
    assert make_examples(rows, kinds) == [{"n": 123.0, "c": "a", "f": False, "t": "2024-05-01"}]
    # A value that stands in one row alone is that row's own.
    assert make_examples(rows.iloc[:1], {"c": "category", "n": "number"}) == [{"c": None, "n": 1.0}]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # The typical row is one of the source, so a part of it is left out; then there is none.
        ({"a": [1.0, 1.0, 2.0], "b": [0.0, 0.0, 1.0]}, [{"a": None, "b": 0.0}]),
        ({"a": [1.0, None, 1.0], "b": [0.0, 0.0, 0.0]}, [{"a": None, "b": None}]),
        ({"a": [1.0, None, None], "b": [0.0, 0.0, None]}, []),
    ],
)
def test_an_example_that_would_be_a_row_of_the_source_loses_values(
    values: dict[str, Any], expected: list[dict[str, Any]]
) -> None:
    assert make_examples(pd.DataFrame(values), {"a": "number", "b": "number"}) == expected
