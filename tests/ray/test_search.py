"""A search for parameters: what is drawn, how a trial is scored, what is kept, what it may cost. Without Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sklearn.model_selection import cross_val_score

from f.flexcore.lib.core.errors import InvalidInput
from f.flexcore.lib.core.resources import Settings
from f.flexcore.lib.ray.remote import search, trials
from f.flexcore.lib.ray.remote.checkpoints import Generation
from f.flexcore.lib.ray.remote.dataset import Plan, make_plan, prepare
from f.flexcore.lib.ray.remote.search_space import check_space, draw_candidates, find_default_space
from f.flexcore.lib.ray.remote.shared_storage import Problem, RemoteStore
from f.flexcore.lib.ray.search_job import SEARCH, SearchRequest, check
from tests.ray.learning import parts_of, stream_of
from tests.ray.test_learning import jsonl

Json = dict[str, Any]
SPACE: Json = {
    "a": {"choice": [None, 1]},
    "b": {"uniform": [0.5, 1]},
    "c": {"loguniform": [0.001, 1000]},
    "d": {"randint": [3, 5]},
    "e": {"lograndint": [1, 100]},
    "f": {"quniform": [0, 1, 0.25]},
}


def test_the_first_candidate_is_what_was_asked_for_and_what_is_given_stays() -> None:
    drawn = draw_candidates(SPACE, {"d": 9, "g": "x", "h": None}, 40)
    assert drawn[0] == {"d": 9, "g": "x"}
    assert all(item["d"] == 9 and item["g"] == "x" for item in drawn)
    assert drawn == draw_candidates(SPACE, {"g": "x", "d": 9}, 40)
    # More trials are the same ones, and further.
    assert draw_candidates(SPACE, {"d": 9, "g": "x"}, 10) == drawn[:10]


def test_what_is_drawn_lies_within_its_bounds() -> None:
    drawn = draw_candidates(SPACE, {}, 200)[1:]
    assert len(drawn) == 199
    assert {item["a"] for item in drawn} == {None, 1}
    assert all(0.5 <= item["b"] <= 1 and 0.001 <= item["c"] <= 1000 for item in drawn)
    assert {item["d"] for item in drawn} == {3, 4}
    assert all(1 <= item["e"] < 100 and isinstance(item["e"], int) for item in drawn)
    assert {item["f"] for item in drawn} == {0, 0.25, 0.5, 0.75, 1}
    # On a logarithmic scale half of what is drawn lies below the middle of the exponents.
    assert 70 < sum(item["c"] < 1 for item in drawn) < 130


def test_a_small_space_is_tried_once_each() -> None:
    drawn = draw_candidates({"a": {"choice": [1, 2, 3]}}, {}, 50)
    assert sorted(item.get("a", 0) for item in drawn) == [0, 1, 2, 3]


@pytest.mark.parametrize("algorithm", ["xgb", "lightgbm", "RandomForestRegressor", "ExtraTreesClassifier", "Ridge"])
def test_an_algorithm_has_a_space_of_its_own(algorithm: str) -> None:
    space = find_default_space(algorithm)
    assert space and check_space(space) == space


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([1, 2], "a: write what to draw as one of choice, uniform"),
        ({"normal": [0, 1]}, "a: write what to draw as one of choice, uniform"),
        ({"choice": []}, "a: choice needs a list of values"),
        ({"uniform": [1]}, "a: uniform needs the numbers [low, high]"),
        ({"uniform": [1, "x"]}, "a: uniform needs the numbers [low, high]"),
        ({"uniform": [1, float("nan")]}, "a: uniform needs the numbers [low, high]"),
        ({"uniform": [2, 1]}, "a: uniform needs a low that is below its high, not 2 and 1"),
        ({"loguniform": [0, 1]}, "a: loguniform needs a low above 0"),
        ({"randint": [1, 2.5]}, "a: randint needs whole numbers"),
        ({"quniform": [1, 2]}, "a: quniform needs the numbers [low, high, step]"),
        ({"quniform": [1, 2, 0]}, "a: quniform needs a step above 0"),
    ],
)
def test_a_space_that_cannot_be_drawn_from_is_refused_before_anything_runs(values: Any, text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        SEARCH.parse({"source": {}, "target_column": "y", "space": {"a": values}})
    assert text in str(caught.value) and caught.value.subject == "space"


def test_a_limit_of_cost_needs_a_price() -> None:
    request = SearchRequest(target_column="y", search_usd=1)
    with pytest.raises(InvalidInput, match=r"runtimes\.ray\.price\.cpu_hour") as caught:
        check(request, None, Settings())
    assert caught.value.subject == "search_usd"
    check(request, None, Settings.model_validate({"runtimes": {"ray": {"price": {"cpu_hour": 0.05}}}}))


def learned(folder: Path, target: str) -> tuple[Any, Plan]:
    rows = [{"x": n % 17, "z": n % 5, "y": n % 17 * 2.5 + n % 3, "k": "abc"[n % 17 % 3]} for n in range(240)]
    files = jsonl(folder, rows)
    plan = make_plan(stream_of("jsonl", files), target, ["x", "z"], "auto")
    return pa.concat_tables(prepare(pa.Table.from_pylist(parts_of("jsonl", files)), plan)).to_pandas(), plan


@pytest.mark.parametrize("target", ["y", "k"])
@pytest.mark.parametrize("algorithm", ["xgboost", "lightgbm"])
def test_a_booster_grows_over_its_parts_to_what_cross_validation_says(
    tmp_path: Path, algorithm: str, target: str
) -> None:
    rows, plan = learned(tmp_path, target)
    parameters = {"n_estimators": 18, "learning_rate": 0.1}
    parts = list(trials.score_parts(algorithm, parameters, rows, plan, 1))
    assert [effort for effort, _ in parts] == [1, 3, 9]
    scores = [value for _, value in parts]
    assert scores == sorted(scores) and (target == "k" or scores[0] < scores[-1])
    pipeline = trials.make_pipeline(algorithm, parameters, plan, 1)
    truth = rows[target].map({"a": 0, "b": 1, "c": 2}) if target == "k" else rows[target]
    whole = cross_val_score(pipeline, rows[["x", "z"]], truth, cv=3, scoring=trials.SCORES[plan.task])
    assert scores[-1] == pytest.approx(whole.mean(), abs=0.02)


def test_another_learner_is_scored_fold_by_fold(tmp_path: Path) -> None:
    rows, plan = learned(tmp_path, "y")
    parts = list(trials.score_parts("Ridge", {"alpha": 2.0}, rows, plan, 1))
    assert [effort for effort, _ in parts] == [1, 3, 9]
    pipeline = trials.make_pipeline("Ridge", {"alpha": 2.0}, plan, 1)
    whole = cross_val_score(pipeline, rows[["x", "z"]], rows["y"], cv=3, scoring=trials.SCORES["regression"])
    assert parts[-1][1] == pytest.approx(whole.mean())


def log(folder: Path, number: int, fingerprint: Json | None = None) -> search.TrialLog:
    store = RemoteStore({"uri": f"file://{folder}"})
    generation = Generation(store, f"file://{folder}/fc-1/{number}")
    return search.TrialLog(generation, fingerprint or {"algorithm": "Ridge"})


def told(trial: int, score: float, effort: int = 9, seconds: float = 10, error: str = "") -> Json:
    return {"trial": trial, "score": score, "effort": effort, "seconds": seconds, "curve": [[1.0, 2.0]], "error": error}


@pytest.mark.fault(23, "I1", "I2")
def test_trials_that_were_tried_before_the_head_died_are_not_tried_again(tmp_path: Path) -> None:
    first = log(tmp_path, 1)
    first.add(told(0, -3))
    first.add(told(2, -1, effort=3))
    second = log(tmp_path, 2)
    assert set(second.ended) == {0, 2} and second.compute_s() == 20
    assert "2 of them were tried before the head failed" in second.describe()
    other = log(tmp_path, 3, {"algorithm": "Lasso"})
    assert not other.ended and other.describe() == ""


PLAN = Plan("y", "number", "regression", {}, {})
ASKED: Json = {"search_s": 60, "search_usd": None, "cpu_hour_usd": 0.36, "cpus_per_worker": 2.0}


def test_the_best_is_one_that_was_scored_as_a_whole(tmp_path: Path) -> None:
    kept = log(tmp_path, 1)
    for item in (told(0, -3), told(1, -0.5, effort=1), told(2, -2), told(3, float("-inf"), error="no"), told(4, -2)):
        kept.add(item)
    result = search.summarize(ASKED, [{"n": n} for n in range(5)], kept, PLAN, "")
    assert result["parameters"] == {"n": 2} and (result["score"], result["first_score"]) == (2, 3)
    assert [item["trial"] for item in result["trials"]] == [2, 4, 0, 1, 3]
    assert [item["ended_early"] for item in result["trials"]] == [False, False, False, True, False]
    assert result["trials"][-1]["score"] is None and result["trials"][-1]["error"] == "no"
    # 50 s of 2 CPUs at 0.36 USD an hour.
    assert result["cost_usd"] == pytest.approx(0.01)


def test_when_no_trial_succeeds_the_first_reason_is_told(tmp_path: Path) -> None:
    kept = log(tmp_path, 1)
    kept.add(told(0, float("-inf"), error="ValueError: alpha must be positive"))
    with pytest.raises(Problem, match="No trial succeeded: ValueError: alpha must be positive"):
        search.summarize(ASKED, [{}], kept, PLAN, "")


def test_when_no_trial_ends_in_time_more_time_is_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="No trial ended within 60 s") as caught:
        search.summarize(ASKED, [{}], log(tmp_path, 1), PLAN, "time")
    assert caught.value.flexcore["type"] == "DeadlineExceeded" and "search_s" in caught.value.flexcore["remedy"]


def test_a_search_is_over_when_its_cost_or_its_time_is_spent(tmp_path: Path) -> None:
    kept = log(tmp_path, 1)
    budget = search.Budget(ASKED | {"search_usd": 0.01}, kept)
    kept.add(told(0, -3, seconds=40))
    assert budget.over() == ""
    budget.running[1] = 12
    assert budget.over() == "cost"
    budget.running.clear()
    kept.earlier_s = 60
    assert budget.over() == "time"
    assert search.Budget(ASKED | {"cpu_hour_usd": None}, log(tmp_path, 2)).cost() is None
