"""The bundle on a real Windmill: pushed twice, beside other people's things, run, and made to fail."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from f.flexcore.core.contracts import ModelManifest
from f.flexcore.core.inference import infer_request, predictions
from flexcore.demo import pipeline_request
from flexcore.demo_data import write_demo_data
from flexcore.ray_head import RayHead
from tests.live.conftest import CLI, ROOT, Windmill

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("live")]
FLOW = "f/flexcore/hybrid_pipeline"


def push(windmill: Windmill, config: Path) -> str:
    command = [str(CLI), "sync", "push", "--yes", "--keep-deleted", "--config-dir", str(config),
               "--workspace", windmill.workspace, "--base-url", windmill.url, "--token", windmill.token]  # fmt: skip
    env = os.environ | {"NO_COLOR": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def pushed(windmill: Windmill, tmp_path_factory: pytest.TempPathFactory) -> Windmill:
    config = tmp_path_factory.mktemp("wmill")
    push(windmill, config)
    assert "0 changes to apply" in push(windmill, config)
    return windmill


@pytest.fixture(scope="module")
def ray_address(pushed: Windmill, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with RayHead(tmp_path_factory.mktemp("ray")) as head:
        yield head.address


@pytest.fixture(scope="module")
def request_for(ray_address: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("flights")
    write_demo_data(folder, 5000)
    settings = {"storage_uri": f"file://{tmp_path_factory.mktemp('store')}"}
    return pipeline_request(folder, ray_address, {"target": "ray", "algorithm": "xgboost"}, settings)


def test_a_push_removes_nothing_of_what_others_keep_in_the_workspace(windmill: Windmill, tmp_path: Path) -> None:
    theirs = {"name": "c_other_peoples", "schema": {"type": "object", "properties": {}}, "description": "theirs"}
    if not windmill.call("GET", "resources/type/exists/c_other_peoples"):
        windmill.call("POST", "resources/type/create", theirs)
    try:
        push(windmill, tmp_path)
        assert windmill.call("GET", "resources/type/exists/c_other_peoples")
    finally:
        windmill.call("DELETE", "resources/type/delete/c_other_peoples")


def test_the_pipeline_ends_with_an_endpoint_that_predicts(pushed: Windmill, request_for: dict[str, Any]) -> None:
    success, result = pushed.run_flow(FLOW, request_for)
    assert success, result
    assert [stage["stage"] for stage in result["stages"]] == ["extraction", "ml", "deployment"]
    model = ModelManifest.model_validate(result["stages"][1]["result"]["output"])
    body = infer_request(model.example, model.signature)
    answer = httpx.post(f"{result['final_endpoint']}/v2/models/{model.name}/infer", json=body, timeout=60)
    assert len(predictions(answer.raise_for_status().json())) == len(model.example)


def test_a_failed_stage_is_named_and_the_next_run_skips_what_was_finished(
    pushed: Windmill, request_for: dict[str, Any]
) -> None:
    broken = request_for | {"ml": request_for["ml"] | {"target_column": "arrival"}}
    success, failed = pushed.run_flow(FLOW, broken)
    assert not success
    assert failed["failed_stage"] == "ml"
    assert failed["error"].startswith("ML processing failed: ")
    assert "arrival" in failed["error"]
    assert [stage["stage"] for stage in failed["partial_results"]] == ["extraction"]

    success, result = pushed.run_flow(FLOW, request_for | {"partial_results": failed["partial_results"]})
    assert success, result
    assert [stage["reused"] for stage in result["stages"]] == [True, False, False]


def test_a_refused_request_runs_nothing_and_names_the_field(pushed: Windmill, request_for: dict[str, Any]) -> None:
    success, failed = pushed.run_flow(FLOW, request_for | {"deployment": {"target": "moon"}})
    assert not success
    assert failed["error"].startswith("Deployment failed: deployment.target")
    assert failed["partial_results"] == []


CASES = {
    name: case
    for file in ("cases.json", "more_cases.json")
    for name, case in json.loads((ROOT / "tests/fidelity" / file).read_text()).items()
}


@pytest.mark.parametrize("name", ["linear", "failure_module", "loop_failure", "returns_nan", "skip_if_true"])
def test_the_recorded_answers_are_still_the_servers(windmill: Windmill, name: str) -> None:
    success, result = windmill.preview(CASES[name]["value"], CASES[name]["args"])
    assert success == CASES[name]["expected"]["success"]
    assert _without_stacks(result) == CASES[name]["expected"]["result"]


def _without_stacks(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_stacks(item) for key, item in value.items() if key != "stack"}
    return [_without_stacks(item) for item in value] if isinstance(value, list) else value
