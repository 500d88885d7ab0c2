"""The bundle on a real Windmill: pushed twice, beside other people's things, run, and made to fail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core.contracts import PipelineResult
from flexcore.ray_head import RayHead
from tests import hybrid_cases as cases
from tests.live.conftest import Windmill, push
from tests.wmlocal.fidelity import case_files

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("live")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hybrid")


@pytest.fixture(scope="module")
def request_for(pushed: Windmill, folder: Path) -> Iterator[dict[str, Any]]:
    with RayHead(folder / "ray") as head:
        yield cases.small_request(folder, head.resource)


@pytest.fixture(scope="module")
def done(pushed: Windmill, request_for: dict[str, Any]) -> PipelineResult:
    return cases.check_failure_then_resume(pushed.run_flow, request_for)


def test_a_push_removes_nothing_of_what_others_keep_in_the_workspace(windmill: Windmill, tmp_path: Path) -> None:
    theirs = {"name": "c_other_peoples", "schema": {"type": "object", "properties": {}}, "description": "theirs"}
    if not windmill.call("GET", "resources/type/exists/c_other_peoples"):
        windmill.call("POST", "resources/type/create", theirs)
    try:
        push(windmill, tmp_path)
        assert windmill.call("GET", "resources/type/exists/c_other_peoples")
    finally:
        windmill.call("DELETE", "resources/type/delete/c_other_peoples")


def test_a_failed_stage_is_named_and_the_next_run_skips_what_was_finished(done: PipelineResult) -> None:
    assert done.success


def test_the_endpoint_predicts_better_than_the_mean(done: PipelineResult) -> None:
    cases.check_it_predicts(done)


def test_a_refused_request_names_stage_and_field(pushed: Windmill, request_for: dict[str, Any]) -> None:
    cases.check_refusals(pushed.run_flow, request_for)


def test_a_damaged_partial_result_is_made_anew(
    pushed: Windmill, request_for: dict[str, Any], done: PipelineResult, folder: Path
) -> None:
    cases.check_damage_is_noticed(pushed.run_flow, request_for, done, folder / "store")


CASES = case_files.read_cases()


@pytest.mark.parametrize("name", ["linear", "failure_module", "loop_failure", "returns_nan", "skip_if_true"])
def test_the_recorded_answers_are_still_the_servers(windmill: Windmill, name: str) -> None:
    success, result = windmill.preview(CASES[name]["value"], CASES[name]["args"])
    assert success == CASES[name]["expected"]["success"]
    assert _without_stacks(result) == CASES[name]["expected"]["result"]


def _without_stacks(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_stacks(item) for key, item in value.items() if key != "stack"}
    return [_without_stacks(item) for item in value] if isinstance(value, list) else value
