"""What a training on a real Ray head makes of classes, rankings, bad labels and rows larger than memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from f.flexcore.lib.core.errors import DataError
from f.flexcore.lib.serving.model_format import load_pipeline
from f.flexcore.lib.storage.object_store import local_path, model_manifest
from f.flexcore.ray.train import main

pytestmark = pytest.mark.slow
Extracted = Callable[..., dict[str, Any]]


def searches(queries: int = 40, shown: int = 12) -> list[dict[str, Any]]:
    """Pages shown for queries; how relevant one is follows from how well it matches."""
    generator = np.random.default_rng(1)
    return [
        {"query": f"q{query}", "match": float(match), "age": float(generator.random()), "grade": int(match * 4)}
        for query in range(queries)
        for match in generator.random(shown)
    ]


@pytest.mark.parametrize("algorithm", ["xgboost", "lightgbm"])
def test_a_ranking_orders_the_rows_of_each_query_and_holds_out_whole_queries(
    cluster: dict[str, Any], extracted: Extracted, algorithm: str
) -> None:
    asked: dict[str, Any] = {"algorithm": algorithm, "task": "ranking", "group_column": "query"}
    result = main(cluster, extracted(searches()), "grade", parameters={"n_estimators": 20}, **asked)
    manifest = model_manifest(result["output"])
    metrics = manifest.metrics
    assert metrics["test_groups"] == 8 and metrics["test_rows"] == 8 * 12
    own, naive = metrics["ndcg_at_10"], metrics["baseline_ndcg_at_10"]
    assert own is not None and naive is not None and own > 0.95 > naive
    assert [item.name for item in manifest.signature.inputs] == ["match", "age"]
    folder = Path(local_path(manifest.uri))
    scores = load_pipeline(folder, manifest.format).predict(pd.DataFrame(searches(1)))
    assert len(scores) == 12
    card = (folder / manifest.card).read_text()
    assert "by whole groups" in card and "ndcg\\_at\\_10" in card


def test_rare_classes_are_weighed_and_told(cluster: dict[str, Any], extracted: Extracted) -> None:
    def rows(frauds: int) -> list[dict[str, Any]]:
        generator = np.random.default_rng(0)
        kinds = ["fraud"] * frauds + ["fine"] * (19 * frauds)
        return [{"amount": float(generator.normal(1.2 if kind == "fraud" else 0)), "kind": kind} for kind in kinds]

    def learn(**more: Any) -> tuple[list[str], str]:
        """Notes, and what an amount is taken for that is more often of a fraud, of which there are few."""
        learned = main(cluster, extracted(rows(few)), "kind", algorithm="LogisticRegression", **more)
        manifest = model_manifest(learned["output"])
        pipeline = load_pipeline(Path(local_path(manifest.uri)), manifest.format)
        return learned["data"]["notes"], str(pipeline.predict(pd.DataFrame({"amount": [1.5]}))[0])

    few = 45
    assert learn()[1] == "fine"
    notes, answer = learn(class_weights=["balanced"])
    assert answer == "fraud"
    assert any(f"The class 'fraud' has {few} rows, of which {few // 5} are held out" in note for note in notes)


def test_labels_that_are_nan_are_refused_with_counts(cluster: dict[str, Any], extracted: Extracted) -> None:
    rows = [{"x": float(number), "y": float("nan") if number % 10 == 0 else number * 2.0} for number in range(50)]
    with pytest.raises(DataError, match="'y' is NaN in 5 of 50 rows") as caught:
        main(cluster, extracted(rows, None, "parquet"), "y")
    assert "write null" in str(caught.value)
