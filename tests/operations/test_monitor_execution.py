"""Executions as they run, end, fail and are cancelled, watched on the local engine."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest

from f.flexcore.lib.core.errors import InvalidInput, NotFound
from f.flexcore.lib.core.monitoring import Execution
from f.flexcore.lib.windmill.job_tree import read_job_tree
from f.flexcore.operations import monitor_execution
from tests.operations.toy_flows import client_of, engine, eventually, worker
from tests.pages import read_plain
from wmlocal.engine import Engine

__all__ = ["engine", "worker"]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("worker")]


def watched(job: str) -> Execution:
    result = monitor_execution.main(job)
    assert "<table" in result["render_all"][0]["html"]
    return Execution.model_validate(read_plain(result))


def statuses(record: Execution) -> dict[str, str]:
    return {step.step: step.status for step in record.steps}


def args(gate: Path, **more: Any) -> dict[str, Any]:
    return {"cpus": [1, 2], "fail": False, "gate": str(gate), **more}


def test_a_running_flow_is_seen_live_and_a_finished_one_whole(engine: Engine, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    job = engine.start("f/x/pipeline", args(gate))
    live = eventually(lambda: (found := watched(job.id)) and statuses(found).get("gate") == "running" and found)
    assert (live.status, live.duration_s > 0, live.completed_at) == ("running", True, None)
    assert statuses(live) == {
        "attempts": "success",
        "attempts[0]": "success",
        "attempts[0].ray": "success",
        "attempts[0].ray.run": "success",
        "attempts[0].note": "success",
        "attempts[1]": "success",
        "attempts[1].ray": "success",
        "attempts[1].ray.run": "success",
        "attempts[1].note": "success",
        "gate": "running",
        "last": "waiting",
    }
    assert live.resource_usage.cpu_seconds == 3
    gate.touch()
    assert engine.wait(job).success
    done = watched(job.id)
    assert (done.status, done.runtime, done.workflow_type, done.complete) == ("success", "ray", "toy", True)
    assert (done.resource_usage.cpu_seconds, done.resource_usage.peak_memory_bytes) == (3, 1000)
    assert done.resource_usage.gpu_seconds is None
    work = next(step for step in done.steps if step.step == "attempts[1].ray.run")
    assert (work.runtime, work.path, work.depth) == ("ray", "f/x/ray/work", 3)
    assert work.links and work.links.remote == "http://127.0.0.1:8265/#/jobs/x"
    assert work.duration_s and work.duration_s <= (done.duration_s or 0)


def test_the_log_link_of_a_step_answers(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "gate").touch()
    done = watched(engine.run("f/x/pipeline", args(tmp_path / "gate", cpus=[1])).id)
    assert done.links.run.startswith(f"{engine.url}/run/")
    answer = httpx.get(done.links.logs, headers={"Authorization": f"Bearer {engine.token}"})
    assert answer.status_code == 200


def test_a_failed_flow_names_the_innermost_step_and_its_error(engine: Engine, tmp_path: Path) -> None:
    failed = watched(engine.run("f/x/pipeline", args(tmp_path / "gate", fail=True)).id)
    assert failed.status == "failed"
    assert failed.error and failed.error.step == "attempts[0].ray.run"
    assert "no such column" in failed.error.message
    assert failed.runtimes == ["ray"]
    assert statuses(failed)["gate"] == "not run"


def test_a_cancelled_flow_is_told_as_such(engine: Engine, tmp_path: Path) -> None:
    job = engine.start("f/x/pipeline", args(tmp_path / "never"))
    eventually(lambda: statuses(watched(job.id)).get("gate") == "running")
    engine.cancel(job.id)
    engine.wait(job)
    record = watched(job.id)
    assert (record.status, statuses(record)["gate"], statuses(record)["last"]) == ("cancelled", "cancelled", "not run")


def test_a_script_of_its_own_is_an_execution_without_steps(engine: Engine) -> None:
    record = watched(engine.run("f/x/ray/work", {"cpu": 4}).id)
    assert (record.status, record.runtime, record.steps) == ("success", "ray", [])
    assert record.resource_usage.cpu_seconds == 4


def test_of_very_many_jobs_some_are_shown_and_the_record_says_so(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "gate").touch()
    job = engine.run("f/x/pipeline", args(tmp_path / "gate")).id
    _, complete = read_job_tree(client_of(engine), job, max_jobs=4)
    assert not complete
    assert read_job_tree(client_of(engine), job)[1]


def test_a_text_that_is_not_an_id_and_the_id_of_no_job_are_told_apart() -> None:
    with pytest.raises(InvalidInput, match="id: 'the last one' is not the id of a run"):
        monitor_execution.main("the last one")
    with pytest.raises(NotFound, match="There is no job"):
        monitor_execution.main(str(uuid.uuid4()))
