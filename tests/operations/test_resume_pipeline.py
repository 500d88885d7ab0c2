"""operations/resume_pipeline on the local engine."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from f.flexcore.lib.core.contracts import StepResult
from f.flexcore.lib.core.errors import InvalidInput, NotFound, Unavailable, Unreachable
from f.flexcore.lib.pipeline.resume import (
    arguments,
    check_resumable,
    completed_stages,
    list_names,
    reported_stages,
    stages_left_by_steps,
    start,
)
from f.flexcore.lib.windmill import client
from tests.operations.fake_windmill import FakeWindmill
from wmlocal.engine import Engine
from wmlocal.engine.engine import JobResult

ROOT = Path(__file__).parent.parent.parent
HYBRID = "f/flexcore/hybrid_pipeline"
Json = dict[str, Any]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(ROOT) as running:
        yield running


def extraction() -> Json:
    step = StepResult(success=True, runtime="meltano", execution_key="fc-1", attempt=1)
    return {"stage": "extraction", "reused": False, "result": step.plain(), "request": "abc"}


def refused(engine: Engine) -> tuple[Json, JobResult]:
    """A pipeline that fails at once and gives back what came with it."""
    asked = {
        "extraction": {"project": "$res:u/admin/flexcore_local_project", "taps": ["tap-flights"]},
        "ml": {"target_column": "x", "cluster": {}},
        "deployment": {"target": "moon"},
        "partial_results": [extraction()],
    }
    return asked, engine.run(HYBRID, asked)


def resume(engine: Engine, execution: str, **more: Any) -> JobResult:
    return engine.run("f/flexcore/operations/resume_pipeline", {"execution": execution, **more})


def job_of(engine: Engine, name: str) -> Json:
    address = f"{engine.url}/api/w/{engine.workspace}/jobs_u/get/{name}"
    return dict(httpx.get(address, headers={"Authorization": f"Bearer {engine.token}"}).json())


def test_a_failed_pipeline_starts_again_with_its_arguments_and_what_it_has_finished(engine: Engine) -> None:
    asked, failed = refused(engine)
    assert not failed.success
    done = resume(engine, failed.id)
    assert done.success, done.result
    assert done.result["finished"] == ["extraction"] and done.result["resumed"] == failed.id
    started = job_of(engine, done.result["started"])
    assert started["script_path"] == HYBRID and not started.get("parent_job")
    # References stay references: no secret is copied from one run to the next.
    assert started["args"] == asked
    until = time.monotonic() + 60
    while job_of(engine, done.result["started"])["type"] != "CompletedJob":
        assert time.monotonic() < until
        time.sleep(0.1)


def test_a_step_that_is_repeated_after_a_kill_starts_no_second_run(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    windmill = client.Client(engine.token, workspace=engine.workspace, url=engine.url)
    asked, _ = refused(engine)
    monkeypatch.setenv("WM_JOB_ID", "job-1")
    first = start(windmill, HYBRID, asked)
    assert start(windmill, HYBRID, asked) == first
    monkeypatch.setenv("WM_JOB_ID", "job-2")
    assert start(windmill, HYBRID, asked) != first, "another step is another wish"


@pytest.mark.parametrize("arrived", [True, False])
def test_a_start_whose_answer_is_lost_is_looked_for(arrived: bool) -> None:
    def lose(path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        if "/jobs/run/f/" in path:
            asked.extend(query["job_id"])
            return 502, "bad gateway"
        return (200, {"id": path.rsplit("/", 1)[-1]}) if arrived else (404, "not found")

    asked: list[str] = []
    with FakeWindmill() as windmill:
        windmill.route = lose
        if arrived:
            assert start(windmill.client(), HYBRID, {}) == asked[0]
            return
        with pytest.raises(Unavailable, match="HTTP 502") as caught:
            start(windmill.client(), HYBRID, {})
    assert caught.value.remedy == f"Look for run {asked[0]} before you try again."
    assert str(caught.value).endswith(f"(HTTP 502). {caught.value.remedy}")


def test_a_start_that_no_server_answers_names_the_run_to_look_for() -> None:
    with FakeWindmill() as windmill:
        away = windmill.client()
    with pytest.raises(Unreachable, match="did not answer the start") as caught:
        start(away, HYBRID, {})
    assert re.fullmatch(r"Look for run [0-9a-f-]{36} before you try again.", str(caught.value.remedy))


def test_a_dry_run_starts_nothing(engine: Engine) -> None:
    _, failed = refused(engine)
    done = resume(engine, failed.id, dry_run=True)
    assert done.success and done.result["started"] is None and done.result["finished"] == ["extraction"]


@pytest.mark.parametrize(
    ("execution", "name"),
    [("no id", "InvalidInput"), ("0d1f4b9e-8a52-4a56-9b1c-6c1f2e7d3a40", "NotFound"), ("", "InvalidInput")],
)
def test_what_is_no_run_is_told_as_such(engine: Engine, execution: str, name: str) -> None:
    done = resume(engine, execution)
    assert not done.success and done.result["error"]["name"] == name


def test_a_run_of_something_else_is_refused(engine: Engine) -> None:
    other = resume(engine, "no id")
    done = resume(engine, other.id)
    assert "cannot be resumed" in done.result["error"]["message"]


def job(**change: Any) -> Json:
    return {
        "id": "j",
        "job_kind": "flow",
        "script_path": HYBRID,
        "type": "CompletedJob",
        "success": False,
        "args": {"ml": {}},
        "result": {"partial_results": []},
        **change,
    }


def test_one_that_runs_or_has_succeeded_is_refused() -> None:
    with pytest.raises(Unavailable, match="still running"):
        check_resumable(job(type="QueuedJob"))
    with pytest.raises(InvalidInput, match="has succeeded"):
        check_resumable(job(success=True))
    with pytest.raises(InvalidInput, match="cannot be resumed"):
        check_resumable(job(job_kind="flowpreview"))
    assert check_resumable(job()) == HYBRID


@pytest.mark.parametrize("args", [None, {"reason": "WINDMILL_TOO_BIG"}, {"ml": "WINDMILL_TOO_BIG"}])
def test_arguments_that_windmill_no_longer_has_are_not_made_up(args: Any) -> None:
    with pytest.raises(NotFound, match="no longer has the arguments"):
        arguments(job(args=args), [])


def test_a_data_pipeline_takes_no_partial_results() -> None:
    assert arguments(job(script_path="f/flexcore/data_pipeline"), []) == {"ml": {}}


WORKFLOW = "f/flexcore/templates/container_workflow"


def test_a_workflow_of_containers_reads_what_was_finished_from_the_run_itself() -> None:
    failed = job(script_path=WORKFLOW, args={"nodes": [], "resume_from": "an earlier one"})
    assert check_resumable(failed) == WORKFLOW
    assert arguments(failed, [{"node": "top"}]) == {"nodes": [], "resume_from": "j"}


def test_what_a_canceled_workflow_has_finished_is_read_from_its_last_level() -> None:
    def answer(path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        return 200, {"finished": [{"node": "top"}, {"node": "left"}]}

    canceled = job(script_path=WORKFLOW, result={"error": {"name": "Canceled"}})
    with FakeWindmill() as windmill:
        windmill.route = answer
        finished = completed_stages(windmill.client(), canceled)
    assert list_names(finished) == ["top", "left"]


@pytest.mark.parametrize("result", [None, {}, {"error": {"name": "Canceled"}}, {"partial_results": None}, []])
def test_a_run_without_partial_results_reports_none(result: Any) -> None:
    assert reported_stages(job(result=result)) is None


def test_what_a_cancelled_run_has_finished_is_read_from_its_steps() -> None:
    kept = {
        "prepare": {"requests": {"extraction": "abc"}, "reused": []},
        "extraction": extraction()["result"],
        "ml": {"error": {"name": "Canceled"}},
    }

    def answer(path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        step = path.rsplit("/", 1)[1]
        return (200, kept[step]) if step in kept else (404, "Not found")

    with FakeWindmill() as windmill:
        windmill.route = answer
        assert stages_left_by_steps(windmill.client(), "j") == [extraction()]
