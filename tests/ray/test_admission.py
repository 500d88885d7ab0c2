"""Who may submit next: pure decisions, then many steps at once on one head and one store."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core.contracts import StepResult
from f.flexcore.lib.core.driver import Driver
from f.flexcore.lib.core.errors import DeadlineExceeded, FlexcoreError
from f.flexcore.lib.core.identity import ExecutionKey
from f.flexcore.lib.core.redaction import Redactor
from f.flexcore.lib.core.resources import RayCluster, Settings
from f.flexcore.lib.ray import admission
from f.flexcore.lib.ray.admission import Admitted, Head, Queue, Waiting
from f.flexcore.lib.ray.dashboard import RayApi
from f.flexcore.lib.ray.job import FinishedJob, Job
from f.flexcore.lib.ray.job_adapter import Context, JobAdapter, Work
from f.flexcore.lib.storage.object_store import Store
from tests.ray.fake_dashboard import FakeDashboard
from tests.ray.test_job_faults import Time

NOW = 1_000_000.0
ANN, ANNS_OTHER, BOB = "aaaaaaaa-11111111", "aaaaaaaa-22222222", "bbbbbbbb-33333333"


def job(number: int) -> str:
    return f"fc-{number:020x}-1"


def key(number: int) -> ExecutionKey:
    return ExecutionKey(f"fc-{number:020x}", f"owner-{number}", f"owner-{number}", "a", "dev")


def waiting(number: int, owner: str = ANN, since: float = 0.0, **fields: Any) -> Waiting:
    return Waiting(job(number), owner, NOW + (since or number), NOW + 10_000, **fields)


def jobs_in_order(entries: list[Waiting], running: dict[int, str] | None = None) -> list[int]:
    head = Head(NOW, {f"fc-{number:020x}": owner for number, owner in (running or {}).items()})
    return [int(entry.job[3:23], 16) for entry in admission.order(Queue(tuple(entries)), head, NOW + 100)]


def test_an_entry_is_read_from_its_name_alone_and_what_is_none_is_left_out() -> None:
    entry, mark = waiting(7, BOB, is_deferred=True), Admitted(job(8), NOW + 0.5)
    names = [entry.name, mark.name, f"{entry.name}.0123456789abcdef.part", "w.1.x", "README", "a.b.c"]
    assert admission.parse_queue(names) == Queue((entry,), (mark,))


@pytest.mark.parametrize(
    ("entries", "running", "expected"),
    [
        ([waiting(3), waiting(1), waiting(2)], {}, [1, 2, 3]),
        # One of each user in turn, whoever came first with many.
        ([waiting(1), waiting(2), waiting(3), waiting(4, BOB)], {}, [1, 4, 2, 3]),
        # Whoever has jobs there waits for those who have none.
        ([waiting(1), waiting(2, BOB)], {9: ANN}, [2, 1]),
        ([waiting(1), waiting(2), waiting(3, BOB), waiting(4, BOB)], {8: ANN, 9: ANN}, [3, 4, 1, 2]),
        # Flows of one user among each other; two of them have no more than one of another user.
        ([waiting(1), waiting(2), waiting(3, ANNS_OTHER), waiting(4, BOB)], {}, [1, 4, 3, 2]),
        # What is there already, or has ended, does not wait.
        ([waiting(1), waiting(2)], {1: ANN}, [2]),
    ],
)
def test_turns_go_round_among_users_and_their_flows(
    entries: list[Waiting], running: dict[int, str], expected: list[int]
) -> None:
    assert jobs_in_order(entries, running) == expected


def test_an_entry_past_its_time_has_no_turn() -> None:
    assert jobs_in_order([replace(waiting(1), until=NOW + 50), waiting(2)]) == [2]


@pytest.mark.parametrize(
    ("running", "admitted", "entries", "may"),
    [
        (0, [], [], True),
        (1, [], [], True),
        (2, [], [], False),
        # Another one was admitted and is not there yet: it has its slot.
        (1, [Admitted(job(50), NOW)], [], False),
        # It is the same job, at an earlier call.
        (1, [Admitted(job(1), NOW - 5)], [], True),
        # It was killed before it submitted.
        (1, [Admitted(job(50), NOW - admission.ADMISSION_S - 1)], [], True),
        # Others have waited.
        (1, [], [waiting(60)], False),
        (1, [], [waiting(60), waiting(1, BOB)], True),
        (0, [], [waiting(60), waiting(61)], False),
        (0, [], [waiting(60)], True),
    ],
)
def test_a_job_is_submitted_only_into_a_free_slot_that_is_its_own(
    running: int, admitted: list[Admitted], entries: list[Waiting], may: bool
) -> None:
    head = Head(NOW, {f"fc-{100 + number:020x}": ANN for number in range(running)})
    queue = Queue(tuple(entries), (*admitted, Admitted(job(1), NOW)))
    assert admission.may_submit(job(1), queue, head, 2) is may


def test_an_admission_of_a_job_that_has_ended_takes_no_slot() -> None:
    queue = Queue((), (Admitted(job(50), NOW), Admitted(job(1), NOW)))
    assert admission.may_submit(job(1), queue, Head(NOW, {}, frozenset({job(50)})), 1)
    assert not admission.may_submit(job(1), queue, Head(NOW, {}), 1)


def test_of_two_that_see_each_other_neither_goes_and_of_two_that_do_not_one_came_first() -> None:
    """Whatever the order of writing and looking, no two pass for one slot."""
    both = Queue((), (Admitted(job(1), NOW), Admitted(job(2), NOW)))
    assert not any(admission.may_submit(job(number), both, Head(NOW), 1) for number in (1, 2))
    alone = Queue((), (Admitted(job(1), NOW),))
    assert admission.may_submit(job(1), alone, Head(NOW), 1)


def test_an_owner_is_a_user_and_a_flow_and_nobody_can_read_who() -> None:
    env = {"WM_WORKSPACE": "dev", "WM_EMAIL": "ann@example.com", "WM_FLOW_PATH": "f/sales/train"}
    owner = admission.owner_digest(env)
    other = admission.owner_digest(env | {"WM_FLOW_PATH": "f/sales/predict"})
    assert "ann" not in owner and owner != other and owner.split("-")[0] == other.split("-")[0]
    assert admission.owner_digest(env | {"WM_EMAIL": "bob@example.com"}).split("-")[0] != owner.split("-")[0]


# --- on a head and a store


class Steps:
    """Steps of one head that looks at most at `limit` jobs of ours at once, and the highest number that there was."""

    def __init__(self, dashboard: FakeDashboard, folder: Path, limit: int) -> None:
        self.dashboard, self.limit = dashboard, limit
        self.store = Store(Settings(storage_uri=f"file://{folder}/store"))
        self.most, self.lines = 0, [""]
        dashboard.after_submit = self._count

    def _count(self, _: str) -> None:
        self.most = max(self.most, sum(job["status"] == "RUNNING" for job in self.dashboard.jobs.values()))

    def adapter(self, api: RayApi, number: int, owner: str, clock: Any, sleep: Any, **fields: Any) -> JobAdapter:
        def to_result(finished: FinishedJob) -> StepResult:
            return finished.step_result(data={"result": finished.result})

        context = Context(api, self.store, key(number), Redactor(), f"call-{number}", owner)
        work = Work(Job("program", {"flexcore_program.py": ""}, {}, timeout_s=600, **fields), to_result)
        return JobAdapter(context, work, clock, sleep, self.lines.append)

    def run(self, number: int, time: Time, owner: str = ANN) -> Any:
        with RayApi(RayCluster(address=self.dashboard.address, max_jobs=self.limit), clock=time.clock) as api:
            adapter = self.adapter(api, number, owner, time.clock, time.sleep)
            return Driver(adapter, "", self.lines.append).run().data["result"]

    def queue_files(self) -> list[str]:
        folder = Path(self.store.root.removeprefix("file://")) / "ray-queue"
        return sorted(path.name for path in folder.rglob("*") if path.is_file())


def steps_of(dashboard: FakeDashboard, folder: Path, limit: int) -> Steps:
    return Steps(dashboard, folder, limit)


def occupy(dashboard: FakeDashboard, number: int, owner: str = BOB, status: str = "RUNNING") -> None:
    labels = key(number).labels(1) | {admission.OWNER: owner}
    dashboard.jobs[job(number)] = {"submission_id": job(number), "status": status, "metadata": labels}


def test_a_job_waits_for_its_turn_and_says_at_which_position(tmp_path: Path) -> None:
    with FakeDashboard() as dashboard:
        time, steps = Time(), steps_of(dashboard, tmp_path, 1)
        dashboard.clock = time.clock
        occupy(dashboard, 99)
        began = time.now

        def ends(now: float) -> None:
            if now > began + 90:
                dashboard.jobs[job(99)]["status"] = "SUCCEEDED"

        time.meanwhile = ends
        dashboard.after_submit = lambda name: dashboard.finish(name, "done")
        assert steps.run(1, time) == "done"
        told = [line for line in steps.lines if "position" in line]
        assert told[0] == ("Waiting for a turn on the Ray head: position 1 of 1 (1 of 1 jobs of flexcore are there)")
        assert len(told) == 2
        assert time.now - began < 90 + 5
        assert steps.queue_files() == []


def test_a_turn_that_does_not_come_in_time_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    with FakeDashboard() as dashboard:
        time, steps = Time(), steps_of(dashboard, tmp_path, 1)
        dashboard.clock = time.clock
        occupy(dashboard, 99)
        with pytest.raises(DeadlineExceeded, match="position 1") as caught:
            steps.run(1, time)
        assert (caught.value.category, caught.value.subject) == ("queue_timeout", "cluster.max_jobs")
        assert steps.queue_files() == []
        assert dashboard.requests.count("POST /api/jobs/") == 0


@pytest.mark.fault(1, "I1", "I4")
def test_a_step_that_was_killed_while_it_waited_keeps_its_place_and_blocks_nobody(tmp_path: Path) -> None:
    with FakeDashboard() as dashboard:
        time, steps = Time(), steps_of(dashboard, tmp_path, 1)
        dashboard.clock = time.clock
        occupy(dashboard, 99)
        killed = RuntimeError("killed")

        def kill(now: float) -> None:
            raise killed

        time.meanwhile = kill
        with pytest.raises(RuntimeError):
            steps.run(1, time)
        place = steps.queue_files()
        assert len(place) == 1
        dashboard.after_submit = lambda name: dashboard.finish(name, name)

        def free(now: float) -> None:
            dashboard.jobs[job(99)]["status"] = "SUCCEEDED"

        # Another one passes it by, after some seconds of grace.
        time.meanwhile = free
        began = time.now
        assert steps.run(2, time) == job(2)
        assert 20 < time.now - began < 40
        # Its repeat finds its own place.
        occupy(dashboard, 98)
        time.meanwhile = lambda now: dashboard.jobs[job(98)].update(status="SUCCEEDED")
        assert steps.queue_files() == place
        assert steps.run(1, time) == job(1)
        assert steps.queue_files() == []


@pytest.mark.fault(1, "I1", "I2", "I4")
@pytest.mark.parametrize("point", ["PUT /api/packages", "POST /api/jobs/"])
def test_a_step_that_was_killed_between_its_admission_and_its_job_takes_no_slot_for_ever(
    tmp_path: Path, point: str
) -> None:
    with FakeDashboard() as dashboard:
        time, steps = Time(), steps_of(dashboard, tmp_path, 1)
        dashboard.clock = time.clock
        dashboard.after_submit = lambda name: dashboard.finish(name, name)
        dashboard.script = lambda method, path: (404, "gone") if f"{method} {path}".startswith(point) else None
        with pytest.raises(FlexcoreError):
            steps.run(1, time)
        assert [name[0] for name in steps.queue_files()] == ["a"]
        dashboard.script = lambda method, path: None
        began = time.now
        assert steps.run(2, time) == job(2)
        assert time.now - began < admission.ADMISSION_S + 10
        assert steps.run(1, time) == job(1)
        assert dashboard.requests.count("POST /api/jobs/") == (3 if point.startswith("POST") else 2)


def test_a_deferred_job_whose_turn_has_not_come_is_left_in_the_queue_without_waiting(tmp_path: Path) -> None:
    with FakeDashboard() as dashboard:
        time, steps = Time(), steps_of(dashboard, tmp_path, 1)
        dashboard.clock = time.clock
        occupy(dashboard, 99)
        with RayApi(RayCluster(address=dashboard.address, max_jobs=1), clock=time.clock) as api:
            adapter = steps.adapter(api, 1, ANN, time.clock, time.sleep, deferred=True)
            number, remote = Driver(adapter, "", steps.lines.append).submit()
            assert (number, remote.name) == (1, job(1))
            assert dashboard.requests.count("POST /api/jobs/") == 0
            assert [name[0] for name in steps.queue_files()] == ["w"]
            # A second pass of it takes no second place; once there is room it is submitted.
            Driver(adapter, "", steps.lines.append).submit()
            assert len(steps.queue_files()) == 1
            dashboard.jobs[job(99)]["status"] = "FAILED"
            dashboard.after_submit = lambda name: None
            adapter = steps.adapter(api, 1, ANN, time.clock, time.sleep, deferred=True)
            Driver(adapter, "", steps.lines.append).submit()
        assert dashboard.requests.count("POST /api/jobs/") == 1
        assert [name[0] for name in steps.queue_files()] == ["a"]


def test_without_a_limit_nothing_is_kept_of_a_queue(tmp_path: Path) -> None:
    with FakeDashboard() as dashboard:
        time, steps = Time(), steps_of(dashboard, tmp_path, 0)
        dashboard.clock = time.clock
        for number in range(20):
            occupy(dashboard, 50 + number)
        dashboard.after_submit = lambda name: dashboard.finish(name, 1)
        assert steps.run(1, time) == 1
        assert steps.queue_files() == []


@pytest.mark.parametrize("limit", [1, 3])
def test_many_steps_at_once_never_put_more_on_the_head_than_the_limit_and_all_of_them_run(
    tmp_path: Path, limit: int
) -> None:
    """In real time and real threads: each job ends 50 ms after its submission."""
    import time as real_time

    with FakeDashboard() as dashboard:
        steps, count, results, failed = steps_of(dashboard, tmp_path, limit), 12, {}, []

        def end_soon(name: str) -> None:
            steps._count(name)
            threading.Timer(0.05, dashboard.finish, [name, name]).start()

        dashboard.after_submit = end_soon

        def run(number: int) -> None:
            def sleep(seconds: float) -> None:
                real_time.sleep(seconds / 20)

            try:
                with RayApi(RayCluster(address=dashboard.address, max_jobs=limit)) as api:
                    adapter = steps.adapter(api, number, (ANN, BOB)[number % 2], real_time.monotonic, sleep)
                    results[number] = Driver(adapter, "", steps.lines.append).run().data["result"]
            except Exception as error:
                failed.append(error)

        threads = [threading.Thread(target=run, args=[number]) for number in range(1, count + 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert failed == []
        assert results == {number: job(number) for number in range(1, count + 1)}
        assert 1 <= steps.most <= limit
        assert dashboard.requests.count("POST /api/jobs/") == count
        assert steps.queue_files() == []
