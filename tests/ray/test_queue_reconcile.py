"""The queue of a head that no step looks after: reconcile submits for suspended flows and takes away what is dead."""

from __future__ import annotations

import json
import time as real_time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib import runtimes
from f.flexcore.lib.core import remote_objects
from f.flexcore.lib.core.errors import NotFound
from f.flexcore.lib.core.resources import Settings
from f.flexcore.lib.operations.reconciler import ReconcilePass, ReconcileRow
from f.flexcore.lib.ray import admission
from f.flexcore.lib.ray.job_adapter import PROBE
from f.flexcore.lib.ray.queue_objects import OPERATIONS, QueueObjects
from f.flexcore.ray import copy_table, run_job, run_training_loop
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

    def __init__(
        self,
        dashboard: FakeDashboard,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        submit: Callable[..., dict[str, Any]] = run_job.main,
        **work: Any,
    ) -> None:
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
            "wait": "defer",
            "settings": self.settings,
            **(work or {"program": "result = 1"}),
        }
        submitted = submit(**arguments)
        self.deferred = submitted["data"]["deferred"]
        self.owners.steps[STEP_JOB] = arguments
        self.owners.flows[FLOW] = "suspended"

    def reconcile(self, now: float | None = None) -> list[ReconcileRow]:
        queue = QueueObjects("u/ann/ray", self.cluster, Settings.model_validate(self.settings))
        return ReconcilePass(self.owners, now or real_time.time(), 50).run([("u/ann/ray", queue)])

    def files(self) -> list[str]:
        return sorted(path.name[0] for path in self.folder.rglob("*") if path.is_file())

    def rewrite(self, change: Callable[[dict[str, Any]], Any]) -> None:
        """The entry in the queue as another version might have written it."""
        (path,) = self.folder.rglob("w.*")
        path.write_text(json.dumps(change(json.loads(path.read_text()))))

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


def test_reconcile_can_submit_every_operation_that_can_wait_without_a_worker() -> None:
    ray = runtimes.get_runtime("ray")
    can_wait = {name for name in ray.operations if "wait" in ray.operation(name).request.model_fields}
    assert {"program", "copy_table", "training_loop"} <= can_wait
    assert {name: ray.operations[name] for name in can_wait}.items() <= OPERATIONS.items()


TABLE = {"database": {"host": "127.0.0.1", "dbname": "shop", "user": "ann"}, "table": "public.orders"}
LOOP = {"program": "def train_loop(config, loop):\n    pass"}


@pytest.mark.parametrize(
    ("submit", "work"), [(copy_table.main, TABLE), (run_training_loop.main, LOOP)], ids=["copy_table", "loop"]
)
def test_a_deferred_copy_or_training_loop_is_submitted_when_its_turn_has_come(
    dashboard: FakeDashboard,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    submit: Callable[..., dict[str, Any]],
    work: dict[str, Any],
) -> None:
    world = World(dashboard, tmp_path, monkeypatch, submit, **work)
    dashboard.after_submit = lambda name: dashboard.finish(name) if name.endswith(PROBE) else None
    dashboard.jobs["other"]["status"] = "SUCCEEDED"
    (row,) = world.reconcile()
    assert (row.state, row.action, row.outcome) == ("due", "submit", "submitted")
    assert len(world.submissions()) == 1 and world.owners.resumed == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda entry: entry | {"operation": "teleport"}, "this version knows no operation 'teleport'"),
        (
            lambda entry: entry | {"key": {"owner_job": FLOW, "workspace": "dev"}},
            "its key has no value, root_job",
        ),
    ],
)
def test_an_entry_of_another_version_costs_its_own_row_and_is_left_to_its_flow(
    world: World, change: Callable[[dict[str, Any]], Any], problem: str
) -> None:
    world.rewrite(change)
    world.dashboard.jobs["other"]["status"] = "SUCCEEDED"
    (row,) = world.reconcile()
    assert row.action == "submit" and row.outcome.startswith("resumed, since it was refused: The queued job")
    assert problem in row.outcome
    assert world.owners.resumed == [FLOW]


@pytest.mark.parametrize("change", [lambda entry: [], lambda entry: entry | {"key": "fc-1"}])
def test_an_entry_that_says_nothing_of_its_owner_stays_until_its_time_is_over(
    world: World, change: Callable[[dict[str, Any]], Any]
) -> None:
    world.rewrite(change)
    world.dashboard.jobs["other"]["status"] = "SUCCEEDED"
    assert [(row.state, row.action) for row in world.reconcile()] == [("due", "leave")]
    world.dashboard.clock = lambda: real_time.time() + 7200
    assert [(row.state, row.action) for row in world.reconcile(real_time.time() + 7200)] == [("finished", "delete")]
    assert world.files() == []


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


def test_an_admission_is_deleted_soon_after_it_takes_no_slot_any_more(world: World) -> None:
    """All of them are read at each admission and in each pass: those of an hour made both slower by the hour."""
    world.dashboard.jobs["other"]["status"] = "SUCCEEDED"
    world.reconcile()
    assert world.files() == ["a"]
    assert world.reconcile(real_time.time() + admission.ADMISSION_S) == [] and world.files() == ["a"]
    (row,) = world.reconcile(real_time.time() + 2 * admission.ADMISSION_S + 1)
    assert (row.action, row.outcome) == ("delete", "deleted")
    assert world.files() == []


def test_a_job_that_runs_for_longer_than_its_admission_is_kept_ends_as_any_other(
    dashboard: FakeDashboard, tmp_path: Path
) -> None:
    settings = {"storage_uri": f"file://{tmp_path}/store"}
    cluster = {"address": dashboard.address, "max_jobs": 1}
    removed: list[str] = []

    def work(name: str) -> None:
        queue = QueueObjects("r", cluster, Settings.model_validate(settings))
        (held,) = queue.find()
        removed.append(queue.delete(held))
        dashboard.finish(name)

    dashboard.after_submit = work
    assert run_job.main(cluster, "result = 1", settings=settings)["success"]
    assert removed == ["deleted"]


def test_a_queue_that_is_empty_costs_the_head_no_request(dashboard: FakeDashboard, tmp_path: Path) -> None:
    settings = Settings(storage_uri=f"file://{tmp_path}/none")
    assert QueueObjects("r", {"address": dashboard.address}, settings).find() == []
    assert dashboard.requests == []
    assert not (tmp_path / "none").exists()
