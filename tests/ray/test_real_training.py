"""Trainings on a real Ray head: from extracted rows to a model that a fresh process can load."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from f.flexcore.lib.core.contracts import ModelManifest
from f.flexcore.lib.core.errors import Conflict, InvalidInput, ManifestMismatch
from f.flexcore.lib.serving.model_format import load_pipeline
from f.flexcore.lib.storage.object_store import local_path, model_manifest
from f.flexcore.ray.train import main
from tests.ray.data import COLUMNS, flowers, houses

pytestmark = pytest.mark.slow
Extracted = Callable[..., dict[str, Any]]


def trained(result: dict[str, Any]) -> tuple[ModelManifest, Any]:
    manifest = model_manifest(result["output"])
    return manifest, load_pipeline(Path(local_path(manifest.uri)), manifest.format)


@pytest.mark.parametrize(("algorithm", "form"), [("xgboost", "csv"), ("Ridge", "parquet")])
def test_a_regression_beats_the_naive_guess_and_takes_raw_rows(
    cluster: dict[str, Any], extracted: Extracted, algorithm: str, form: str
) -> None:
    result = main(cluster, extracted(houses(), None, form), "price", algorithm=algorithm)
    manifest, pipeline = trained(result)
    metrics = manifest.metrics
    assert metrics["rmse"] is not None and metrics["baseline_rmse"] is not None
    assert metrics["rmse"] < metrics["baseline_rmse"] / 2
    assert metrics["r2"] is not None and metrics["r2"] > 0.8
    assert [(item.name, item.datatype) for item in manifest.signature.inputs] == [
        ("rooms", "FP64"),
        ("city", "BYTES"),
        ("garden", "BOOL"),
        ("area", "FP64"),
        ("sold_at", "BYTES"),
    ]
    strange = {"rooms": None, "city": "Atlantis", "garden": None, "area": "77", "sold_at": "never"}
    assert len(pipeline.predict(pd.DataFrame([strange, manifest.example[0]]))) == 2
    assert result["data"]["dropped_rows"] == 8
    assert any("country" in note for note in result["data"]["notes"])


@pytest.mark.parametrize(
    ("algorithm", "target", "datatype"), [("xgboost", "kind", "BYTES"), ("lightgbm", "tall", "BOOL")]
)
def test_a_classification_answers_with_the_classes_themselves(
    cluster: dict[str, Any], extracted: Extracted, algorithm: str, target: str, datatype: str
) -> None:
    rows = [{name: row[name] for name in ("size", "petals", target)} for row in flowers()]
    result = main(cluster, extracted(rows), target, algorithm=algorithm)
    manifest, pipeline = trained(result)
    assert manifest.signature.outputs[0].datatype == datatype
    assert manifest.metrics["accuracy"] == pytest.approx(1.0, abs=0.05)
    assert manifest.metrics["auc"] == pytest.approx(1.0, abs=0.05)
    assert set(pipeline.predict(pd.DataFrame(manifest.example))) <= {row[target] for row in rows}


@pytest.mark.parametrize(
    ("algorithm", "target", "feature", "metric"),
    [("xgboost", "city", "price", "accuracy"), ("lightgbm", "price", "city", "r2")],
)
def test_two_workers_train_one_model_together(
    cluster: dict[str, Any], extracted: Extracted, algorithm: str, target: str, feature: str, metric: str
) -> None:
    rows = [row for row in houses() if row["price"] is not None and row["rooms"] is not None]
    asked: dict[str, Any] = {"features": ["rooms", feature], "num_workers": 2, "parameters": {"n_estimators": 40}}
    manifest, pipeline = trained(main(cluster, extracted(rows, COLUMNS), target, algorithm=algorithm, **asked))
    score = manifest.metrics[metric]
    # Two of the three cities cannot be told apart: two thirds are the best there is.
    assert score is not None and score > 0.5
    assert len(pipeline.predict(pd.DataFrame(manifest.example))) == len(manifest.example)


def test_what_only_the_job_can_find_out_is_told_by_name(cluster: dict[str, Any], extracted: Extracted) -> None:
    """As its library says it, by a worker of the job; other refusals: test_learning, test_estimators."""
    with pytest.raises(InvalidInput, match="max_depth") as caught:
        main(cluster, extracted(houses(60)), "price", parameters={"max_depth": "deep"})
    assert caught.value.subject == "parameters.max_depth"
    assert "Traceback" not in str(caught.value)


def test_data_that_was_changed_after_its_extraction_is_not_trained_on(
    cluster: dict[str, Any], extracted: Extracted, tmp_path: Path
) -> None:
    source = extracted(houses(60), COLUMNS)
    path = tmp_path / "home/store/extraction/rows.jsonl"
    path.write_text(path.read_text().replace("Rome", "Rima"))
    with pytest.raises(ManifestMismatch, match=r"rows\.jsonl .* another checksum"):
        main(cluster, source, "price")


def test_checkpoints_are_kept_and_another_training_does_not_go_on_from_them(
    cluster: dict[str, Any], extracted: Extracted
) -> None:
    source = extracted(houses(), COLUMNS)
    asked: dict[str, Any] = {"early_stopping_rounds": 3}
    learning, recovery = {"n_estimators": 60, "learning_rate": 0.5}, {"checkpoint_every": 20}
    result = main(cluster, source, "price", parameters=learning, recovery=recovery, **asked)
    told = result["data"]["recovery"]
    assert (told["generation"], told["resumed_from"], told["worker_failures"]) == (1, None, 0)
    assert told["stored"] >= 1 and told["best_round"] <= 60 and told["validation_rows"] == 31
    assert result["data"]["dropped_rows"] == 8
    with pytest.raises(Conflict, match='algorithm is "xgboost" there and "lightgbm" here') as caught:
        main(cluster, source, "price", algorithm="lightgbm", recovery={"resume_from": told["checkpoints"]}, **asked)
    assert caught.value.subject == "resume_from" and "train from the beginning" in caught.value.remedy
