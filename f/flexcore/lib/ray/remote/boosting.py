# requirements: flexcore_base
"""xgboost and lightgbm round by round: checkpoints, early stopping, and going on from a checkpoint. Shipped as source.

Both end as the fitted scikit-learn estimator that the pipeline holds, over one worker or data-parallel over several.
"""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from f.flexcore.lib.ray.remote import checkpoints, dataset, external_memory, shared_storage
from f.flexcore.lib.serving import estimators

Json = dict[str, Any]
# Asking for a preemption is a barrier of all workers: so often within a checkpoint's interval.
PREEMPTION_LOOKS = 10
MODEL_FILES = {"xgboost": "model.ubj", "lightgbm": "model.txt"}
# Of xgboost's metrics, those of which more is better (xgboost/callback.py, EarlyStopping); `ndcg@5` is one of them.
MAXIMIZED = ("auc", "aucpr", "pre", "map", "ndcg")


@dataclass
class Rows:
    """What one worker learns from, as the boosters take it. weights: of the rows; None: all weigh the same."""

    matrix: Any
    truth: Any
    weights: Any = None
    # Of ranked rows: 0, 1, 2, … for their groups, those of one together.
    groups: Any = None


@dataclass
class Start:
    """Where to go on: the folder of a checkpoint and its state; None, {}: the beginning."""

    folder: Path | None = None
    state: Json = field(default_factory=dict)

    @property
    def step(self) -> int:
        return int(self.state.get("step", 0))

    @property
    def is_stopped(self) -> bool:
        """Whether early stopping had ended the training by then."""
        return bool(self.state.get("stopped"))


@dataclass
class Rounds:
    """Looks after a training round by round: every worker's alike, since reports are barriers of all of them.

    every: rounds between two checkpoints, 0 for none; patience: rounds without a better score before it stops, 0 for
    never. save: writes the model into a folder. report: stores a folder as a checkpoint, with its measures.
    """

    fingerprint: Json
    total: int
    every: int
    patience: int
    start: Start
    save: Callable[[Any, Path], None]
    report: Callable[[Json, Path | None, int], None]
    # lightgbm's parameters by which the workers of a data-parallel training find each other.
    network: Json = field(default_factory=dict)
    is_first: bool = True
    is_preempted: Callable[[], bool] = field(default=lambda: False)
    check_current: Callable[[], None] = field(default=lambda: None)
    saves: int = 0
    best: Json = field(default_factory=dict)
    is_told: bool = False

    def __post_init__(self) -> None:
        self.best = dict(self.start.state.get("best") or {})

    def after_round(self, step: int, model: Any, score: float | None, higher: bool) -> bool:
        """Whether to stop. step: the rounds done so far, those of earlier generations among them."""
        stops = self._is_enough(step, score, higher)
        is_due = bool(self.every) and (step % self.every == 0 or step == self.total or stops)
        if is_due or self._is_just_preempted(step):
            self._store(step, model, stops, score)
        return stops

    def _is_enough(self, step: int, score: float | None, higher: bool) -> bool:
        if not self.patience or score is None:
            return False
        if not self.best or (score > self.best["score"] if higher else score < self.best["score"]):
            self.best = {"score": score, "step": step}
        return step - int(self.best["step"]) >= self.patience

    def _is_just_preempted(self, step: int) -> bool:
        pause = max(1, self.every // PREEMPTION_LOOKS) if self.every else max(1, self.total)
        if self.is_told or step % pause:
            return False
        self.is_told = self.is_preempted()
        return self.is_told

    def _store(self, step: int, model: Any, stops: bool, score: float | None) -> None:
        measures = {"step": step, "score": score}
        if not self.is_first:
            self.report(measures, None, step)
            return
        self.check_current()
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            self.save(model, folder)
            checkpoints.write_state(folder, self.fingerprint, step, {"best": self.best, "stopped": stops})
            self.report(measures, folder, step)
        self.saves += 1


def fit_xgboost(estimator: Any, rows: Rows, valid: Rows | None, plan: dataset.Plan, rounds: Rounds) -> Any:
    """The estimator with the model of all rounds, or of the best one where it stopped early."""
    import xgboost

    start = rounds.start
    booster = xgboost.Booster(model_file=str(start.folder / MODEL_FILES["xgboost"])) if start.folder else None
    if not (booster and (start.is_stopped or start.step >= rounds.total)):
        evals = [(_to_matrix(valid), "valid")] if valid is not None else []
        asked = {**estimator.get_xgb_params(), **xgboost_objective(plan)}
        if isinstance(rows.matrix, external_memory.Cache):
            asked["max_bin"] = estimator.max_bin or rows.matrix.bins
        booster = xgboost.train(
            asked,
            _to_matrix(rows, int(estimator.n_jobs or 0), asked["max_bin"]),
            rounds.total - start.step,
            evals=evals,
            xgb_model=booster,
            verbose_eval=False,
            callbacks=[make_xgboost_callback(rounds)],
        )
    if rounds.best and rounds.patience:
        booster = booster[: int(rounds.best["step"])]
    estimator.load_model(booster.save_raw("ubj"))
    return estimator


def xgboost_objective(plan: dataset.Plan) -> Json:
    """The scikit-learn form insists on seeing every class, which one worker's share need not have."""
    if plan.task != "classification":
        return {}
    classes = len(plan.labels)
    return {"objective": "multi:softprob", "num_class": classes} if classes > 2 else {"objective": "binary:logistic"}


def _to_matrix(rows: Rows, threads: int = 0, max_bin: Any = None) -> Any:
    import xgboost

    if isinstance(rows.matrix, external_memory.Cache):
        return external_memory.make_xgboost_matrix(rows.matrix, threads, max_bin)
    return xgboost.DMatrix(rows.matrix, label=rows.truth, weight=rows.weights, qid=rows.groups)


def make_xgboost_callback(rounds: Rounds) -> Any:
    import xgboost

    class AfterRound(xgboost.callback.TrainingCallback):
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            log = dict(evals_log.get("valid") or {})
            name = list(log)[-1] if log else ""
            score = float(log[name][-1]) if log else None
            higher = name.split("@")[0].split("-")[0] in MAXIMIZED
            return rounds.after_round(rounds.start.step + epoch + 1, model, score, higher)

    return AfterRound()


def fit_lightgbm(estimator: Any, rows: Rows, valid: Rows | None, plan: dataset.Plan, rounds: Rounds) -> Any:
    """As fit_xgboost."""
    import lightgbm

    if isinstance(rows.matrix, external_memory.Cache):
        return fit_lightgbm_on_disk(estimator, rows.matrix, valid, plan, rounds)
    start, network = rounds.start, rounds.network
    if network and plan.task == "classification" and rows.truth.nunique() < len(plan.labels):
        raise shared_storage.Problem(
            "InvalidInput",
            "A class is so rare that one worker's share of the rows has none of it",
            "num_workers",
            "Train with one worker, or with xgboost.",
        )
    booster = lightgbm.Booster(model_file=str(start.folder / MODEL_FILES["lightgbm"])) if start.folder else None
    is_done = booster is not None and (start.is_stopped or start.step >= rounds.total)
    arguments: Json = {"sample_weight": rows.weights, **_group_sizes("group", rows)}
    if valid is not None and not is_done:
        # Since 4.7 by the second way alone.
        is_new = "eval_X" in inspect.signature(estimator.fit).parameters
        checked = {"eval_X": valid.matrix, "eval_y": valid.truth}
        arguments |= checked if is_new else {"eval_set": [(valid.matrix, valid.truth)]}
        arguments |= {name: [sizes] for name, sizes in _group_sizes("eval_group", valid).items()}
    if not is_done:
        arguments |= {"callbacks": [make_lightgbm_callback(rounds)], "init_model": booster}
    # What is done already is not done again: a single round makes the estimator, which then gets the model.
    estimator.set_params(**network, n_estimators=1 if is_done else rounds.total - start.step)
    estimator.fit(rows.matrix, rows.truth, **arguments)
    if network:
        estimator.booster_.free_network()
    if is_done:
        estimator._Booster = booster
    if rounds.best and rounds.patience:
        best = int(rounds.best["step"])
        estimator._Booster = lightgbm.Booster(model_str=estimator._Booster.model_to_string(num_iteration=best))
    estimator.set_params(n_estimators=rounds.total)
    # The addresses of workers that are gone do not belong into a model.
    for name in network:
        estimator._other_params.pop(name, None)
        estimator.__dict__.pop(name, None)
    return estimator


def fit_lightgbm_on_disk(
    estimator: Any, cache: external_memory.Cache, valid: Rows | None, plan: dataset.Plan, rounds: Rounds
) -> Any:
    """As fit_lightgbm, for rows that are files."""
    import lightgbm
    import numpy as np

    start, classes = rounds.start, len(plan.labels)
    objective: Json = {"objective": "regression"} if not classes else {"objective": "binary"}
    objective |= {"objective": "multiclass", "num_class": classes} if classes > 2 else {}
    unused = ("n_estimators", "class_weight", "importance_type", "subsample_for_bin")
    own = {name: value for name, value in estimator.get_params().items() if value is not None and name not in unused}
    # By rows LightGBM would keep the bins a second time.
    parameters = {"force_col_wise": True, **objective, **own, **rounds.network}
    booster = lightgbm.Booster(model_file=str(start.folder / MODEL_FILES["lightgbm"])) if start.folder else None
    if not (booster is not None and (start.is_stopped or start.step >= rounds.total)):
        learned = external_memory.make_lightgbm_dataset(cache, parameters)
        checked = [] if valid is None else [lightgbm.Dataset(valid.matrix, label=valid.truth, reference=learned)]
        booster = lightgbm.train(
            parameters,
            learned,
            rounds.total - start.step,
            valid_sets=checked,
            init_model=booster,
            callbacks=[make_lightgbm_callback(rounds)],
        )
    if rounds.best and rounds.patience:
        best = int(rounds.best["step"])
        booster = lightgbm.Booster(model_str=booster.model_to_string(num_iteration=best))
    # A round of its own makes the estimator, which then gets the model.
    stub = np.zeros((max(2, classes) * 2, cache.columns))
    estimator.set_params(n_estimators=1).fit(stub, np.arange(len(stub)) % max(2, classes))
    estimator._Booster = booster
    return estimator.set_params(n_estimators=rounds.total)


def _group_sizes(name: str, rows: Rows) -> Json:
    """The sizes of the groups of ranked rows, as LightGBM's argument of this name."""
    import numpy as np

    return {} if rows.groups is None else {name: np.bincount(rows.groups)}


def connect_lightgbm() -> Json:
    """lightgbm's parameters for a worker of several; none for a single one."""
    import ray.train

    if ray.train.get_context().get_world_size() < 2:
        return {}
    from ray.train.lightgbm import get_network_params

    return {"tree_learner": "data", **get_network_params()}


def make_lightgbm_callback(rounds: Rounds) -> Any:
    import lightgbm

    def after_round(env: Any) -> None:
        scores = env.evaluation_result_list or []
        score, higher = (float(scores[-1][2]), bool(scores[-1][3])) if scores else (None, False)
        # The round's number counts those of the model that it goes on from.
        if rounds.after_round(env.iteration + 1, env.model, score, higher):
            raise lightgbm.callback.EarlyStopException(int(rounds.best["step"]) - 1, scores)

    return after_round


def save_xgboost(model: Any, folder: Path) -> None:
    model.save_model(str(folder / MODEL_FILES["xgboost"]))


def save_lightgbm(model: Any, folder: Path) -> None:
    model.save_model(str(folder / MODEL_FILES["lightgbm"]), num_iteration=-1)


FITS = {"xgboost": (fit_xgboost, save_xgboost), "lightgbm": (fit_lightgbm, save_lightgbm)}


def find_library(algorithm: str) -> str:
    """xgboost or lightgbm; "" for a learner that knows no checkpoints."""
    name = estimators.ALIASES.get(algorithm.lower(), algorithm.lower())
    return name if name in FITS else ""


def count_rounds(estimator: Any) -> int:
    return int(estimator.get_params().get("n_estimators") or 100)
