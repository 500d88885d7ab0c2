"""The card of a model: what stands in it, and that nobody's text is markup in it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from f.flexcore.lib.ray.remote import importance, model_card
from f.flexcore.lib.serving import estimators
from f.flexcore.lib.views import model_pages

Json = dict[str, Any]
EVIL = "x\n# Title\n---\n<script>alert(1)</script> | `code` [a](javascript:b)\u2028- item"


def facts(**changes: Any) -> Json:
    name = changes.pop("name", "rows")
    return {
        "manifest": {
            "name": "delay",
            "version": "7",
            "rows": 800,
            "format": "xgboost-ubj",
            "algorithm": "xgboost",
            "target": name,
            "framework": {"name": "xgboost-cpu", "version": "3.2.0"},
            "signature": {"inputs": [{"name": name, "datatype": "FP64"}], "outputs": []},
            "metrics": {"rmse": 1.25, "baseline_rmse": 2.5, "r2": None},
            "versions": {"python": "3.11.7", "xgboost": "3.2.0"},
        },
        "task": "regression",
        "source": {
            "stream": name,
            "uri": "s3://b/x",
            "rows": 1010,
            "files": [{}, {}],
            "checksum": "sha256:" + "a" * 64,
        },
        "split": {
            "seen": 800,
            "held_out": 200,
            "dropped": 10,
            "validation": 0,
            "fraction": 0.2,
            "by": "content",
            "classes": {},
            "weights": [],
        },
        "parameters": {"max_depth": 3},
        "importance": [(name, 0.5)],
        "notes": [name],
        "code": "c" * 64,
        **changes,
    }


def parts(card: str) -> tuple[Json, str]:
    _, front, body = card.split("---\n", 2)
    return yaml.safe_load(front), body


def test_a_card_has_data_split_measures_baseline_importance_versions_and_code() -> None:
    front, body = parts(model_card.make_card(facts()))
    assert front["library_name"] == "xgboost-cpu" and front["pipeline_tag"] == "tabular-regression"
    assert front["versions"]["xgboost"] == "3.2.0" and front["code_sha256"] == "c" * 64
    (result,) = front["model-index"][0]["results"]
    assert {item["type"]: item["value"] for item in result["metrics"]} == {"rmse": 1.25, "baseline_rmse": 2.5}
    assert result["dataset"]["revision"].startswith("sha256:aaa")
    for text in (
        "| baseline\\_rmse | 2.5 |",
        "| r2 | not measured |",
        "1,010 rows in 2 files",
        "800 rows are learned from, 200 are held out",
        "10 rows have no target",
        "| max\\_depth | 3 |",
        "| rows | 0.5 |",
        "| python | 3.11.7 |",
        "c" * 64,
    ):
        assert text in body, text


def test_nobodys_text_is_markup_or_metadata() -> None:
    card = model_card.make_card(facts(name=EVIL))
    front, body = parts(card)
    assert front["model-index"][0]["results"][0]["dataset"]["name"] == EVIL
    assert set(front) == set(parts(model_card.make_card(facts()))[0])
    lines = body.splitlines()
    assert not any(line.startswith(("# Title", "---", "- item")) for line in lines)
    assert "<script>" not in body and "\\<script\\>" in body
    assert "](javascript" not in body


def test_classes_groups_and_weights_are_in_the_split() -> None:
    split = facts()["split"] | {"by": "group", "classes": {"a": 900, "b": 100}, "weights": ["balanced"], "seen": None}
    body = parts(model_card.make_card(facts(task="classification", split=split)))[1]
    assert "not measured rows are learned from" in body and "by whole groups" in body
    assert "100 rows of the class b" in body and "Class weights: balanced" in body


def fitted(task: str) -> tuple[Any, pd.DataFrame, pd.Series]:
    generator = np.random.default_rng(0)
    rows = pd.DataFrame({"useful": generator.random(300), "noise": generator.random(300)})
    truth = rows["useful"] * 10 if task == "regression" else (rows["useful"] > 0.5).map({True: "a", False: "b"})
    algorithm = "Ridge" if task == "regression" else "LogisticRegression"
    pipeline = estimators.make_pipeline(
        estimators.make_estimator(algorithm, task, {}, 1), dict.fromkeys(rows, "number"), {}
    )
    return pipeline.fit(rows, truth), rows, truth


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_the_feature_that_the_model_leans_on_is_the_most_important(task: str) -> None:
    pipeline, rows, truth = fitted(task)
    found, notes = importance.measure_importance(pipeline, rows, truth, task)
    assert [name for name, _ in found] == ["useful", "noise"] and notes == []
    assert found[0][1] > 0.3 and abs(found[1][1]) < 0.05
    assert importance.measure_importance(pipeline, rows, truth, task)[0] == found


def test_importance_that_takes_too_long_is_left_out_and_said() -> None:
    pipeline, rows, truth = fitted("regression")
    times = iter([0.0, 1.0, 11.0])
    found, notes = importance.measure_importance(pipeline, rows, truth, "regression", lambda: next(times))
    assert [name for name, _ in found] == ["useful"]
    assert notes == ["The importance of 1 features was not measured within 10 s"]
    assert importance.measure_importance(pipeline, rows.iloc[:1], truth.iloc[:1], "regression")[0] == []


def test_the_page_shows_the_model_and_escapes_all_that_is_text() -> None:
    told = facts(name=EVIL)
    result = {
        "output": told["manifest"],
        "data": {"notes": [EVIL], "importance": [[EVIL, 0.5]], "card": model_card.make_card(told)},
    }
    page = model_pages.render_model_page(json.loads(json.dumps(result)))
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert "rmse" in page and "1.25" in page and "2.5" in page and "3.11.7" in page
    assert "<summary>Model card</summary>" in page


def test_the_page_of_an_earlier_training_has_what_it_knows() -> None:
    manifest = {name: value for name, value in facts()["manifest"].items() if name != "versions"}
    page = model_pages.render_model_page({"output": manifest, "data": {}})
    assert "delay 7" in page and "Model card" not in page
