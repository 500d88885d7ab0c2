"""Models without pickle: what is written is read back with the same answers, and nothing that is not trusted."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.linear_model import Ridge
from sklearn.preprocessing import FunctionTransformer

from f.flexcore.lib.ray.remote import model_files, shared_storage
from f.flexcore.lib.serving import estimators, model_format
from tests.ray.data import flowers

KINDS = {"size": "number", "petals": "number", "tall": "flag", "colour": "category", "seen": "time"}
CATEGORIES = {"colour": ["blue", "red"]}
TIMES = {"seen": "%Y-%m-%d"}
LEARNED = {"regression": "score", "classification": "kind"}


def table() -> pd.DataFrame:
    rows = pd.DataFrame(flowers(120))
    rows["score"] = rows["size"] * 3 + rows["petals"]
    rows["colour"] = np.where(rows["petals"] % 2, "red", "blue")
    rows["seen"] = [f"2024-0{1 + number % 9}-1{number % 10}" for number in range(len(rows))]
    rows["tall"] = rows["tall"].astype("float64")
    rows.loc[::7, "size"] = None
    return rows


def fitted(algorithm: str, task: str, parameters: dict[str, Any] | None = None) -> tuple[Any, pd.DataFrame]:
    rows = table()
    estimator = estimators.make_estimator(algorithm, task, parameters or {}, 1)
    pipeline = estimators.make_pipeline(estimator, KINDS, CATEGORIES, TIMES)
    truth = rows[LEARNED[task]]
    if estimators.needs_label_wrapper(estimator, list(truth.unique()) if task == "classification" else []):
        pipeline.steps[-1] = ("model", estimators.wrap_labels(estimator))
    return pipeline.fit(rows[list(KINDS)], truth), rows[list(KINDS)]


STRANGE = pd.DataFrame(
    [
        {"size": None, "petals": 3.0, "tall": None, "colour": "green", "seen": "never"},
        {"size": 1e300, "petals": None, "tall": 1.0, "colour": None, "seen": None},
    ]
)
FEW = {"n_estimators": 5}


@pytest.mark.parametrize(
    ("algorithm", "task", "form", "parameters"),
    [
        ("xgboost", "regression", "xgboost-ubj", FEW),
        ("xgboost", "classification", "xgboost-ubj", FEW),
        ("lightgbm", "regression", "lightgbm-txt", FEW),
        ("lightgbm", "classification", "lightgbm-txt", FEW),
        ("Ridge", "regression", "sklearn-skops", {}),
        ("RandomForestClassifier", "classification", "sklearn-skops", FEW),
        ("HistGradientBoostingRegressor", "regression", "sklearn-skops", {"max_iter": 5}),
        ("HistGradientBoostingClassifier", "classification", "sklearn-skops", {"max_iter": 5}),
        ("GradientBoostingClassifier", "classification", "sklearn-skops", FEW),
        ("LogisticRegression", "classification", "sklearn-skops", {}),
        ("SVC", "classification", "sklearn-skops", {}),
        ("KNeighborsRegressor", "regression", "sklearn-skops", {"algorithm": "ball_tree"}),
        ("MLPRegressor", "regression", "sklearn-skops", {"max_iter": 20}),
        ("MLPClassifier", "classification", "sklearn-skops", {"max_iter": 20, "solver": "sgd"}),
        ("GaussianProcessRegressor", "regression", "sklearn-skops", {}),
        ("TweedieRegressor", "regression", "sklearn-skops", {}),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_model_answers_after_it_was_stored_as_it_did_before(
    tmp_path: Path, algorithm: str, task: str, form: str, parameters: dict[str, Any]
) -> None:
    pipeline, rows = fitted(algorithm, task, parameters)
    assert model_format.write_pipeline(tmp_path, pipeline) == form
    loaded = model_format.load_pipeline(tmp_path, form)
    asked = pd.concat([rows, STRANGE], ignore_index=True)
    expected = pipeline.predict(asked)
    if task == "classification":
        assert loaded.predict(asked).tolist() == expected.tolist()
    else:
        np.testing.assert_allclose(loaded.predict(asked), expected, rtol=1e-5, atol=1e-5)
    assert hasattr(loaded, "predict_proba") == hasattr(pipeline, "predict_proba")
    if hasattr(pipeline, "predict_proba"):
        np.testing.assert_allclose(loaded.predict_proba(asked), pipeline.predict_proba(asked), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("algorithm", ["xgboost", "lightgbm"])
def test_classes_of_two_and_flags_come_back_as_they_are(tmp_path: Path, algorithm: str) -> None:
    rows = table()
    estimator = estimators.make_estimator(algorithm, "classification", FEW, 1)
    pipeline = estimators.make_pipeline(estimator, {"size": "number"}, {})
    if estimators.needs_label_wrapper(estimator, [False, True]):
        pipeline.steps[-1] = ("model", estimators.wrap_labels(estimator))
    pipeline.fit(rows[["size"]], rows["tall"] > 0)
    loaded = model_format.load_pipeline(tmp_path, model_format.write_pipeline(tmp_path, pipeline))
    answers = loaded.predict(rows[["size"]])
    assert answers.tolist() == pipeline.predict(rows[["size"]]).tolist()
    assert {type(item) for item in answers.tolist()} == {bool}


def test_a_training_that_stopped_early_answers_by_its_best_iteration(tmp_path: Path) -> None:
    rows = table()
    estimator = estimators.make_estimator(
        "xgboost", "regression", {"n_estimators": 60, "early_stopping_rounds": 2, "eta": 0.9}, 1
    )
    columns = estimators.make_columns("XGBRegressor", {"petals": "number"}, {})
    matrix = columns.fit_transform(rows[["petals"]])
    rng = np.random.default_rng(0)
    estimator.fit(matrix, rng.normal(size=len(rows)), eval_set=[(matrix, rng.normal(size=len(rows)))], verbose=False)
    from sklearn.pipeline import Pipeline

    pipeline = Pipeline([("columns", columns), ("model", estimator)])
    assert estimator.best_iteration < 59
    loaded = model_format.load_pipeline(tmp_path, model_format.write_pipeline(tmp_path, pipeline))
    np.testing.assert_allclose(loaded.predict(rows[["petals"]]), pipeline.predict(rows[["petals"]]), rtol=1e-6)


@pytest.mark.parametrize("algorithm", ["xgboost", "lightgbm", "Ridge"])
def test_no_file_of_a_stored_model_is_a_pickle(tmp_path: Path, algorithm: str) -> None:
    pipeline, _ = fitted(algorithm, "regression")
    model_files.write_model(tmp_path, pipeline, "flowers", "1")
    names = {path.name for path in tmp_path.iterdir()}
    assert {"pipeline.json", "requirements.txt"} < names
    assert not {"model.joblib", "model-settings.json"} & names
    for path in tmp_path.iterdir():
        with pytest.raises(Exception, match=r".*"), path.open("rb") as file:
            pickle.load(file)


def test_mlservers_pickle_is_written_when_it_is_asked_for(tmp_path: Path) -> None:
    pipeline, rows = fitted("xgboost", "regression", FEW)
    written = model_files.write_model(tmp_path, pipeline, "flowers", "3", joblib=True)
    assert written["format"] == "xgboost-ubj"
    settings = json.loads((tmp_path / "model-settings.json").read_text())
    assert (settings["name"], settings["parameters"]["version"]) == ("flowers", "3")
    assert any(item.startswith("joblib==") for item in written["requirements"])
    loaded = joblib.load(tmp_path / "model.joblib")
    np.testing.assert_allclose(loaded.predict(rows), pipeline.predict(rows))


def problem(caught: pytest.ExceptionInfo[shared_storage.Problem]) -> dict[str, Any]:
    return caught.value.flexcore


def test_a_pickle_is_loaded_with_an_explicit_yes_alone(tmp_path: Path) -> None:
    pipeline, rows = fitted("Ridge", "regression")
    joblib.dump(pipeline, tmp_path / "model.joblib")
    with pytest.raises(shared_storage.Problem, match="which runs whatever it holds") as caught:
        model_format.load_pipeline(tmp_path, "sklearn-joblib")
    assert problem(caught)["subject"] == "settings.pickle"
    assert "Train the model again" in problem(caught)["remedy"]
    loaded = model_format.load_pipeline(tmp_path, "sklearn-joblib", allow_pickle=True)
    np.testing.assert_allclose(loaded.predict(rows), pipeline.predict(rows))


class Payload:
    """What a pickle of an attacker would be."""


def spoiled(folder: Path, content: Any) -> None:
    pipeline, _ = fitted("Ridge", "regression")
    model_format.write_pipeline(folder, pipeline)
    skops.io.dump(content, folder / "model.skops")


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (FunctionTransformer(pd.read_pickle), "pandas.read_pickle"),
        (FunctionTransformer(pd.DataFrame.eval), "pandas"),
        (Payload(), "Payload"),
    ],
)
def test_types_that_are_not_trusted_are_named_and_nothing_is_loaded(tmp_path: Path, model: Any, named: str) -> None:
    spoiled(tmp_path, {"model": model, "steps": {}})
    with pytest.raises(shared_storage.Problem, match=r"not trusted: .*nothing of it was loaded") as caught:
        model_format.load_pipeline(tmp_path, "sklearn-skops")
    assert problem(caught)["type"] == "ManifestMismatch"
    assert any(named in item for item in problem(caught)["details"]["types"])
    assert named in str(caught.value)


def test_an_estimator_of_another_class_or_without_its_steps_is_damage(tmp_path: Path) -> None:
    spoiled(tmp_path, {"model": FunctionTransformer(), "steps": {}})
    with pytest.raises(shared_storage.Problem, match="holds FunctionTransformer instead of Ridge"):
        model_format.load_pipeline(tmp_path, "sklearn-skops")
    spoiled(tmp_path, {"model": Ridge(), "steps": {}})
    with pytest.raises(shared_storage.Problem, match="step fill of numbers"):
        model_format.load_pipeline(tmp_path, "sklearn-skops")


def test_an_estimator_that_needs_pickle_is_refused_before_it_is_stored(tmp_path: Path) -> None:
    pipeline, _ = fitted("Ridge", "regression")
    pipeline.named_steps["model"].own = Payload()
    with pytest.raises(shared_storage.Problem, match=r"does not store without pickle: .*Payload") as caught:
        model_format.write_pipeline(tmp_path, pipeline)
    assert problem(caught)["subject"] == "algorithm"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (None, "cannot be read"),
        ("no json", "cannot be read"),
        ({"layout": 2}, "layout 2"),
        ({"format": "xgboost-ubj"}, "'xgboost-ubj' instead of"),
        ({"labels": ...}, "layout 1"),
    ],
)
def test_a_description_that_does_not_fit_is_damage(tmp_path: Path, change: Any, text: str) -> None:
    pipeline, _ = fitted("Ridge", "regression")
    model_format.write_pipeline(tmp_path, pipeline)
    path = tmp_path / "pipeline.json"
    if change is None:
        path.unlink()
    elif isinstance(change, str):
        path.write_text(change)
    else:
        described = json.loads(path.read_text()) | change
        path.write_text(json.dumps({name: value for name, value in described.items() if value is not ...}))
    with pytest.raises(shared_storage.Problem, match=text):
        model_format.load_pipeline(tmp_path, "sklearn-skops")


@pytest.mark.parametrize("algorithm", ["xgboost", "lightgbm", "Ridge"])
def test_a_damaged_file_is_said_to_be_that(tmp_path: Path, algorithm: str) -> None:
    pipeline, _ = fitted(algorithm, "regression")
    form = model_format.write_pipeline(tmp_path, pipeline)
    (tmp_path / model_format.FILES[form]).write_bytes(b"damaged")
    with pytest.raises(shared_storage.Problem, match="files are damaged: model") as caught:
        model_format.load_pipeline(tmp_path, form)
    assert problem(caught)["type"] == "ManifestMismatch"


def test_an_unknown_format_is_refused_with_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(shared_storage.Problem, match="format 'onnx'") as caught:
        model_format.load_pipeline(tmp_path, "onnx")
    assert "xgboost-ubj" in problem(caught)["details"]["formats"]
