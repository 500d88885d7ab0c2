"""The data pipeline on a real Windmill, with a real Meltano and a real Ray, watched and compared by its jobs."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core.monitoring import Execution
from f.flexcore.lib.selection.comparison import Comparison
from flexcore.ray_head import RayHead
from tests import data_cases as cases
from tests.live.conftest import Windmill, push
from tests.pages import read_plain
from tests.ray.fake_dashboard import FakeDashboard

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("live")]
MONITOR, COMPARE = "f/flexcore/operations/monitor_execution", "f/flexcore/operations/compare_runtimes"


@pytest.fixture(scope="module")
def pushed(windmill: Windmill, tmp_path_factory: pytest.TempPathFactory) -> Windmill:
    push(windmill, tmp_path_factory.mktemp("wmill"))
    return windmill


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def head(folder: Path) -> Iterator[RayHead]:
    with RayHead(folder / "ray") as running:
        yield running


@pytest.fixture(scope="module")
def args(folder: Path, head: RayHead) -> dict[str, Any]:
    return {
        "workflow_type": f"live-{uuid.uuid4().hex[:8]}",
        "meltano": cases.meltano_form(folder),
        "ray": cases.ray_form(head.resource),
        "settings": cases.settings(folder),
    }


def script(windmill: Windmill, path: str, **given: Any) -> dict[str, Any]:
    success, result = windmill.finished(windmill.call("POST", f"jobs/run/p/{path}", given))
    assert success, result
    return read_plain(result)


def test_small_and_simple_work_is_measured_and_goes_to_meltano(pushed: Windmill, args: dict[str, Any]) -> None:
    cases.check_small_work_goes_to_meltano(pushed.run_flow, args)


def test_a_pinned_runtime_gets_the_work(pushed: Windmill, args: dict[str, Any]) -> None:
    cases.check_a_pin_decides(pushed.run_flow, args)


def test_a_plan_runs_nothing(pushed: Windmill, args: dict[str, Any]) -> None:
    cases.check_a_plan_runs_nothing(pushed.run_flow, args)


def test_a_runtime_that_cannot_start_hands_over_to_the_next(pushed: Windmill, args: dict[str, Any]) -> None:
    with FakeDashboard() as dashboard:
        dashboard.script = lambda *_: (503, "gone") if dashboard.requests.count("GET /api/version") > 1 else None
        asked = args | {"ray": cases.ray_form({"address": dashboard.address}), "data": {"size": "200GB"}}
        done = cases.result_of(pushed.run_flow, asked)
    assert [(item.runtime, item.started) for item in done.attempts] == [("ray", False), ("meltano", True)]


def test_a_failed_run_is_found_by_its_labels_and_its_innermost_error_is_told(
    pushed: Windmill, args: dict[str, Any], head: RayHead
) -> None:
    cases.check_failed_work_is_nobody_elses(pushed.run_flow, args, head.resource)
    label = f"workflow:{args['workflow_type']}"
    listed = pushed.call("GET", f"jobs/list?label={label}&job_kinds=flow&success=false")
    record = Execution.model_validate(script(pushed, MONITOR, id=listed[0]["id"]))
    assert (record.status, record.runtime, record.workflow_type) == ("failed", "ray", args["workflow_type"])
    assert record.error and record.error.step == "attempts[0].attempt.ray.run.program"


def test_the_runs_are_compared_by_their_jobs(pushed: Windmill, args: dict[str, Any]) -> None:
    found = Comparison.model_validate(script(pushed, COMPARE, workflow_type=args["workflow_type"]))
    rates = {item.runtime: (item.runs, item.success_rate) for item in found.runtimes}
    assert rates == {"meltano": (2, 1.0), "ray": (2, 0.5)}
