"""The whole pipeline on the local engine, with a real Meltano and a real Ray."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core.contracts import PipelineResult
from flexcore.ray_head import RayHead
from tests import hybrid_cases as cases
from wmlocal.engine import Engine

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pipelines")]
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hybrid")


@pytest.fixture(scope="module")
def run() -> Iterator[cases.RunFlow]:
    def run_flow(path: str, args: dict[str, Any]) -> tuple[bool, Any]:
        done = engine.run(path, args)
        return done.success, done.result

    with Engine(ROOT) as engine:
        yield run_flow


@pytest.fixture(scope="module")
def request_for(folder: Path, pipelines_head: RayHead) -> dict[str, Any]:
    return cases.small_request(folder, pipelines_head.resource)


@pytest.fixture(scope="module")
def done(run: cases.RunFlow, request_for: dict[str, Any]) -> PipelineResult:
    return cases.check_failure_then_resume(run, request_for)


def test_a_failed_stage_is_named_and_the_next_run_skips_what_was_finished(done: PipelineResult) -> None:
    assert done.success


def test_the_endpoint_predicts_better_than_the_mean(done: PipelineResult) -> None:
    cases.check_it_predicts(done)


def test_a_refused_request_names_stage_and_field(run: cases.RunFlow, request_for: dict[str, Any]) -> None:
    cases.check_refusals(run, request_for)


def test_a_damaged_partial_result_is_made_anew(
    run: cases.RunFlow, request_for: dict[str, Any], done: PipelineResult, folder: Path
) -> None:
    cases.check_damage_is_noticed(run, request_for, done, folder / "store")
