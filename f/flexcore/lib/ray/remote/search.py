# requirements: flexcore_base
"""Looks for better parameters of an algorithm, as a Ray job. Shipped as source.

Ray Tune runs the trials; asynchronous successive halving ends those that are far behind. The first trial is the
algorithm as it was asked for; the rows held out to measure the model are never looked at. What a trial has found is
kept in the store: when the head dies, the next attempt tries only what is left.
"""

from __future__ import annotations

import logging
import math
import os
import tempfile
from typing import Any

from f.flexcore.lib.ray.remote import (
    checkpoints,
    dataset,
    recovery,
    search_space,
    shared_storage,
    train,
    training_data,
    trial_log,
    trials,
    validation,
)
from f.flexcore.lib.serving import estimators

Json = dict[str, Any]
# Of the request, what only says how long and with how much to search.
BUDGET = {"search_s", "search_usd", "cpu_hour_usd", "publish_model"}
TUNE_SETTINGS = {
    "RAY_AIR_NEW_OUTPUT": "0",
    # Tune's own files of each trial (CSV, JSON, TensorBoard) are nobody's.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
EFFORT = trials.EFFORTS[-1]
# What a training of the best parameters is not asked by a search.
TRAIN_DEFAULTS = {
    "num_workers": 1,
    "use_gpu": False,
    "early_stopping_rounds": 0,
    "checkpoint_every": 50,
    "max_failures": 3,
    "resume_from": "",
    "group_column": "",
    "class_weights": [],
    "memory_gib_per_worker": 0,
}
# A trial whose process died is tried once more.
MAX_TRIAL_FAILURES = 1


def run(parameters: Json, storage: Json) -> Json:
    """{parameters, score, metric, first_score, trials: the best first, stopped, cost_usd, recovery, model}"""
    training_data.check_packages(parameters["requires"])
    store = shared_storage.RemoteStore(storage)
    store.check_shared()
    generation = checkpoints.Generation(store, storage["folder"])
    generation.claim()
    source = parameters["source"]
    store.verify(source["uri"], source["files"])
    os.environ.update(training_data.FAST_SETTINGS | recovery.TRAIN_SETTINGS | TUNE_SETTINGS)
    candidates = list_candidates(parameters)
    cpus = training_data.connect()
    rows, plan = training_data.prepare_rows(parameters, store, cpus)
    if plan.task not in trials.SCORES:
        raise shared_storage.Problem(
            "InvalidInput", f"A search cannot score {plan.task}", "task", "Train without a search."
        )
    held = training_data.choose_held_out_rows(rows, plan, float(parameters["test_fraction"]), cpus)
    learned = validation.select(rows, held, False).to_pandas()
    if plan.task == "classification":
        check_classes(learned[plan.target], plan.target)
    # A wrong algorithm or parameter is reported before anything is started for it.
    for item in candidates:
        estimators.make_estimator(parameters["algorithm"], plan.task, item, 1)
    log = trial_log.TrialLog(generation, recovery.make_fingerprint(drop_budget(parameters)))
    print(f"Trying {len(candidates)} sets of parameters of {parameters['algorithm']}{log.describe()}")
    stopped = run_trials(parameters, (learned, plan), candidates, log)
    result = summarize(parameters, candidates, log, plan, stopped)
    if parameters["publish_model"]:
        result["model"] = publish(parameters | {"parameters": result["parameters"]}, storage, plan, rows, held)
    return result


def drop_budget(parameters: Json) -> Json:
    return {name: value for name, value in parameters.items() if name not in BUDGET}


def list_candidates(parameters: Json) -> list[Json]:
    algorithm = parameters["algorithm"]
    space = parameters["space"] or search_space.find_default_space(algorithm)
    if space is None:
        known = "xgboost, lightgbm, RandomForest…, ExtraTrees…, HistGradientBoosting…, Ridge, Lasso, LogisticRegression"
        raise shared_storage.Problem(
            "InvalidInput",
            f"No search space is known for {algorithm}",
            "space",
            f"Give a space of its parameters, or choose one of: {known}.",
        )
    return search_space.draw_candidates(space, parameters["parameters"], int(parameters["trials"]))


def check_classes(classes: Any, target: str) -> None:
    """Raises a DataError when no two classes can stand on both sides of a fold."""
    if (classes.value_counts() >= 2).sum() < 2:
        raise shared_storage.Problem(
            "DataError",
            f"Only one class of {target!r} has two rows to learn from, so trials cannot be compared",
            "target_column",
            "Extract more data, choose another target column, or train without a search.",
        )


def run_trials(parameters: Json, data: Any, candidates: list[Json], log: trial_log.TrialLog) -> str:
    """Why the search ended before all trials did: time, cost, or "" when it did not."""
    budget = trial_log.Budget(parameters, log)
    left = [number for number in range(len(candidates)) if number not in log.ended]
    if left and not budget.over():
        # Tune's own files stay on this node: they hold the job's settings, which have no place in the store.
        with tempfile.TemporaryDirectory() as folder:
            tune_trials(parameters, data, candidates, left, budget, folder)
    is_done = all(number in log.ended for number in left)
    return "" if is_done else budget.over() or "time"


def tune_trials(
    parameters: Json, data: Any, candidates: list[Json], left: list[int], budget: trial_log.Budget, folder: str
) -> None:
    from ray import tune
    from ray.tune.schedulers import AsyncHyperBandScheduler

    # It looks for the files of trials that it was told not to write.
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    cpus = float(parameters["cpus_per_worker"])
    trainable: Any = tune.with_parameters(
        trials.run_trial,
        candidates=candidates,
        algorithm=parameters["algorithm"],
        data=data,
        threads=max(1, math.floor(cpus)),
    )
    selector = training_data.placement_options(parameters).get("label_selector")
    placement: Json = {"bundle_label_selector": [selector]} if selector else {}
    tuner = tune.Tuner(
        tune.with_resources(trainable, tune.PlacementGroupFactory([{"CPU": cpus}], **placement)),
        param_space={"trial": tune.grid_search(left)},
        tune_config=tune.TuneConfig(
            metric="score",
            mode="max",
            scheduler=AsyncHyperBandScheduler(
                time_attr="effort", max_t=trials.EFFORTS[-1], grace_period=1, reduction_factor=trials.REDUCTION
            ),
            time_budget_s=budget.seconds_left(),
            # A process for each trial would cost more than most trials do.
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="search",
            storage_path=folder,
            failure_config=tune.FailureConfig(max_failures=MAX_TRIAL_FAILURES),
            callbacks=[make_recorder(budget, candidates)],
            stop=make_stopper(budget),
            verbose=0,
        ),
    )
    tuner.fit()


def make_stopper(budget: trial_log.Budget) -> Any:
    from ray import tune

    class Limit(tune.Stopper):
        """Ends all trials once the budget is spent."""

        def __call__(self, trial_id: str, result: Json) -> bool:
            budget.running[int(result["trial"])] = float(result["seconds"])
            return False

        def stop_all(self) -> bool:
            return bool(budget.over())

    return Limit()


def make_recorder(budget: trial_log.Budget, candidates: list[Json]) -> Any:
    from ray import tune

    class Recorder(tune.Callback):
        """Keeps what a trial found as soon as it has ended."""

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            told = dict(trial.last_result or {})
            is_whole = told.get("effort") == EFFORT
            # One that the budget ended midway has not lost against the others.
            if "score" in told and (is_whole or not budget.over()):
                keep_trial(budget.log, told, candidates)

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            told = {"trial": trial.config["trial"], "effort": 0, "score": -math.inf, "seconds": None, "curve": []}
            error = "its process died; it may need more memory than the node has"
            keep_trial(budget.log, told | {"error": error}, candidates)

    return Recorder()


def keep_trial(log: trial_log.TrialLog, told: Json, candidates: list[Json]) -> None:
    item = log.add(told)
    shown = item["error"] or f"{abs(item['score']):.6g}"
    early = "" if item["error"] or item["effort"] == EFFORT else " (ended early)"
    print(f"{len(log.ended)} of {len(candidates)}: {shown}{early} {candidates[int(told['trial'])]}")


def summarize(
    parameters: Json, candidates: list[Json], log: trial_log.TrialLog, plan: dataset.Plan, stopped: str
) -> Json:
    """The result: the best parameters, and the leaderboard. Of trials that were ended early none can be the best while
    one has been scored as a whole."""
    rows = [describe_trial(item, candidates) for item in log.ended.values()]
    scored = [item for item in rows if item["score"] is not None]
    if not scored:
        raise no_trial_problem(rows, parameters)
    rows.sort(key=lambda item: rank(item, plan.task))
    first = next((item for item in rows if item["trial"] == 0 and not item["ended_early"]), None)
    return {
        "parameters": rows[0]["parameters"],
        "metric": trials.SCORES[plan.task].removeprefix("neg_"),
        "score": rows[0]["score"],
        "first_score": first and first["score"],
        "trials": rows,
        "stopped": bool(stopped),
        "stopped_by": stopped,
        "cost_usd": trial_log.Budget(parameters, log).cost(),
        "recovery": {"generation": log.generation.number, "resumed_trials": log.resumed},
        "model": None,
    }


def describe_trial(item: Json, candidates: list[Json]) -> Json:
    number = int(item["trial"])
    return {
        "trial": number,
        "parameters": candidates[number],
        "score": None if item["score"] is None else abs(item["score"]),
        "seconds": item["seconds"],
        "ended_early": item["score"] is not None and item["effort"] != EFFORT,
        "curve": item["curve"],
        **({"error": item["error"]} if item["error"] else {}),
    }


def rank(item: Json, task: str) -> tuple[Any, ...]:
    """The best first; what is equal, by its number; what failed last."""
    if item["score"] is None:
        return (2, 0.0, item["trial"])
    score = item["score"] if task == "regression" else -item["score"]
    return (int(item["ended_early"]), score, item["trial"])


def no_trial_problem(rows: list[Json], parameters: Json) -> shared_storage.Problem:
    if rows:
        return shared_storage.Problem(
            "InvalidInput", f"No trial succeeded: {rows[0]['error']}", "parameters", "Correct the parameters."
        )
    remedy = "Give it more time (search_s) or cost (search_usd), fewer rows, or CPUs that are free."
    return shared_storage.Problem(
        "DeadlineExceeded", f"No trial ended within {parameters['search_s']} s", "search_s", remedy
    )


def publish(parameters: Json, storage: Json, plan: dataset.Plan, rows: Any, held: list[Any]) -> Json:
    """The training's result with the best parameters, on the rows that the trials were scored on; published once, also
    when the head dies after it."""
    generation = checkpoints.Generation(shared_storage.RemoteStore(storage), storage["folder"])
    asked = {**parameters, **TRAIN_DEFAULTS}
    published = generation.find_published(recovery.make_fingerprint(asked))
    if published:
        return published
    start = recovery.choose_start(generation, "", recovery.make_fingerprint(asked))
    return train.fit(asked, storage, plan, validation.split(rows, held, None), start)
