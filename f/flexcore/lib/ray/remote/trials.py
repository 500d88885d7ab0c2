# requirements: flexcore_base
"""One set of parameters, scored by cross-validation in ever larger parts. Shipped as source.

A booster grows on all folds at once: a ninth of its rounds, a third, all. Another learner is fitted fold by fold. After
each part its score is told, so that a trial that is far behind the others can be ended before it has cost its whole.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from f.flexcore.lib.ray.remote import boosting, dataset, training_data
from f.flexcore.lib.serving import estimators

Json = dict[str, Any]
FOLDS = 3
# What a trial has had after each part, in ninths of its whole: a third of the trials goes on (ASHA, Li et al., 2020).
EFFORTS = (1, 3, 9)
REDUCTION = 3
SCORES = {"regression": "neg_root_mean_squared_error", "classification": "accuracy"}


def score_parts(
    algorithm: str, parameters: Json, learned: Any, plan: dataset.Plan, threads: int
) -> Iterator[tuple[int, float]]:
    """(effort, score so far) after each part; higher is better."""
    truth, rows = training_data.read_target(learned, plan), dataset.select_features(learned, plan)
    folds = split_folds(rows, truth, plan)
    library = boosting.find_library(algorithm)
    if library:
        yield from grow_folds(algorithm, library, parameters, (rows, truth), plan, folds, threads)
        return
    scores: list[float] = []
    # Of two folds the first is a third of the whole.
    for effort, (train, test) in zip(EFFORTS[-len(folds) :], folds, strict=True):
        pipeline = make_pipeline(algorithm, parameters, plan, threads)
        pipeline.fit(rows.iloc[train], truth.iloc[train])
        scores.append(score(pipeline.predict(rows.iloc[test]), truth.iloc[test], plan.task))
        yield effort, sum(scores) / len(scores)


def split_folds(rows: Any, truth: Any, plan: dataset.Plan) -> list[tuple[Any, Any]]:
    """As cross_val_score has them. Of a class with fewer rows than folds some folds have none, but no more folds than
    the largest class has rows."""
    from sklearn.model_selection import check_cv

    is_classes = plan.task == "classification"
    count = min(FOLDS, int(truth.value_counts().iloc[0])) if is_classes else FOLDS
    return list(check_cv(count, truth, classifier=is_classes).split(rows, truth))


def make_pipeline(algorithm: str, parameters: Json, plan: dataset.Plan, threads: int) -> Any:
    estimator = estimators.make_estimator(algorithm, plan.task, parameters, threads)
    return estimators.make_pipeline(estimator, plan.features, plan.categories, plan.times)


def grow_folds(
    algorithm: str,
    library: str,
    parameters: Json,
    learned: tuple[Any, Any],
    plan: dataset.Plan,
    folds: list[tuple[Any, Any]],
    threads: int,
) -> Iterator[tuple[int, float]]:
    """A booster on each fold, which goes on from part to part."""
    rows, truth = learned
    codes = {label: code for code, label in enumerate(plan.labels)}
    numbers = truth.map(codes).astype("int64") if plan.task == "classification" else truth
    pipeline = make_pipeline(algorithm, parameters, plan, threads)
    matrix = pipeline.named_steps["columns"].fit_transform(rows)
    total = boosting.count_rounds(pipeline.named_steps["model"])
    starts = [boosting.Start() for _ in folds]
    with tempfile.TemporaryDirectory() as name:
        for effort in EFFORTS:
            until = max(1, math.ceil(total * effort / EFFORTS[-1]))
            scores = []
            for number, (train, test) in enumerate(folds):
                folder = Path(name) / f"{number}-{effort}"
                folder.mkdir()
                estimator = estimators.make_estimator(algorithm, plan.task, parameters, threads)
                seen = boosting.Rows(matrix[train], numbers.iloc[train])
                fitted = grow(estimator, library, seen, plan, starts[number], until, folder)
                scores.append(score(fitted.predict(matrix[test]), numbers.iloc[test], plan.task))
                starts[number] = boosting.Start(folder, {"step": until})
            yield effort, sum(scores) / len(scores)


def grow(
    estimator: Any,
    library: str,
    rows: boosting.Rows,
    plan: dataset.Plan,
    start: boosting.Start,
    until: int,
    folder: Path,
) -> Any:
    """The estimator after `until` rounds, the model of which is in `folder`, too."""
    fit, save = boosting.FITS[library]
    rounds = boosting.Rounds({}, until, 0, 0, start, save, lambda *_: None)
    fitted = fit(estimator, rows, None, plan, rounds)
    save(fitted.get_booster() if library == "xgboost" else fitted.booster_, folder)
    return fitted


def score(guess: Any, truth: Any, task: str) -> float:
    from sklearn import metrics

    if task == "regression":
        return -math.sqrt(metrics.mean_squared_error(truth, guess))
    return float(metrics.accuracy_score(truth, guess))


def run_trial(config: Json, candidates: list[Json], algorithm: str, data: Any, threads: int) -> None:
    """Ray Tune's trainable: reports {trial, effort, score, seconds, curve} after each part, and what failed as `error`
    with the worst of scores."""
    from ray import tune

    learned, plan = data
    number, began, curve = int(config["trial"]), time.monotonic(), list[list[float]]()

    def report(effort: int, value: float | None, error: str = "") -> None:
        seconds = round(time.monotonic() - began, 3)
        ranked = -math.inf if value is None else value
        told = {"trial": number, "effort": effort, "score": ranked, "seconds": seconds, "curve": list(curve)}
        tune.report({**told, "error": error})

    try:
        for effort, value in score_parts(algorithm, candidates[number], learned, plan, threads):
            if not math.isfinite(value):
                report(EFFORTS[-1], None, "its score is not defined: the predictions are not finite numbers")
                return
            curve.append([effort / EFFORTS[-1], abs(value)])
            report(effort, value)
    except Exception as error:
        report(EFFORTS[-1], None, f"{type(error).__name__}: {error}"[:500])
