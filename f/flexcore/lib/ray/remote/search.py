# requirements: flexcore_base
"""Looks for better parameters of an algorithm, as a Ray job. Shipped as source.

Random search (Bergstra and Bengio, 2012) with scikit-learn's sampler: the first trial is the algorithm as it was asked
for, so that a search never ends with something worse. Each trial is a Ray task that scores its parameters by cross
validation on the rows that a training would learn from; the rows held out to measure the model are never looked at.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from f.flexcore.lib.ray.remote import dataset, estimators, holdout, shared_storage, training_data

Json = dict[str, Any]
FOLDS = 3
SEED = 0
SCORES = {"regression": "neg_root_mean_squared_error", "classification": "accuracy"}


def search_space(algorithm: str) -> Json:
    """What each parameter may be: a list, or a distribution of scipy. Raises InvalidInput for an algorithm without."""
    from scipy.stats import loguniform, randint, uniform

    name = estimators.ALIASES.get(algorithm.lower(), algorithm.lower())
    rate, share = loguniform(0.01, 0.3), uniform(0.5, 0.5)
    boosting = {"n_estimators": randint(50, 600), "learning_rate": rate, "subsample": share, "colsample_bytree": share}
    forest = {"n_estimators": randint(100, 500), "max_depth": [None, 5, 10, 20], "min_samples_leaf": randint(1, 20)}
    spaces: Json = {
        "xgboost": boosting | {"max_depth": randint(3, 11), "min_child_weight": randint(1, 20)},
        "lightgbm": boosting | {"num_leaves": randint(15, 128), "min_child_samples": randint(5, 50)},
        "randomforest": forest | {"max_features": [0.3, 0.6, 1.0]},
        "extratrees": forest | {"max_features": [0.3, 0.6, 1.0]},
        "histgradientboosting": {
            "max_iter": randint(50, 600),
            "learning_rate": rate,
            "max_leaf_nodes": randint(15, 128),
            "l2_regularization": loguniform(1e-4, 10),
        },
        "ridge": {"alpha": loguniform(1e-3, 1e3)},
        "lasso": {"alpha": loguniform(1e-4, 1e2)},
        "logisticregression": {"C": loguniform(1e-3, 1e3)},
    }
    space = spaces.get(name.removesuffix("regressor").removesuffix("classifier")) or spaces.get(name)
    if space is None:
        known = "xgboost, lightgbm, RandomForest…, ExtraTrees…, HistGradientBoosting…, Ridge, Lasso, LogisticRegression"
        raise shared_storage.Problem(
            "InvalidInput", f"No search space is known for {algorithm}", "algorithm", f"Choose one of: {known}."
        )
    return dict(space)


def candidates(algorithm: str, given: Json, trials: int) -> list[Json]:
    """The parameters of each trial: those given, then random ones around them; what is given is never changed."""
    from sklearn.model_selection import ParameterSampler

    fixed = {name: value for name, value in given.items() if value is not None}
    space = {name: values for name, values in search_space(algorithm).items() if name not in fixed}
    drawn = ParameterSampler(space, trials - 1, random_state=SEED) if space and trials > 1 else ()
    return [fixed, *({**fixed, **{name: to_plain(value) for name, value in item.items()}} for item in drawn)]


def to_plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def run(parameters: Json, storage: Json) -> Json:
    """{parameters, score, metric, trials: [{parameters, score, seconds}], stopped}"""
    training_data.check_packages(parameters["requires"])
    store = shared_storage.RemoteStore(storage)
    store.check_shared()
    source = parameters["source"]
    store.verify(source["uri"], source["files"])
    cpus = training_data.connect()
    rows, plan = training_data.prepare_rows(parameters, store, cpus)
    held = training_data.choose_held_out_rows(rows, plan, float(parameters["test_fraction"]), cpus)
    learned = rows.map_batches(
        holdout.select_shared_part, fn_args=[held, False], batch_format="pyarrow", batch_size=None, num_cpus=cpus
    ).to_pandas()
    if plan.task == "classification":
        check_classes(learned[plan.target], plan.target)
    chosen = candidates(parameters["algorithm"], parameters["parameters"], int(parameters["trials"]))
    # A wrong algorithm or parameter is reported before anything is started for it.
    estimators.make_estimator(parameters["algorithm"], plan.task, chosen[0], 1)
    print(f"Trying {len(chosen)} sets of parameters of {parameters['algorithm']}")
    return run_trials(parameters, learned, plan, chosen)


def check_classes(classes: Any, target: str) -> None:
    """Raises a DataError when no two classes can stand on both sides of a fold."""
    if (classes.value_counts() >= 2).sum() < 2:
        raise shared_storage.Problem(
            "DataError",
            f"Only one class of {target!r} has two rows to learn from, so trials cannot be compared",
            "target_column",
            "Extract more data, choose another target column, or train without a search.",
        )


def run_trials(parameters: Json, learned: Any, plan: dataset.Plan, chosen: list[Json]) -> Json:
    import ray

    cpus = float(parameters["cpus_per_worker"])
    task: Any = ray.remote(num_cpus=cpus, max_retries=1, **training_data.placement_options(parameters))(score_trial)
    data = ray.put((learned, plan))
    threads = max(1, math.floor(cpus))
    running = {task.remote(parameters["algorithm"], item, data, threads): item for item in chosen}
    trials, stopped = gather_trials(ray, running, time.monotonic() + float(parameters["search_s"]))
    done = [item for item in trials if item["score"] is not None]
    if not done:
        raise no_trial_problem(trials, stopped, parameters)
    best = max(done, key=lambda item: item["score"])
    metric = SCORES[plan.task]
    return {
        "parameters": best["parameters"],
        "metric": metric.removeprefix("neg_"),
        "score": abs(best["score"]),
        "first_score": abs(done[0]["score"]) if done[0]["parameters"] == chosen[0] else None,
        "trials": [{**item, "score": None if item["score"] is None else abs(item["score"])} for item in trials],
        "stopped": stopped,
    }


def gather_trials(
    ray: Any, running: dict[Any, Json], deadline: float, clock: Callable[[], float] = time.monotonic
) -> Any:
    """(the finished trials in the order asked, whether the time ended first)"""
    order, finished, waiting = list(running), dict[Any, Json](), list(running)
    while waiting and clock() < deadline:
        ready, waiting = ray.wait(waiting, num_returns=1, timeout=max(0.0, deadline - clock()))
        for item in ready:
            finished[item] = {"parameters": running[item], **read_outcome(ray, item)}
            print(f"{len(finished)} of {len(order)}: {finished[item]['score']} {finished[item]['parameters']}")
    for item in waiting:
        ray.cancel(item, force=True)
    return [finished[item] for item in order if item in finished], bool(waiting)


def read_outcome(ray: Any, item: Any) -> Json:
    try:
        score, seconds = ray.get(item)
    except Exception as error:
        cause = getattr(error, "cause", None) or error
        return {"score": None, "seconds": None, "error": f"{type(cause).__name__}: {cause}"[:500]}
    if not math.isfinite(score):
        return {
            "score": None,
            "seconds": seconds,
            "error": "its score is not defined: the predictions are not finite numbers",
        }
    return {"score": score, "seconds": seconds}


def no_trial_problem(trials: list[Json], stopped: bool, parameters: Json) -> shared_storage.Problem:
    if trials:
        reason = trials[0]["error"]
        return shared_storage.Problem(
            "InvalidInput", f"No trial succeeded: {reason}", "parameters", "Correct the parameters."
        )
    assert stopped
    remedy = "Give it more time (search_s), fewer rows, or CPUs that are free."
    return shared_storage.Problem(
        "DeadlineExceeded", f"No trial ended within {parameters['search_s']} s", "search_s", remedy
    )


def score_trial(algorithm: str, parameters: Json, data: Any, threads: int) -> tuple[float, float]:
    """(score, higher is better; seconds) of one set of parameters."""
    from sklearn.model_selection import cross_val_score

    began = time.monotonic()
    learned, plan = data
    estimator = estimators.make_estimator(algorithm, plan.task, parameters, threads)
    pipeline = estimators.make_pipeline(estimator, plan.features, plan.categories, plan.times)
    if estimators.needs_label_wrapper(estimator, plan.labels):
        pipeline.steps[-1] = ("model", estimators.wrap_labels(estimator))
    truth = training_data.read_target(learned, plan)
    rows = dataset.select_features(learned, plan)
    # Of a class with fewer rows than folds some folds have none, but no more folds than the largest class has rows.
    folds = FOLDS if plan.task == "regression" else min(FOLDS, int(truth.value_counts().iloc[0]))
    scores = cross_val_score(pipeline, rows, truth, cv=folds, scoring=SCORES[plan.task], error_score="raise")
    return float(scores.mean()), round(time.monotonic() - began, 3)
