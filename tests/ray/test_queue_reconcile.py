"""The queue of a head that no step looks after: reconcile submits for suspended flows and takes away what is dead."""

from __future__ import annotations

import time as real_time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core import remote_objects
from f.flexcore.lib.core.errors import NotFound
from f.flexcore.lib.core.resources import Settings
from f.flexcore.lib.operations.reconciler import ReconcilePass, ReconcileRow
from f.flexcore.lib.ray import admission
from f.flexcore.lib.ray.queue_objects import QueueObjects
from f.flexcore.ray import run_job
from tests.ray.fake_dashboard import FakeDashboard

FLOW, STEP_JOB = "018f0000-0000-7000-8000-0000000000aa", "018f0000-0000-7000-8000-0000000000bb"


class Owners:
    """A Windmill that knows flows and the arguments of steps."""

    workspace = "dev"

    def __init__(self) -> None:
        self.flows: dict[str, remote_objects.Owner] = {}
        self.steps: dict[str, dict[str, Any]] = {}
        self.resumed: list[str] = []

    def queued_jobs(self) -> dict[str, dict[str, Any]]:
        return {id: {"suspend": int(state == "suspended")} for id, state in self.flows.items() if state != "ended"}

    def look_up(self, ids: list[str]) -> dict[str, remote_objects.Owner]:
        return {id: self.flows.get(id, "unknown") for id in ids}

    def resume(self, flow_job: str, payload: dict[str, Any]) -> str:
        self.resumed.append(flow_job)
        return "resumed"

    def arguments(self, job: str) -> dict[str, Any]:
        if job not in self.steps:
            raise NotFound(f"There is no job {job}")
        return self.steps[job]


@pytest.fixture
def dashboard() -> Iterator[FakeDashboard]:
    with FakeDashboard() as running:
        running.after_submit = lambda name: None
        yield running


class World:
    """A full head with one slot, and a flow whose deferred step waits for it."""

    def __init__(self, dashboard: FakeDashboard, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.dashboard, self.owners = dashboard, Owners()
        self.cluster = {"address": dashboard.address, "max_jobs": 1}
        self.settings = {"storage_uri": f"file://{folder}/store"}
        self.folder = folder / "store/ray-queue"
        labels = {"app.kubernetes.io/managed-by": "flexcore", "flexcore/key": "fc-" + "9" * 20}
        dashboard.jobs["other"] = {"submission_id": "other", "status": "RUNNING", "metadata": labels}
        for name, value in (("WM_FLOW_JOB_ID", FLOW), ("WM_JOB_ID", STEP_JOB), ("WM_WORKSPACE", "dev")):
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("WM_FLOW_STEP_ID", "a")
        arguments: dict[str, Any] = {
            "cluster": self.cluster,
            "program": "result = 1",
            "wait": "defer",
            "settings": self.settings,
        }
        submitted = run_job.main(**arguments)
        self.deferred = submitted["data"]["deferred"]
        self.owners.steps[STEP_JOB] = arguments
        self.owners.flows[FLOW] = "suspended"

    def reconcile(self, now: float | None = None) -> list[ReconcileRow]:
        queue = QueueObjects("u/ann/ray", self.cluster, Settings.model_validate(self.settings))
        return ReconcilePass(self.owners, now or real_time.time(), 50).run([("u/ann/ray", queue)])

    def files(self) -> list[str]:
        return sorted(path.name[0] for path in self.folder.rglob("*") if path.is_file())

    def submissions(self) -> list[dict[str, Any]]:
        return [job for name, job in self.dashboard.jobs.items() if name.startswith(self.deferred["execution_key"])]


@pytest.fixture
def world(dashboard: FakeDashboard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(dashboard, tmp_path, monkeypatch)


def test_a_deferred_job_is_submitted_by_reconcile_when_its_turn_has_come_and_only_once(world: World) -> None:
    assert world.files() == ["w"] and world.submissions() == []
    (row,) = world.reconcile()
    assert (row.state, row.action, row.owner) == ("waiting", "leave", f"{FLOW} suspended")
    world.dashboard.jobs["other"]["status"] = "SUCCEEDED"
    (row,) = world.reconcile()
    assert (row.state, row.action, row.outcome) == ("due", "submit", "submitted")
    (job,) = world.submissions()
    assert job["metadata"]["flexcore/owner-job"] == FLOW
    assert job["metadata"]["flexcore/deferred"] == "true"
    assert job["metadata"][admission.OWNER] != "0-0"
    assert world.files() == ["a"]
    assert world.reconcile() == []
    assert len(world.submissions()) == 1 and world.owners.resumed == []


def test_a_resumed_flow_submits_by_itself_and_attaches_to_what_reconcile_has_submitted(world: World) -> None:
    world.dashboard.jobs["other"]["status"] = "SUCCEEDED"
    world.reconcile()
    world.dashboard.finish(f"{world.deferred['execution_key']}-1", 7)
    done = run_job.main(world.cluster, "result = 1", deferred=world.deferred, settings=world.settings)
    assert done["data"]["result"] == 7 and done["attempt"] == 1
    assert len(world.submissions()) == 1


@pytest.mark.fault(2, "I4")
def test_the_entry_of_an_owner_that_has_ended_is_taken_away(world: World) -> None:
    world.owners.flows[FLOW] = "ended"
    (row,) = world.reconcile()
    assert (row.action, row.outcome) == ("stop", "taken out of the queue")
    assert world.files() == [] and world.submissions() == []


@pytest.mark.fault(36, "I8")
def test_the_entry_of_an_owner_that_could_not_be_asked_about_stays(world: World) -> None:
    del world.owners.flows[FLOW]
    world.dashboard.jobs["other"]["status"] = "SUCCEEDED"
    (row,) = world.reconcile()
    assert row.action == "leave" and world.files() == ["w"] and world.submissions() == []


def test_what_reconcile_may_not_read_is_left_to_the_flow_which_it_resumes(world: World) -> None:
    world.owners.steps.clear()
    world.dashboard.jobs["other"]["status"] = "SUCCEEDED"
    (row,) = world.reconcile()
    assert row.outcome.startswith("resumed, since it was refused: There is no job")
    assert world.owners.resumed == [FLOW]


def test_a_head_that_does_not_answer_at_its_turn_costs_the_job_nothing(world: World) -> None:
    world.dashboard.jobs["other"]["status"] = "SUCCEEDED"
    world.dashboard.script = lambda method, path: "cut" if method == "PUT" else None
    (row,) = world.reconcile()
    assert row.outcome.startswith("failed: ") and world.owners.resumed == []
    world.dashboard.script = lambda method, path: None
    # Whether it has arrived nobody knows, so its slot stays its own for a minute.
    assert [row.action for row in world.reconcile()] == ["leave"]
    world.dashboard.clock = lambda: real_time.time() + admission.ADMISSION_S + 5
    world.reconcile()
    assert len(world.submissions()) == 1


def test_what_a_killed_step_has_left_is_deleted_once_its_owner_has_ended(world: World) -> None:
    name = f"{world.deferred['execution_key']}-1"
    labels = {"app.kubernetes.io/managed-by": "flexcore", "flexcore/key": world.deferred["execution_key"]}
    # It was submitted, and the submitter killed before it left the queue.
    world.dashboard.jobs[name] = {"submission_id": name, "status": "RUNNING", "metadata": labels}
    assert [(row.state, row.action) for row in world.reconcile()] == [("finished", "leave")]
    world.owners.flows[FLOW] = "ended"
    assert [(row.state, row.action) for row in world.reconcile()] == [("finished", "delete")]
    assert world.files() == [] and world.owners.resumed == []


def test_an_old_admission_is_deleted(world: World) -> None:
    world.dashboard.jobs["other"]["status"] = "SUCCEEDED"
    world.reconcile()
    assert world.files() == ["a"]
    (row,) = world.reconcile(real_time.time() + 3700)
    assert (row.action, row.outcome) == ("delete", "deleted")
    assert world.files() == []


def test_a_queue_that_is_empty_costs_the_head_no_request(dashboard: FakeDashboard, tmp_path: Path) -> None:
    settings = Settings(storage_uri=f"file://{tmp_path}/none")
    assert QueueObjects("r", {"address": dashboard.address}, settings).find() == []
    assert dashboard.requests == []
    assert not (tmp_path / "none").exists()
