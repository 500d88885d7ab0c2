"""Rankings without Ray: whole groups on one side, NDCG, and what is no ranking."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from f.flexcore.lib.ray.remote import boosting, dataset, holdout, ranking, training_data
from f.flexcore.lib.ray.remote.shared_storage import Problem
from f.flexcore.lib.serving import estimators, model_format
from tests.ray.test_table import arrow, profiled

Rows = list[dict[str, Any]]


def searches(queries: int = 40, shown: int = 12) -> Rows:
    generator = np.random.default_rng(1)
    return [
        {"query": f"q{query}", "match": float(match), "age": float(generator.random()), "grade": int(match * 4)}
        for query in range(queries)
        for match in generator.random(shown)
    ]


def prepared(rows: Rows) -> tuple[pd.DataFrame, dataset.Plan]:
    """As Ray hands it on: a pandas table of Arrow's types."""
    plan = dataset.make_plan(profiled(rows), "grade", [], "ranking", group="query")
    return dataset.prepare_table(arrow(rows), plan).to_pandas(types_mapper=pd.ArrowDtype), plan


def split(rows: Rows) -> tuple[pd.DataFrame, pd.DataFrame, dataset.Plan, list[str]]:
    frame, plan = prepared(rows)
    held, notes = holdout.choose_rows(frame, plan, 0.2)
    chosen = np.isin(frame[dataset.ROW].to_numpy(dtype="uint64"), held)
    seen, test = (ranking.order_by_group(frame[side]) for side in (~chosen, chosen))
    return seen, test, plan, notes


def test_no_group_stands_on_both_sides_whatever_the_order_of_the_rows() -> None:
    seen, test, plan, notes = split(searches())
    assert plan.features == {"match": "number", "age": "number"}
    assert not set(seen[dataset.GROUP]) & set(test[dataset.GROUP])
    assert test[dataset.GROUP].nunique() == 8 and len(test) == 96
    assert notes == ["40 groups are ranked, of which 8 are held out as a whole"]
    assert set(split(searches()[::-1])[1][dataset.GROUP]) == set(test[dataset.GROUP])


@pytest.mark.parametrize("algorithm", ["xgboost", "lightgbm"])
def test_the_boosters_learn_an_order(tmp_path: Any, algorithm: str) -> None:
    seen, test, plan, _ = split(searches())
    estimator = (
        estimators.make_estimator(algorithm, "ranking", {"n_estimators": 20, "min_child_samples": 5}, 1)
        if (algorithm == "lightgbm")
        else estimators.make_estimator(algorithm, "ranking", {"n_estimators": 20}, 1)
    )
    pipeline = estimators.make_pipeline(estimator, plan.features, plan.categories)
    columns = pipeline.named_steps["columns"]
    learned = boosting.Rows(
        columns.fit_transform(dataset.select_features(seen, plan)),
        training_data.read_target(seen, plan),
        None,
        ranking.list_group_codes(seen),
    )
    rounds = boosting.Rounds({}, 20, 0, 0, boosting.Start(), boosting.FITS[algorithm][1], lambda *_: None)
    pipeline.steps[-1] = ("model", boosting.FITS[algorithm][0](estimator, learned, None, plan, rounds))
    measured = ranking.measure(
        pipeline.predict(dataset.select_features(test, plan)),
        training_data.read_target(test, plan),
        ranking.list_group_codes(test),
    )
    assert measured["test_groups"] == 8
    assert measured["ndcg_at_10"] > 0.95 > measured["baseline_ndcg_at_10"]
    loaded = model_format.load_pipeline(tmp_path, model_format.write_pipeline(tmp_path, pipeline))
    rows = dataset.select_features(test, plan)
    np.testing.assert_allclose(loaded.predict(rows), pipeline.predict(rows), rtol=1e-5, atol=1e-6)


def test_the_measure_is_the_mean_over_groups_that_have_an_order() -> None:
    codes = np.array([0, 0, 1, 1, 2])
    measured = ranking.measure([2, 1, 1, 2, 1], [1, 0, 0, 0, 1], codes)
    assert measured["ndcg_at_10"] == pytest.approx(1)
    # Of the two orders of the only group with one, the other has 1 / log2(3).
    assert measured["baseline_ndcg_at_10"] == pytest.approx((1 + 1 / np.log2(3)) / 2)
    assert (measured["test_groups"], measured["test_rows"]) == (1, 5)
    assert ranking.measure([1.0], [0.0], np.array([0]))["ndcg_at_10"] is None


@pytest.mark.parametrize(
    ("rows", "text", "subject"),
    [
        ([{"query": None if n == 3 else "a", "x": n, "grade": n % 3} for n in range(20)], "empty in 1 of 20", "group_"),
        ([{"query": f"q{n % 3}", "x": n, "grade": n % 3} for n in range(20)], "of 3 groups", "group_column"),
        ([{"query": "q", "x": n, "grade": "good" if n % 2 else "bad"} for n in range(20)], "be a ranking", "task"),
    ],
)
def test_what_cannot_be_ranked_is_named(rows: Rows, text: str, subject: str) -> None:
    with pytest.raises(Problem, match=text) as caught:
        split(rows)
    assert caught.value.flexcore["subject"].startswith(subject)


@pytest.mark.parametrize("grade", [-1.0, 0.5, 40.0])
def test_grades_that_are_no_relevance_are_refused_with_their_count(grade: float) -> None:
    with pytest.raises(Problem, match=rf"no relevance in 2 of 5 rows, e\.g\. {grade:g}") as caught:
        ranking.check_relevance(pd.Series([0, 1, 2, grade, grade]), "grade")
    assert "from 0 (not relevant) to 31" in caught.value.flexcore["remedy"]


def test_the_tables_type_is_the_one_that_ray_hands_on() -> None:
    frame, _ = prepared(searches(5))
    assert frame[dataset.GROUP].dtype == pd.ArrowDtype(pa.uint64())
