# requirements: flexcore_base
"""Trains a model on one stream of extracted data, as a Ray job. Shipped as source.

Ray Data reads, profiles, types and splits the rows; Ray Train fits. With one worker and no GPU the job itself is the
worker (Ray Train's local mode, on CPUs that the job has reserved): a worker group takes ten seconds to come up. With
more, xgboost and lightgbm train data-parallel over the workers; scikit-learn's estimators know one process only.
"""

from __future__ import annotations

import math
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

from f.flexcore.lib.ray.remote import dataset, estimators, holdout, leakage, model_files, shared_storage, training_data

Json = dict[str, Any]


def run(parameters: Json, storage: Json) -> Json:
    """The model manifest's fields and what is worth telling: {manifest, notes, dropped_rows, task}."""
    training_data.check_packages(parameters["requires"])
    # While Ray's workers read the data this process only waits: time enough to load what it trains with.
    threading.Thread(target=training_data.load_libraries, args=[list(parameters["requires"])], daemon=True).start()
    store = shared_storage.RemoteStore(storage)
    store.check_shared()
    source = parameters["source"]
    store.verify(source["uri"], source["files"])
    os.environ.update(training_data.FAST_SETTINGS)
    cpus = training_data.connect()
    rows, plan = training_data.prepare_rows(parameters, store, cpus)
    held = training_data.choose_held_out_rows(rows, plan, float(parameters["test_fraction"]), cpus)
    split = {
        name: rows.map_batches(
            holdout.select_shared_part,
            fn_args=[held, name == "test"],
            batch_format="pyarrow",
            batch_size=None,
            num_cpus=cpus,
        )
        for name in ("train", "test")
    }
    print(f"Learning {plan.target} ({plan.task}) from {', '.join(plan.features)}")
    return fit(parameters, storage, plan, split)


def fit(parameters: Json, storage: Json, plan: dataset.Plan, split: dict[str, Any]) -> Json:
    """Trains by Ray Train and returns what the first worker wrote."""
    from ray.train import DataConfig, RunConfig, ScalingConfig

    workers, cpus = count_workers(parameters), float(parameters["cpus_per_worker"])
    distributed = workers > 1 or parameters["use_gpu"]
    threads = max(1, math.floor(cpus))
    # An unknown algorithm or parameter is reported before anything is started for it.
    estimator = estimators.make_estimator(parameters["algorithm"], plan.task, parameters["parameters"], threads)
    loop = {"parameters": parameters, "storage": storage, "plan": plan, "estimator": estimator}
    store = shared_storage.RemoteStore(storage)
    trainer = choose_trainer(parameters["algorithm"] if distributed else "")(
        train_worker,
        train_loop_config=loop,
        datasets=split,
        dataset_config=DataConfig(datasets_to_split=["train"]),
        scaling_config=ScalingConfig(
            num_workers=workers if distributed else 0,
            use_gpu=parameters["use_gpu"],
            resources_per_worker={"CPU": cpus, **({"GPU": 1} if parameters["use_gpu"] else {})},
            **training_data.placement_options(parameters),
        ),
        run_config=RunConfig(
            name="train", storage_path=store.path(f"{storage['folder']}/ray_train"), storage_filesystem=store.fs
        ),
    )
    try:
        trainer.fit()
    except shared_storage.Problem:
        raise
    except Exception as error:
        raise training_problem(error, parameters["algorithm"], parameters["parameters"]) from error
    result: Json = store.read_json(result_uri(storage))
    return result


def count_workers(parameters: Json) -> int:
    boosted = parameters["algorithm"].lower() in {*estimators.BOOSTERS, *estimators.ALIASES}
    if parameters["num_workers"] > 1 and not boosted:
        print(f"Note: {parameters['algorithm']} trains in one process; one worker is used")
        return 1
    return int(parameters["num_workers"])


def choose_trainer(algorithm: str) -> Any:
    """The trainer that connects the workers of a data-parallel training; any trainer will do for one process."""
    name = estimators.ALIASES.get(algorithm.lower(), algorithm.lower())
    if name == "xgboost":
        from ray.train.xgboost import XGBoostTrainer

        return XGBoostTrainer
    if name == "lightgbm":
        from ray.train.lightgbm import LightGBMTrainer

        return LightGBMTrainer
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    return DataParallelTrainer


def train_worker(loop: Json) -> None:
    """What each worker does: fit on its share of the rows. The first one measures, verifies and stores the model."""
    import ray.train

    context = ray.train.get_context()
    plan, parameters = loop["plan"], loop["parameters"]
    seen = ray.train.get_dataset_shard("train").materialize().to_pandas()
    truth = training_data.read_target(seen, plan)
    rows = dataset.select_features(seen, plan)
    pipeline = estimators.make_pipeline(loop["estimator"], plan.features, plan.categories, plan.times)
    if context.get_world_size() > 1:
        pipeline = fit_together(pipeline, rows, truth, plan, parameters["algorithm"])
    else:
        if estimators.needs_label_wrapper(loop["estimator"], plan.labels):
            pipeline.steps[-1] = ("model", estimators.wrap_labels(loop["estimator"]))
        pipeline.fit(rows, truth)
    if context.get_world_rank() == 0:
        held_out = ray.train.get_dataset_shard("test").materialize().to_pandas()
        store_model(loop, pipeline, rows, truth, held_out)


def fit_together(pipeline: Any, rows: Any, truth: Any, plan: dataset.Plan, algorithm: str) -> Any:
    """Data-parallel training over all workers; each ends with the whole model. The columns' part is the same on each,
    since it is made of the plan alone."""
    from sklearn.pipeline import Pipeline

    columns, estimator = pipeline.named_steps["columns"], pipeline.named_steps["model"]
    matrix = columns.fit_transform(rows)
    numbers = truth
    if plan.task == "classification":
        codes = {label: code for code, label in enumerate(plan.labels)}
        numbers = truth.map(codes).astype("int64")
    fitted = (fit_xgboost if "XGB" in type(estimator).__name__ else fit_lightgbm)(estimator, matrix, numbers, plan)
    if plan.task == "classification":
        fitted = wrap_fitted(fitted, plan.labels)
    return Pipeline([("columns", columns), ("model", fitted)])


def fit_xgboost(estimator: Any, matrix: Any, numbers: Any, plan: dataset.Plan) -> Any:
    if plan.task == "regression":
        return estimator.fit(matrix, numbers)
    import xgboost

    # The scikit-learn form insists on seeing every class, which one worker's share need not have.
    classes = len(plan.labels)
    several = {"objective": "multi:softprob", "num_class": classes}
    objective = several if classes > 2 else {"objective": "binary:logistic"}
    booster = xgboost.train(
        {**estimator.get_xgb_params(), **objective},
        xgboost.DMatrix(matrix, label=numbers),
        estimator.get_num_boosting_rounds(),
    )
    estimator.load_model(booster.save_raw("ubj"))
    return estimator


def fit_lightgbm(estimator: Any, matrix: Any, numbers: Any, plan: dataset.Plan) -> Any:
    from ray.train.lightgbm import get_network_params

    if plan.task == "classification" and numbers.nunique() < len(plan.labels):
        raise shared_storage.Problem(
            "InvalidInput",
            "A class is so rare that one worker's share of the rows has none of it",
            "num_workers",
            "Train with one worker, or with xgboost.",
        )
    network = {"tree_learner": "data", **get_network_params()}
    estimator.set_params(**network).fit(matrix, numbers)
    estimator.booster_.free_network()
    # The addresses of workers that are gone do not belong into a model.
    for name in network:
        estimator._other_params.pop(name, None)
        estimator.__dict__.pop(name, None)
    return estimator


def wrap_fitted(estimator: Any, labels: list[Any]) -> Any:
    """The fitted estimator, which knows codes, behind the classes themselves."""
    from sklearn.preprocessing import LabelEncoder
    from sklearn.utils import Bunch

    vote = estimators.wrap_labels(estimator)
    vote.le_ = LabelEncoder().fit(labels)
    vote.classes_, vote.estimators_ = vote.le_.classes_, [estimator]
    vote.named_estimators_ = Bunch(model=estimator)
    return vote


def store_model(loop: Json, pipeline: Any, seen: Any, truth: Any, held_out: Any) -> None:
    """Measures the model, proves that it can be loaded, stores it, and last of all what there is to tell of it. seen,
    truth: the features and the target of the rows that were learned from."""
    import pandas as pd

    plan, parameters, model = loop["plan"], loop["parameters"], loop["parameters"]["model"]
    store, uri = shared_storage.RemoteStore(loop["storage"]), f"{loop['storage']['folder']}/model"
    rows = dataset.select_features(held_out, plan)
    metrics = model_files.measure_model(pipeline, rows, training_data.read_target(held_out, plan), truth, plan.task)
    examples = model_files.make_examples(pd.concat([seen, rows], ignore_index=True), plan.features)
    notes = [*plan.notes, *leakage.find_leaks(seen, truth, plan)]
    for note in notes:
        print(f"Note: {note}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        requirements = model_files.write_model(folder, pipeline, model["name"], model["version"])
        model_files.verify_model(folder, examples)
        files = store.upload(folder, uri)
    result = {
        "manifest": {
            "uri": uri,
            "format": "sklearn-joblib",
            "rows": len(seen),
            "files": files,
            "name": model["name"],
            "version": model["version"],
            "algorithm": parameters["algorithm"],
            "target": plan.target,
            "framework": model_files.find_framework(requirements),
            "signature": model_files.make_signature(plan.features, plan.task, plan.labels),
            "metrics": metrics,
            "example": examples,
        },
        "task": plan.task,
        "notes": notes,
        "requirements": requirements,
        "dropped_rows": plan.rows - len(seen) - len(held_out),
    }
    store.write_json(result_uri(loop["storage"]), result)


def result_uri(storage: Json) -> str:
    return f"{storage['folder']}/trained.json"


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
