"""Runtimes compared by the jobs of a local engine, and history read page by page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from f.flexcore.lib.core.errors import InvalidInput
from f.flexcore.lib.operations.history import read_runs
from f.flexcore.lib.selection.comparison import Comparison
from f.flexcore.operations import compare_runtimes
from tests.operations.fake_windmill import FakeWindmill
from tests.operations.toy_flows import client_of, engine, worker
from tests.pages import read_plain
from wmlocal.engine import Engine

__all__ = ["engine", "worker"]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("worker")]


@pytest.fixture(scope="module", autouse=True)
def sales(engine: Engine) -> None:
    """Three good runs of each of two runtimes, and one that failed."""
    for runtime, seconds in (("ray", 10), ("ray", 12), ("ray", 11), ("meltano", 20), ("meltano", 22), ("meltano", 21)):
        assert engine.run("f/x/sale", {"runtime": runtime, "seconds": seconds, "success": True}).success
    assert not engine.run("f/x/sale", {"runtime": "ray", "seconds": 3, "success": False}).success


def compared(**asked: Any) -> tuple[str, Comparison]:
    html, _ = compare_runtimes.main(**asked)["render_all"]
    return html["html"], Comparison.model_validate(read_plain(compare_runtimes.main(**asked)))


def test_the_figures_of_each_runtime_come_from_windmills_own_jobs() -> None:
    html, found = compared(workflow_type="sales")
    ray = next(item for item in found.runtimes if item.runtime == "ray")
    assert (found.runs, ray.runs, ray.samples, ray.duration_p50_s) == (7, 4, 3, 11)
    assert ray.success_rate == 0.75
    assert found.recommendation.runtime == "ray"
    assert "meltano" in html and "Cost, median" in html and "background" in html


def test_a_time_range_bounds_what_is_compared() -> None:
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert compared(workflow_type="sales", since=tomorrow)[1].runs == 0
    assert compared(workflow_type="sales", until=tomorrow)[1].runs == 7
    with pytest.raises(InvalidInput, match="since: 'last week' is not a time"):
        compare_runtimes.main("sales", since="last week")
    with pytest.raises(InvalidInput, match="since is not before until"):
        compare_runtimes.main("sales", since="2026-01-02", until="2026-01-01")


def test_runs_of_a_flow_or_script_are_compared_by_its_path(engine: Engine) -> None:
    engine.run("f/x/ray/execute", {"cpu": 1, "fail": False})
    engine.run("f/x/ray/execute", {"cpu": 1, "fail": True})
    (row,) = read_runs(client_of(engine), "f/x/ray/execute")
    assert (row.runtime, row.success, row.workflow_type) == ("ray", True, "f/x/ray/execute")
    assert row.duration_s and row.started_at


def test_an_unknown_type_has_no_runs_and_says_so() -> None:
    found = compared(workflow_type="moon")[1]
    assert (found.runs, found.recommendation.runtime) == (0, None)
    assert "no run of moon" in found.recommendation.reason


def test_long_histories_are_read_page_by_page_up_to_a_bound() -> None:
    def answer(path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        if path.endswith("/jobs/completed/list"):
            page, size = int(query["page"][0]), int(query["per_page"][0])
            numbers = range((page - 1) * size, min(page * size, 250))
            return 200, [{"id": str(n), "type": "CompletedJob"} for n in numbers]
        number = int(path.rsplit("/", 1)[-1])
        run = {"workflow_type": "x", "runtime": "ray", "duration_s": 1 + number, "success": True}
        results: list[Any] = [{"run": run}, {"run": {**run, "duration_s": -1}}, "no result of ours", None]
        return 200, {"id": str(number), "type": "CompletedJob", "result": results[number % 4]}

    with FakeWindmill() as windmill:
        windmill.route = answer
        client = windmill.client()
        assert [run.duration_s for run in read_runs(client, "x")] == [1.0 + n for n in range(0, 250, 4)]
        assert sum(request.endswith("/jobs/completed/list") for request in windmill.requests) == 3
        assert len(read_runs(client, "x", limit=120)) == 30
