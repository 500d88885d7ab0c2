"""Class weights, rare classes and labels that are none, without Ray."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from f.flexcore.lib.ray.remote import class_weights, dataset
from f.flexcore.lib.ray.remote.shared_storage import Problem
from f.flexcore.lib.serving import estimators
from tests.ray.test_table import arrow, profiled


def plan_of(classes: list[Any]) -> dataset.Plan:
    rows = [{"x": number % 7, "y": value} for number, value in enumerate(classes)]
    plan = dataset.make_plan(profiled(rows), "y", [], "classification")
    counts = pd.Series([dataset.format_label(value) for value in classes]).value_counts()
    plan.class_counts = {str(name): int(count) for name, count in counts.items()}
    return plan


def test_balanced_classes_weigh_the_same_in_all() -> None:
    truth = pd.Series(["fine"] * 90 + ["fraud"] * 10)
    weights = class_weights.weigh_rows(truth, plan_of(list(truth)), ["balanced"])
    assert weights[:90].sum() == pytest.approx(50) and weights[90:].sum() == pytest.approx(50)


@pytest.mark.parametrize(
    ("classes", "given", "expected"),
    [
        (["a", "b", "b"] * 5, ["a=3"], [3, 1, 1]),
        ([True, False, False] * 5, ["true=2.5"], [2.5, 1, 1]),
        ([1, 2, 2] * 5, ["1=2", "2=0.5"], [2, 0.5, 0.5]),
        (["a=b", "c", "c"] * 5, ["a=b=2"], [2, 1, 1]),
    ],
)
def test_given_weights_are_those_of_the_classes_names(
    classes: list[Any], given: list[str], expected: list[Any]
) -> None:
    plan = plan_of(classes)
    class_weights.check_weights(given, plan)
    assert class_weights.weigh_rows(pd.Series(classes), plan, given)[:3].tolist() == expected


def test_without_weights_rows_have_none() -> None:
    assert class_weights.weigh_rows(pd.Series(["a", "b"]), plan_of(["a", "b"] * 6), []) is None


def test_a_class_that_is_none_is_named_with_the_nearest() -> None:
    with pytest.raises(Problem, match="'frau', which is no class of 'y'") as caught:
        class_weights.check_weights(["frau=2"], plan_of(["fraud", "fine"] * 6))
    assert caught.value.flexcore["remedy"] == "Did you mean 'fraud'? There are: fine, fraud."


def test_a_regression_has_no_weights() -> None:
    plan = dataset.make_plan(profiled([{"x": n, "y": n * 1.5} for n in range(20)]), "y", [], "auto")
    with pytest.raises(Problem, match="learned as a regression, which has no classes"):
        class_weights.check_weights(["balanced"], plan)


def test_an_algorithm_without_weights_is_named() -> None:
    pipeline = estimators.make_pipeline(
        estimators.make_estimator("KNeighborsClassifier", "classification", {}, 1), {"x": "number"}, {}
    )
    rows, truth = pd.DataFrame({"x": [0.0, 1.0] * 10}), pd.Series(["a", "b"] * 10)
    with pytest.raises(Problem, match="KNeighborsClassifier cannot weigh its rows") as caught:
        class_weights.fit_weighted(pipeline, rows, truth, [1.0] * 20, "KNeighborsClassifier")
    assert caught.value.flexcore["subject"] == "class_weights"


@pytest.mark.parametrize("algorithm", ["LogisticRegression", "RandomForestClassifier"])
def test_weights_change_what_is_learned(algorithm: str) -> None:
    def make() -> Any:
        return estimators.make_pipeline(
            estimators.make_estimator(algorithm, "classification", {}, 1), {"x": "number"}, {}
        )

    rows = pd.DataFrame({"x": [float(n % 10) for n in range(200)]})
    truth = pd.Series(["fraud" if n % 10 == 9 and n % 3 == 0 else "fine" for n in range(200)])
    plan = plan_of(list(truth))
    weights = class_weights.weigh_rows(truth, plan, ["fraud=50"])
    plain = class_weights.fit_weighted(make(), rows, truth, None, algorithm)
    weighed = class_weights.fit_weighted(make(), rows, truth, weights, algorithm)
    nine = pd.DataFrame({"x": [9.0]})
    assert weighed.predict_proba(nine)[0][1] > plain.predict_proba(nine)[0][1] + 0.2
    assert weighed.predict(nine).tolist() == ["fraud"]


def test_rare_classes_are_told_with_their_rows() -> None:
    seen = pd.Series(["often"] * 80 + ["seldom"] * 12 + ["once"])
    held = pd.Series(["often"] * 20 + ["seldom"] * 3)
    (note,) = class_weights.describe_rare_classes(seen, held)
    assert note.startswith("The class 'seldom' has 15 rows, of which 3 are held out")
    many = pd.Series([f"c{n}" for n in range(8)])
    notes = class_weights.describe_rare_classes(many, many)
    assert len(notes) == 6 and notes[-1] == "So few rows have 3 further classes"


@pytest.mark.parametrize(("nans", "rows"), [(1, 20), (20, 20)])
def test_labels_that_are_nan_are_refused_with_their_count(nans: int, rows: int) -> None:
    given = [{"x": n, "y": float("nan") if n < nans else n * 1.5} for n in range(rows)]
    with pytest.raises(Problem, match=f"'y' is NaN in {nans} of {rows} rows") as caught:
        dataset.make_plan(profiled(given), "y", [], "auto")
    assert caught.value.flexcore["type"] == "DataError"
    assert "write null" in caught.value.flexcore["remedy"]


def test_labels_that_are_null_are_left_out_and_features_may_be_nan() -> None:
    rows: list[dict[str, Any]] = [
        {"x": float("nan") if n == 1 else n, "y": None if n == 0 else n * 1.5} for n in range(12)
    ]
    plan = dataset.make_plan(profiled(rows), "y", [], "auto")
    assert dataset.prepare_table(arrow(rows), plan).num_rows == 11
