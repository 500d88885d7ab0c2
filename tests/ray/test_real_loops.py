"""Training loops of the caller's own, and searches, on a real Ray head."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core.errors import ExecutionFailed, InvalidInput
from f.flexcore.lib.storage.object_store import local_path
from f.flexcore.ray import run_training_loop, search
from tests.ray.data import COLUMNS, houses

pytestmark = pytest.mark.slow
Json = dict[str, Any]
Extracted = Callable[..., Json]
ROWS = [{"x": number / 100, "y": 3 * number / 100} for number in range(200)]
# Gradient descent on y = w x; it breaks before its third step until a file is there.
PROGRAM = """
import json
from pathlib import Path


def train_loop(config, loop):
    w = json.loads((loop.resumed / "state.json").read_text()) if loop.resumed else 0.0
    print(f"step {loop.step} w {w}")
    for step in range(loop.step + 1, config["steps"] + 1):
        if step == 3 and not Path(config["mended"]).exists():
            raise RuntimeError("a cable was pulled")
        rows, slope = 0, 0.0
        for batch in loop.shard("train").iter_batches(batch_size=64, batch_format="numpy"):
            slope += float((batch["x"] * (w * batch["x"] - batch["y"])).sum())
            rows += len(batch["x"])
        w -= config["rate"] * slope / rows
        test = next(iter(loop.shard("test").iter_batches(batch_size=None, batch_format="numpy")))
        loss = float(abs(w * test["x"] - test["y"]).mean())
        save = lambda folder: (folder / "state.json").write_text(json.dumps(w))
        if loop.report(step, {"loss": loss, "rows": rows}, save):
            break
    loop.publish(lambda folder: (folder / "weights.json").write_text(json.dumps({"w": w})))
    return {"w": w}
"""


def test_a_loop_goes_on_from_its_last_checkpoint_and_stops_early(
    cluster: Json, extracted: Extracted, tmp_path: Path, same_step: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    mended = tmp_path / "mended"
    asked: Json = {
        "config": {"steps": 60, "rate": 0.7, "mended": str(mended)},
        "source": extracted(ROWS, {"x": "number", "y": "number"}),
        "test_fraction": 0.2,
        "stop_metric": "loss",
        "early_stopping_steps": 3,
        "max_failures": 0,
    }
    # A flow run of its own: the head knows the jobs of other tests.
    monkeypatch.setenv("WM_FLOW_JOB_ID", str(uuid.uuid4()))
    monkeypatch.setenv("WM_JOB_ID", "first")
    with pytest.raises(ExecutionFailed, match="train_loop failed: RuntimeError: a cable was pulled"):
        run_training_loop.main(cluster, PROGRAM, **asked)
    mended.touch()
    monkeypatch.setenv("WM_JOB_ID", "second")
    result = run_training_loop.main(cluster, PROGRAM, **asked)
    told = result["data"]["recovery"]
    assert (result["attempt"], told["generation"]) == (2, 2)
    assert (told["resumed_from"]["generation"], told["resumed_from"]["step"]) == (1, 2)
    assert told["worker_failures"] == 1
    assert told["steps"] == told["best_step"] + 3 < 60
    assert result["data"]["result"]["w"] == pytest.approx(3, abs=1e-3)
    # The rows of the test stand apart.
    assert 120 < result["metrics"]["rows"] < 190
    model = result["data"]["model"]
    stored = json.loads((Path(local_path(model["uri"])) / "weights.json").read_text())
    assert stored == result["data"]["result"] and [item["path"] for item in model["files"]] == ["weights.json"]


def test_a_loop_that_does_not_report_what_early_stopping_wants_is_told_so(cluster: Json) -> None:
    program = "def train_loop(config, loop):\n    loop.report(1, {'accuracy': 1}, lambda folder: None)\n"
    with pytest.raises(InvalidInput, match="reported no 'loss' at step 1") as caught:
        run_training_loop.main(cluster, program, stop_metric="loss")
    assert caught.value.subject == "stop_metric" and "accuracy" in str(caught.value)


def test_a_search_ends_early_what_lags_behind_and_publishes_the_best(cluster: Json, extracted: Extracted) -> None:
    result = search.main(
        cluster,
        extracted(houses(), COLUMNS),
        "price",
        parameters={"n_estimators": 27},
        space={"learning_rate": {"choice": [0.001, 0.1, 0.3]}},
        trials=4,
        publish_model=True,
        model_name="best",
    )
    data = result["data"]
    assert [item["trial"] for item in data["trials"] if item["ended_early"]]
    assert data["parameters"].get("learning_rate") in (0.1, 0.3) or data["parameters"] == {"n_estimators": 27}
    assert data["score"] <= data["first_score"]
    assert (data["stopped"], data["stopped_by"], data["cost_usd"]) == (False, "", None)
    assert len(data["trials"]) == 4 and data["trials"][0]["curve"][-1][0] == 1
    assert result["output"]["name"] == "best"
    assert result["metrics"]["rmse"] < result["metrics"]["baseline_rmse"]
