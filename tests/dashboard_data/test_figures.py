"""How the runtimes compare: each figure with the runs that it stands on, and what the figures are of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core import resources, workloads
from f.flexcore.lib.dashboard import figures, index_update, run_index
from f.flexcore.lib.storage import object_store
from tests.operations.fake_windmill import FakeWindmill
from tests.operations.listing_windmill import make_job

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)


def run(number: int, success: bool = True, **fields: Any) -> workloads.Run:
    given = {"workflow_type": "w", "runtime": "ray", "duration_s": 60.0 + number, "success": success}
    return workloads.Run.model_validate(given | {"started_at": NOW - timedelta(hours=number)} | fields)


def test_each_figure_has_the_number_of_runs_that_it_stands_on() -> None:
    runs = [run(0, rows=600, cost_usd=0.5), run(1, rows=610), run(2), *(run(number, False) for number in range(3, 20))]
    found = figures.compare("w", runs)
    (ray,) = found.runtimes
    assert (ray.runs, ray.samples, ray.rows_samples, ray.cost_samples) == (20, 3, 2, 1)
    assert (ray.p50_s, ray.cost, ray.success_rate) == (61.0, 0.5, 0.15)
    assert ray.note == "only 3 of its runs succeeded: too few to rely on"
    assert (found.runs, found.since, found.until) == (20, NOW - timedelta(hours=19), NOW)


def test_a_workflow_whose_runs_all_failed_says_so() -> None:
    found = figures.compare("w", [run(number, False) for number in range(7)])
    assert (found.recommendation, found.no_choice) == (None, "Every run failed; look at the errors first")
    assert figures.compare("w", [run(0)]).no_choice is None


@pytest.mark.parametrize(("ended", "indexed", "newest"), [(60, 0, None), (61, 0, 60), (150, 90, None), (150, 89, 60)])
def test_figures_of_the_newest_executions_alone_say_so(
    tmp_path: Path, ended: int, indexed: int, newest: int | None
) -> None:
    """Without a run index, and with one that has not followed."""
    settings = resources.Settings(storage_uri=f"file://{tmp_path}")
    jobs = [make_job(number, NOW - timedelta(minutes=number)) for number in range(ended)]
    index = run_index.RunIndex(object_store.Store(settings), "test")
    index.add([_row(job) for job in jobs[ended - indexed :]])
    with FakeWindmill() as windmill:
        windmill.ended = {job["id"]: job for job in jobs}
        answer_others = windmill.answer

        def answer(method: str, path: str, query: Any, body: Any) -> tuple[int, Any]:
            if not path.endswith("/jobs/completed/list"):
                return answer_others(method, path, query, body)
            size, page = int(query["per_page"][0]), int(query.get("page", ["1"])[0])
            return 200, jobs[(page - 1) * size : page * size]

        windmill.answer = answer  # type: ignore[method-assign]
        (found,) = figures.read_comparison(windmill.client(), settings, NOW)
    assert (found.newest, found.runs) == (newest, min(ended - indexed, 60) + indexed)


def _row(job: dict[str, Any]) -> run_index.IndexRow:
    began = datetime.fromisoformat(job["started_at"])
    ended = began + timedelta(seconds=1)
    kept = run(0, workflow_type=index_update.workflow_type(job), started_at=began)
    return run_index.IndexRow(
        id=job["id"], workflow="templates/toy", status="success", created_at=began, ended_at=ended, run=kept
    )
