# requirements: flexcore_base
"""Trains a model on one stream of extracted data, as a Ray job. Shipped as source.

Ray Data reads, profiles, types and splits the rows; Ray Train fits them on its workers, be it a single one: only those
are started again when they fail, and store checkpoints. xgboost and lightgbm train data-parallel over several;
scikit-learn's estimators know one process and no checkpoints.
"""

from __future__ import annotations

import math
import os
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from f.flexcore.lib.ray.remote import (
    boosting,
    checkpoints,
    class_weights,
    dataset,
    external_memory,
    memory_limit,
    publication,
    ranking,
    recovery,
    shared_storage,
    trainer,
    training_data,
    validation,
)
from f.flexcore.lib.serving import estimators, model_format

Json = dict[str, Any]
# So few rows are split at once, by a process that has read them; a worker's own readers would have to be started first.
MAX_READY_BYTES = 64 * 1024 * 1024


def run(parameters: Json, storage: Json) -> Json:
    """The model manifest's fields and what is worth telling: {manifest, notes, dropped_rows, task, recovery}."""
    training_data.check_packages(parameters["requires"])
    # While Ray's workers read the data this process only waits: time enough to load what it trains with.
    threading.Thread(target=training_data.load_libraries, args=[list(parameters["requires"])], daemon=True).start()
    store = shared_storage.RemoteStore(storage)
    store.check_shared()
    generation = checkpoints.Generation(store, storage["folder"])
    generation.claim()
    fingerprint = recovery.make_fingerprint(parameters)
    published = generation.find_published(fingerprint)
    if published:
        print(f"The model was published already, at {published['manifest']['uri']}: it is the result")
        return published
    start = recovery.choose_start(generation, parameters["resume_from"], fingerprint)
    source = parameters["source"]
    store.verify(source["uri"], source["files"])
    os.environ.update(training_data.FAST_SETTINGS | recovery.TRAIN_SETTINGS)
    cpus = training_data.connect()
    recovery.skip_needless_watch()
    rows, plan = training_data.prepare_rows(parameters, store, cpus)
    class_weights.check_weights(parameters["class_weights"], plan)
    is_large = memory_limit.is_large(plan, parameters, count_workers(parameters))
    split = split_large(rows, plan, parameters) if is_large else split_rows(rows, plan, parameters, cpus)
    where = " on disk" if is_large else ""
    print(f"Learning {plan.target} ({plan.task}) from {', '.join(plan.features)}{where}")
    return fit(parameters, storage, plan, split, start)


def split_rows(rows: Any, plan: dataset.Plan, parameters: Json, cpus: float) -> dict[str, Any]:
    held = training_data.choose_held_out_rows(rows, plan, float(parameters["test_fraction"]), cpus)
    valid = validation.choose_validation_rows(rows, held, plan) if stops_early(parameters) else None
    parts = validation.split(rows, held, valid)
    is_small = rows.size_bytes() <= MAX_READY_BYTES
    return {name: part.materialize() for name, part in parts.items()} if is_small else parts


def split_large(rows: Any, plan: dataset.Plan, parameters: Json) -> dict[str, Any]:
    """Without a list of all rows, which may not fit either."""
    if plan.task == "classification":
        plan.class_counts = external_memory.count_classes(rows, plan)
    plan.usable_rows = rows.count()
    sample = memory_limit.count_sample_rows(plan, parameters)
    return external_memory.split_rows(rows, plan, float(parameters["test_fraction"]), sample, stops_early(parameters))


def stops_early(parameters: Json) -> bool:
    return bool(parameters["early_stopping_rounds"] and boosting.find_library(parameters["algorithm"]))


def fit(
    parameters: Json,
    storage: Json,
    plan: dataset.Plan,
    split: dict[str, Any],
    start: checkpoints.Checkpoint | None = None,
) -> Json:
    """Trains by Ray Train and returns what the first worker wrote."""
    workers, cpus = count_workers(parameters), float(parameters["cpus_per_worker"])
    threads = max(1, math.floor(cpus))
    # An unknown algorithm or parameter is reported before anything is started for it.
    estimator = estimators.make_estimator(parameters["algorithm"], plan.task, parameters["parameters"], threads)
    loop = {"parameters": parameters, "storage": storage, "plan": plan, "estimator": estimator, "start": start}
    store = shared_storage.RemoteStore(storage)
    kind = trainer.choose_trainer(parameters["algorithm"] if workers > 1 else "")
    explain = partial(training_problem, algorithm=parameters["algorithm"], parameters=parameters["parameters"])
    trainer.run_trainer(kind, train_worker, loop, split, workers, explain)
    result: Json = store.read_json(publication.result_uri(storage))
    return result


def count_workers(parameters: Json) -> int:
    if parameters["num_workers"] > 1 and not boosting.find_library(parameters["algorithm"]):
        print(f"Note: {parameters['algorithm']} trains in one process; one worker is used")
        return 1
    if parameters["num_workers"] > 1 and parameters["task"] == "ranking":
        print("Note: a ranking needs the rows of a group together; one worker is used")
        return 1
    return int(parameters["num_workers"])


def train_worker(loop: Json) -> None:
    """What each worker does: fit on its share of the rows. The first one measures, verifies and stores the model."""
    import ray.train

    recovery.quiet_logs()
    generation = checkpoints.Generation(shared_storage.RemoteStore(loop["storage"]), loop["storage"]["folder"])
    if generation.read_problem() or generation.has_published():
        # Workers before these have ended with it.
        return
    is_alone = ray.train.get_context().get_world_size() == 1
    try:
        # What a library itself takes is no part of the limit.
        training_data.load_libraries(list(loop["parameters"]["requires"]))
        memory_limit.set_limit(loop["parameters"])
        with trainer.open_start(generation, loop["start"]) as start:
            learn(loop, start, generation)
    except Exception as error:
        # What lies in the request or the data is not tried again; a failure of the machinery is.
        problem = memory_limit.memory_problem(error, loop["parameters"]) or training_problem(
            error, loop["parameters"]["algorithm"], loop["parameters"]["parameters"]
        )
        if not isinstance(problem, shared_storage.Problem):
            if not is_alone or isinstance(error, OSError):
                raise
            # One process on the same rows would fail in the same way: no other worker died, no store was away.
            traceback.print_exc()
            problem = shared_storage.Problem("ExecutionFailed", f"{type(error).__name__}: {error}"[:500])
        generation.write_problem(problem)
        if not is_alone:
            raise
    finally:
        memory_limit.lift_limit()


def learn(loop: Json, start: boosting.Start, generation: checkpoints.Generation) -> None:
    import ray.train

    plan, parameters, context = loop["plan"], loop["parameters"], ray.train.get_context()
    pipeline = estimators.make_pipeline(loop["estimator"], plan.features, plan.categories, plan.times)
    library = boosting.find_library(parameters["algorithm"])
    told: Json = {"rounds": None, "best_round": None, "stored": 0, "validation_rows": 0}
    with open_rows(loop, pipeline.named_steps["columns"]) as (learned, rows, truth, counts):
        if library:
            rounds = make_rounds(loop, library, start, generation)
            valid = trainer.read_shard(loop, "valid") if rounds.patience else None
            pipeline = fit_rounds(pipeline, learned, valid, plan, library, rounds)
            count = 0 if valid is None else len(valid)
            best = rounds.best.get("step")
            told = {"rounds": rounds.total, "best_round": best, "stored": rounds.saves, "validation_rows": count}
        else:
            if estimators.needs_label_wrapper(loop["estimator"], plan.labels):
                pipeline.steps[-1] = ("model", estimators.wrap_labels(loop["estimator"]))
            class_weights.fit_weighted(pipeline, rows, truth, learned.weights, parameters["algorithm"])
    told |= counts
    if context.get_world_rank() == 0:
        held_out = trainer.read_shard(loop, "test")
        generation.check_current()
        publication.publish_model(
            loop, pipeline, rows, truth, held_out, recovery.describe(generation, loop["start"], told)
        )


@contextmanager
def open_rows(loop: Json, columns: Any) -> Iterator[tuple[boosting.Rows, Any, Any, Json]]:
    """(what to learn from, the features and the target to tell of, counts): the same rows, or files of them and a
    sample when they do not fit into memory. The columns are then set up for it."""
    import ray.train

    plan, parameters = loop["plan"], loop["parameters"]
    given = parameters["class_weights"]
    if not plan.usable_rows:
        seen = trainer.read_shard(loop, "train")
        seen = ranking.order_by_group(seen) if plan.group else seen
        truth = training_data.read_target(seen, plan)
        if plan.group:
            ranking.check_relevance(truth, plan.target)
        rows = dataset.select_features(seen, plan)
        groups = ranking.list_group_codes(seen) if plan.group else None
        yield boosting.Rows(rows, truth, class_weights.weigh_rows(truth, plan, given), groups), rows, truth, {}
        return
    workers, limit = ray.train.get_context().get_world_size(), memory_limit.read_limit(parameters) or 0
    columns.fit(model_format.make_blank_rows(plan.features))
    sample = memory_limit.count_sample_rows(plan, parameters)
    with external_memory.open_cache(plan, plan.usable_rows / workers, limit) as cache:
        seen = external_memory.fill_cache(cache, trainer.get_shard(loop, "train"), columns, plan, given, sample)
        rows, truth = dataset.select_features(seen, plan), training_data.read_target(seen, plan)
        counts: Json = {"large": {"seen": cache.rows if workers == 1 else None}}
        yield boosting.Rows(cache, None), rows, truth, counts
        counts["large"] |= external_memory.describe_peak()


def make_rounds(loop: Json, library: str, start: boosting.Start, generation: checkpoints.Generation) -> boosting.Rounds:
    import ray.train

    parameters = loop["parameters"]
    return boosting.Rounds(
        fingerprint=recovery.make_fingerprint(parameters),
        total=boosting.count_rounds(loop["estimator"]),
        every=int(parameters["checkpoint_every"]),
        patience=int(parameters["early_stopping_rounds"]),
        start=start,
        save=boosting.FITS[library][1],
        report=trainer.report_checkpoint,
        network=boosting.connect_lightgbm() if library == "lightgbm" else {},
        is_first=ray.train.get_context().get_world_rank() == 0,
        is_preempted=partial(recovery.look_for_preemption, generation),
        check_current=generation.check_current,
    )


def fit_rounds(
    pipeline: Any, learned: boosting.Rows, valid: Any, plan: dataset.Plan, library: str, rounds: boosting.Rounds
) -> Any:
    """The pipeline with a booster over all workers; each ends with the whole model. The columns' part is the same on
    each, since it is made of the plan alone. learned: features as the matrix, and the target; valid: the rows of early
    stopping, or None."""
    from sklearn.pipeline import Pipeline

    columns, estimator = pipeline.named_steps["columns"], pipeline.named_steps["model"]
    seen = learned
    if not isinstance(learned.matrix, external_memory.Cache):
        seen = replace(learned, matrix=columns.fit_transform(learned.matrix), truth=encode_target(learned.truth, plan))
    checked = None
    if valid is not None:
        valid = ranking.order_by_group(valid) if plan.group else valid
        codes = ranking.list_group_codes(valid) if plan.group else None
        matrix = columns.transform(dataset.select_features(valid, plan))
        checked = boosting.Rows(matrix, encode_target(training_data.read_target(valid, plan), plan), None, codes)
    fitted = boosting.FITS[library][0](estimator, seen, checked, plan, rounds)
    if plan.task == "classification":
        fitted = wrap_fitted(fitted, plan.labels)
    return Pipeline([("columns", columns), ("model", fitted)])


def encode_target(truth: Any, plan: dataset.Plan) -> Any:
    """The target as the boosters take it: classes as their numbers."""
    if plan.task != "classification":
        return truth
    codes = {label: code for code, label in enumerate(plan.labels)}
    return truth.map(codes).astype("int64")


def wrap_fitted(estimator: Any, labels: list[Any]) -> Any:
    """The fitted estimator, which knows codes, behind the classes themselves."""
    from sklearn.preprocessing import LabelEncoder
    from sklearn.utils import Bunch

    vote = estimators.wrap_labels(estimator)
    vote.le_ = LabelEncoder().fit(labels)
    vote.classes_, vote.estimators_ = vote.le_.classes_, [estimator]
    vote.named_estimators_ = Bunch(model=estimator)
    return vote


def training_problem(error: BaseException, algorithm: str, parameters: Json) -> Exception:
    """What a training's failure is really about: Ray Train wraps what its workers raised."""
    chain = list(training_data.iterate_causes(error))
    for cause in chain:
        if isinstance(cause, shared_storage.Problem):
            return cause
    for cause in chain:
        named = estimators.find_named_parameter(cause, parameters)
        if named:
            return named
    last = chain[-1]
    if isinstance(last, ValueError):
        line = (str(last).splitlines() or [""])[0]
        remedy = "Choose another algorithm, other features, or more data."
        return shared_storage.Problem(
            "DataError", f"{algorithm} cannot learn from these rows: {line[:300]}", "algorithm", remedy
        )
    return last if isinstance(last, Exception) else RuntimeError(str(last))
