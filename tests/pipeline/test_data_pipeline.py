"""The data pipeline on the local engine, with a real Meltano and a real Ray."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core.errors import InvalidInput
from f.flexcore.lib.core.pipeline_result import DataPipelineResult
from flexcore import exit_codes
from flexcore.commands.plan import plan_command
from flexcore.ray_head import RayHead
from tests import data_cases as cases
from tests.hybrid_cases import RunFlow
from tests.ray.fake_dashboard import FakeDashboard
from wmlocal.engine import Engine

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pipelines")]
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(ROOT) as running:
        yield running


@pytest.fixture(scope="module")
def run(engine: Engine) -> RunFlow:
    def run_flow(path: str, args: dict[str, Any]) -> tuple[bool, Any]:
        done = engine.run(path, args)
        return done.success, done.result

    return run_flow


@pytest.fixture(scope="module")
def args(folder: Path, pipelines_head: RayHead) -> dict[str, Any]:
    return {
        "workflow_type": "flights",
        "meltano": cases.meltano_form(folder),
        "ray": cases.ray_form(pipelines_head.resource),
        "settings": cases.settings(folder),
    }


def test_small_and_simple_work_is_measured_and_goes_to_meltano(run: RunFlow, args: dict[str, Any]) -> None:
    cases.check_small_work_goes_to_meltano(run, args)


def test_a_pinned_runtime_gets_the_work(run: RunFlow, args: dict[str, Any]) -> None:
    cases.check_a_pin_decides(run, args)


def test_work_that_failed_on_its_runtime_is_not_done_again_on_another(
    run: RunFlow, args: dict[str, Any], pipelines_head: RayHead
) -> None:
    cases.check_failed_work_is_nobody_elses(run, args, pipelines_head.resource)


def test_a_plan_prices_and_checks_and_runs_nothing(run: RunFlow, args: dict[str, Any]) -> None:
    cases.check_a_plan_runs_nothing(run, args)


def test_a_runtime_that_cannot_start_hands_over_to_the_next(run: RunFlow, args: dict[str, Any]) -> None:
    with FakeDashboard() as dashboard:
        # It is well when it is asked for its health, and gone when the work is to begin.
        dashboard.script = lambda *_: (503, "gone") if dashboard.requests.count("GET /api/version") > 1 else None
        asked = args | {"ray": cases.ray_form({"address": dashboard.address}), "data": {"size": "200GB"}}
        done = cases.result_of(run, asked)
        assert "POST /api/jobs/" not in dashboard.requests
    assert done.success, done
    assert done.selection and done.selection.runtime == "ray"
    assert done.runtime == "meltano"
    assert [(item.runtime, item.started) for item in done.attempts] == [("ray", False), ("meltano", True)]
    assert "HTTP 503" in (done.attempts[0].error or {})["message"]
    assert done.wm_labels[-1] == "runtime:meltano"


def test_a_wrong_request_is_refused_before_anything_is_asked(run: RunFlow, folder: Path) -> None:
    asked = {
        "ray": cases.ray_form({"address": "http://127.0.0.1:1"}),
        "settings": cases.settings(folder),
        "pin": "moon",
    }
    assert "pin: 'moon' is not a runtime" in cases.refusal(run, asked)


def test_with_no_suitable_runtime_each_says_why(run: RunFlow, folder: Path) -> None:
    asked = {"ray": cases.ray_form({"address": "http://127.0.0.1:1"}), "settings": cases.settings(folder)}
    told = cases.refusal(run, asked)
    assert told.startswith("No suitable runtime available: ray: ")
    assert "http://127.0.0.1:1 cannot be reached" in told


def test_the_command_line_plans_and_says_why_nothing_would_run(
    engine: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLEXCORE_TOKEN", engine.token)
    asked = {"ray": cases.ray_form({"address": "http://127.0.0.1:1"}), "settings": cases.settings(folder)}
    target = (engine.url, engine.workspace, ROOT)
    assert plan_command(cases.FLOW, asked, *target, True) == exit_codes.FAILED
    plan = DataPipelineResult.model_validate_json(capsys.readouterr().out)
    assert plan.explain_only and plan.runtime is None and plan.selection
    assert "cannot be reached" in plan.checks["ray"]["error"]
    assert plan_command(cases.FLOW, asked | {"deadline_s": -1}, *target, True) == exit_codes.CANNOT_START
    with pytest.raises(InvalidInput, match="cannot be planned"):
        plan_command("f/flexcore/hybrid_pipeline", {}, *target, True)
