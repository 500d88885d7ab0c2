"""What the hybrid pipeline must do, run by the local engine (tests/pipeline) or by a Windmill (tests/live)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from f.flexcore.lib.core.contracts import ModelManifest, PipelineResult
from f.flexcore.lib.core.inference import build_infer_request, parse_predictions
from flexcore.commands.demo import pipeline_request
from flexcore.commands.demo_data import write_demo_data

FLOW = "f/flexcore/hybrid_pipeline"
ROWS = 3000
Json = dict[str, Any]
# (success, result) of a flow run with these arguments.
RunFlow = Callable[[str, Json], tuple[bool, Any]]


def small_request(folder: Path, ray: dict[str, str]) -> Json:
    """A request over a few flights, its store below `folder`. ray: a c_ray_cluster."""
    write_demo_data(folder / "source", ROWS)
    settings = {"storage_uri": f"file://{folder}/store"}
    request = pipeline_request(folder / "source", ray, {"target": "ray", "algorithm": "xgboost"}, settings)
    return request | {"extraction": request["extraction"] | {"taps": ["tap-flights"]}}


def check_failure_then_resume(run: RunFlow, request: Json) -> PipelineResult:
    """A wrong column fails the ml stage; the mended request skips the extraction and ends with an endpoint."""
    success, failed = run(FLOW, request | {"ml": request["ml"] | {"target_column": "arrival"}})
    assert not success
    assert failed["success"] is False
    assert failed["failed_stage"] == "ml", failed
    assert failed["error"].startswith("ML processing failed: ")
    assert "arrival" in failed["error"]
    assert [stage["stage"] for stage in failed["partial_results"]] == ["extraction"]

    success, result = run(FLOW, request | {"partial_results": failed["partial_results"]})
    assert success, result
    done = PipelineResult.model_validate(result)
    assert [stage.reused for stage in done.stages] == [True, False, False]
    assert done.stages[0].result.output
    assert done.stages[0].result.output.rows == ROWS
    return done


def check_it_predicts(done: PipelineResult) -> None:
    """The endpoint answers the model's own example rows, and the model is better than always saying the mean."""
    model = done.stages[1].result.output
    assert isinstance(model, ModelManifest)
    assert (model.metrics["rmse"] or 1e9) < (model.metrics["baseline_rmse"] or 0)
    url = f"{done.final_endpoint}/v2/models/{model.name}/infer"
    answer = httpx.post(url, json=build_infer_request(model.example, model.signature), timeout=60)
    assert len(parse_predictions(answer.raise_for_status().json())) == len(model.example)


def check_damage_is_noticed(run: RunFlow, request: Json, done: PipelineResult, store: Path) -> None:
    """A stage whose stored files were damaged is not taken for finished."""
    data = next(path for path in store.rglob("*.jsonl") if "flights" in path.name)
    with data.open("a") as stream:
        stream.write("{}\n")
    partial = [stage.plain() for stage in done.stages]
    success, failed = run(
        FLOW, request | {"ml": request["ml"] | {"target_column": "no_such_column"}, "partial_results": partial}
    )
    assert not success
    assert failed["failed_stage"] == "ml"
    assert [stage["reused"] for stage in failed["partial_results"]] == [False]


def check_refusals(run: RunFlow, request: Json) -> None:
    """What is wrong in the request is told by field and stage before anything runs."""
    success, failed = run(FLOW, request | {"deployment": {"target": "moon"}})
    assert not success
    assert failed["error"].startswith("Deployment failed: deployment.target")
    assert failed["partial_results"] == []
    success, failed = run(FLOW, request | {"extraction": request["extraction"] | {"taps": ["tap-flight"]}})
    assert not success
    assert failed["error"].startswith("Extraction failed: ")
    assert "tap-flights" in failed["error"]
