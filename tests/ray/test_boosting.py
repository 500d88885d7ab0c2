"""xgboost and lightgbm round by round, in this process: cut off, gone on with, stopped early."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from f.flexcore.lib.ray.remote.boosting import FITS, Rounds, Rows, Start, count_rounds
from f.flexcore.lib.ray.remote.checkpoints import STATE_FILE
from f.flexcore.lib.ray.remote.dataset import Plan
from f.flexcore.lib.serving.estimators import make_estimator

Json = dict[str, Any]
TOTAL, EVERY = 60, 20
LIBRARIES = pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
TASKS = pytest.mark.parametrize("task", ["regression", "classification"])


class CutOff(Exception):
    """The worker died."""


class Run:
    """One training in this process. stored: the folders of its checkpoints by their step."""

    def __init__(self, folder: Path, library: str, task: str = "regression", noise: float = 0) -> None:
        random = np.random.default_rng(0)
        x = random.normal(size=(600, 4))
        signal = x[:, 0] * 3 + x[:, 1] ** 2 + random.normal(size=600) * noise
        y = np.digitize(signal, [-2, 2]) if task == "classification" else signal
        self.folder, self.library, self.stored = folder, library, dict[int, Path]()
        self.seen, self.valid, self.test = Rows(x[:400], y[:400]), Rows(x[400:500], y[400:500]), x[500:]
        labels = [0, 1, 2] if task == "classification" else []
        self.plan = Plan("y", "number", task, {}, {}, labels=labels)

    def __call__(self, start: Start | None = None, patience: int = 0, **change: Any) -> tuple[Any, Rounds]:
        estimator = make_estimator(self.library, self.plan.task, {"n_estimators": TOTAL, "learning_rate": 0.3}, 1)
        fit, save = FITS[self.library]
        asked: Json = {"report": self.report, "start": start or Start(), "every": EVERY, **change}
        rounds = Rounds({"f": 1}, count_rounds(estimator), patience=patience, save=save, **asked)
        return fit(estimator, self.seen, self.valid if patience else None, self.plan, rounds), rounds

    def report(self, measures: Json, folder: Path | None, step: int) -> None:
        assert folder is not None
        self.stored[step] = Path(shutil.copytree(folder, self.folder / str(step)))

    def start(self, step: int) -> Start:
        return Start(self.stored[step], json.loads((self.stored[step] / STATE_FILE).read_text()))


@LIBRARIES
@TASKS
def test_a_training_that_goes_on_from_a_checkpoint_ends_as_the_uninterrupted_one(
    tmp_path: Path, library: str, task: str
) -> None:
    whole = Run(tmp_path / "whole", library, task)
    model, rounds = whole()
    assert sorted(whole.stored) == [20, 40, 60]
    assert rounds.saves == 3
    cut = Run(tmp_path / "cut", library, task)

    def report(measures: Json, folder: Path | None, step: int) -> None:
        if step > 40:
            raise CutOff
        cut.report(measures, folder, step)

    with pytest.raises(CutOff):
        cut(report=report)
    again, rounds = cut(cut.start(40))
    # What came after the last checkpoint is all that was done twice.
    assert rounds.saves == 1 and sorted(cut.stored) == [20, 40, 60]
    predict = "predict_proba" if task == "classification" else "predict"
    np.testing.assert_allclose(getattr(again, predict)(whole.test), getattr(model, predict)(whole.test), atol=1e-5)


@LIBRARIES
def test_a_training_that_had_done_all_rounds_is_not_trained_on(tmp_path: Path, library: str) -> None:
    run = Run(tmp_path, library)
    model, _ = run()
    again, rounds = run(run.start(60))
    assert rounds.saves == 0
    np.testing.assert_allclose(again.predict(run.test), model.predict(run.test), atol=1e-5)
    assert again.get_params()["n_estimators"] == TOTAL


@LIBRARIES
def test_it_stops_early_and_keeps_the_best_round(tmp_path: Path, library: str) -> None:
    run = Run(tmp_path, library, noise=4)
    model, rounds = run(patience=5)
    best = rounds.best["step"]
    assert 1 <= best < TOTAL - 5
    # The last checkpoint is that of the round at which it stopped; who begins there is done.
    last = max(run.stored)
    assert last == best + 5
    again, more = run(run.start(last), patience=5)
    assert more.saves == 0
    np.testing.assert_allclose(again.predict(run.test), model.predict(run.test), atol=1e-5)
    shorter = make_estimator(library, "regression", {"n_estimators": best, "learning_rate": 0.3}, 1)
    shorter.fit(run.seen.matrix, run.seen.truth)
    np.testing.assert_allclose(model.predict(run.test), shorter.predict(run.test), atol=1e-4)


@LIBRARIES
def test_early_stopping_counts_on_after_a_checkpoint(tmp_path: Path, library: str) -> None:
    whole = Run(tmp_path / "whole", library, noise=4)
    _, rounds = whole(patience=30)
    cut = Run(tmp_path / "cut", library, noise=4)
    cut(patience=30)
    _, again = cut(cut.start(20), patience=30, report=lambda *_: None)
    assert again.best["step"] == rounds.best["step"]


@LIBRARIES
def test_a_preemption_that_is_announced_makes_a_checkpoint_at_once(tmp_path: Path, library: str) -> None:
    run, looks = Run(tmp_path, library), list[int]()

    def is_preempted() -> bool:
        looks.append(1)
        return len(looks) >= 3

    run(is_preempted=is_preempted)
    # Looked for every second round, announced at the third look, and not asked for again.
    assert sorted(run.stored) == [6, 20, 40, 60] and len(looks) == 3


@LIBRARIES
def test_a_generation_that_was_taken_over_stores_no_further_checkpoint(tmp_path: Path, library: str) -> None:
    run = Run(tmp_path, library)

    def check() -> None:
        if run.stored:
            raise CutOff

    with pytest.raises(CutOff):
        run(check_current=check)
    assert sorted(run.stored) == [20]


def test_without_an_interval_nothing_is_stored(tmp_path: Path) -> None:
    run = Run(tmp_path, "xgboost")
    _, rounds = run(every=0)
    assert not run.stored and rounds.saves == 0
