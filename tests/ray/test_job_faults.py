"""Everything that goes wrong between a step and a Ray head, against a dashboard that misbehaves over real HTTP. Time is
virtual: the clock moves when the runner sleeps."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core.attempts import MAX_ATTEMPTS
from f.flexcore.lib.core.contracts import StepResult
from f.flexcore.lib.core.driver import Driver
from f.flexcore.lib.core.errors import (
    DeadlineExceeded,
    ExecutionFailed,
    FlexcoreError,
    Forbidden,
    InvalidInput,
    Unavailable,
    Unreachable,
)
from f.flexcore.lib.core.identity import ExecutionKey, execution_key
from f.flexcore.lib.core.redaction import Redactor
from f.flexcore.lib.core.resources import RayCluster, Settings
from f.flexcore.lib.ray.cluster import Needs
from f.flexcore.lib.ray.dashboard import RayApi
from f.flexcore.lib.ray.job import FinishedJob, Job
from f.flexcore.lib.ray.job_adapter import MAX_LOST_ATTEMPTS, Context, JobAdapter, Work
from f.flexcore.lib.ray.job_observer import LOST_CONTACT_TIMEOUT_S, START_TIMEOUT_S
from f.flexcore.lib.storage.object_store import Store
from tests.ray.fake_dashboard import FakeDashboard

KEY = execution_key({"WM_FLOW_JOB_ID": "flow", "WM_FLOW_STEP_ID": "ml", "WM_WORKSPACE": "test"})
FIRST = KEY.name(1)
JOB = Job(kind="program", files={"flexcore_program.py": "result = 1"}, parameters={"n": 1}, timeout_s=200)
SECRET = "sesame-open-1234"
NODE = "ab" * 28
FOUR_CPUS = {
    "data": {
        "clusterStatus": {
            "autoscalerReport": {"nodeTypeMapping": {NODE: f"node_{NODE}"}},
            "loadMetricsReport": {"usageByNode": {NODE: {"CPU": [0.0, 4.0]}}},
        }
    }
}


class Time:
    """A clock that only sleeping moves; `meanwhile` runs whenever somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.meanwhile: Callable[[float], None] = lambda now: None

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.meanwhile(self.now)


@pytest.fixture
def dashboard() -> Iterator[FakeDashboard]:
    with FakeDashboard() as running:
        yield running


@pytest.fixture
def time() -> Time:
    return Time()


@dataclass(frozen=True)
class Done:
    """What a step reports of a job that succeeded."""

    result: Any
    attempt: int
    packages: list[str]
    log_tail: str


def work_of(job: Job, resumes: bool = False) -> Work:
    def to_result(finished: FinishedJob) -> StepResult:
        return finished.step_result(data={"result": finished.result, "packages": finished.packages})

    return Work(job, to_result, resumes=resumes)


@pytest.fixture
def run(dashboard: FakeDashboard, time: Time) -> Callable[..., Done]:
    """Runs a job as one call of a step; without a name of its own each call is a retry."""
    dashboard.clock = time.clock

    def call(job: Job = JOB, key: ExecutionKey = KEY, call: str = "", resumes: bool = False) -> Done:
        with RayApi(RayCluster(address=dashboard.address, token=SECRET), clock=time.clock) as api:
            context = Context(api, Store(Settings()), key, Redactor([SECRET]))
            result = Driver(JobAdapter(context, work_of(job, resumes), time.clock, time.sleep), call).run()
        return Done(result.data["result"], result.attempt, result.data["packages"], result.log_tail)

    return call


Run = Callable[..., Done]


def submissions(dashboard: FakeDashboard) -> int:
    return dashboard.requests.count("POST /api/jobs/")


def submitted(dashboard: FakeDashboard) -> dict[str, Any]:
    """The request of the first job, as it finds it."""
    with zipfile.ZipFile(io.BytesIO(next(iter(dashboard.packages.values())))) as archive:
        return dict(json.loads(archive.read("flexcore_request.json")))


def times(count: int, answer: Any, where: str = "") -> Callable[[str, str], Any]:
    """Answers the first `count` matching requests so, and lets the rest through."""
    left = [count]

    def script(method: str, path: str) -> Any:
        if where not in f"{method} {path}" or not left[0]:
            return None
        left[0] -= 1
        return answer

    return script


@pytest.mark.fault(1, "I1", "I2")
def test_a_repeat_of_a_finished_step_returns_its_result_without_asking_ray_again(
    dashboard: FakeDashboard, run: Run
) -> None:
    dashboard.after_submit = lambda name: dashboard.finish(name, {"answer": 42})
    assert run().result == {"answer": 42}
    dashboard.jobs.clear()
    assert run().result == {"answer": 42}
    assert submissions(dashboard) == 1


@pytest.mark.fault(1, "I1")
def test_a_step_that_restarts_while_its_job_runs_attaches_to_it(dashboard: FakeDashboard, run: Run, time: Time) -> None:
    dashboard.jobs[FIRST] = {"submission_id": FIRST, "status": "RUNNING", "metadata": {}}
    time.meanwhile = lambda now: dashboard.finish(FIRST, "from the first copy")
    assert run().result == "from the first copy"
    assert submissions(dashboard) == 0


@pytest.mark.fault(4, "I1")
@pytest.mark.fault(21, "I1")
def test_two_copies_of_a_step_end_up_with_one_job(dashboard: FakeDashboard, run: Run) -> None:
    def other_copy_was_faster(method: str, path: str) -> None:
        if method == "PUT":
            dashboard.jobs[FIRST] = {"submission_id": FIRST, "status": "RUNNING"}
            dashboard.finish(FIRST, "theirs")

    dashboard.script = other_copy_was_faster
    assert run().result == "theirs"


@pytest.mark.fault(20, "I1", "I2")
def test_a_connection_that_is_cut_after_the_submission_does_not_start_a_second_job(
    dashboard: FakeDashboard, run: Run
) -> None:
    dashboard.after_submit = lambda name: dashboard.finish(name, 1)
    dashboard.script = times(1, "cut after", "POST /api/jobs/")
    assert run().result == 1
    assert list(dashboard.jobs) == [FIRST]


@pytest.mark.parametrize("answer", [(500, "boom"), (503, "busy"), (429, "slow down"), "cut"])
@pytest.mark.fault(5, "I2")
@pytest.mark.fault(6, "I2")
@pytest.mark.fault(7, "I2")
def test_hiccups_while_the_job_runs_are_waited_out(dashboard: FakeDashboard, run: Run, answer: Any) -> None:
    def finish_behind_hiccups(name: str) -> None:
        dashboard.finish(name, 1)
        dashboard.script = times(5, answer, "GET /api/jobs/")

    dashboard.after_submit = finish_behind_hiccups
    assert run().result == 1


def test_a_retry_after_a_failure_is_a_new_attempt(dashboard: FakeDashboard, run: Run) -> None:
    dashboard.after_submit = lambda name: dashboard.finish(name, error={"type": "ExecutionFailed", "message": "boom"})
    with pytest.raises(ExecutionFailed, match="boom"):
        run()
    dashboard.after_submit = lambda name: dashboard.finish(name, "second")
    done = run()
    assert (done.result, done.attempt) == ("second", 2)


def test_a_job_is_created_by_three_requests(dashboard: FakeDashboard, run: Run) -> None:
    dashboard.after_submit = lambda name: dashboard.finish(name, 1)
    run()
    upload = next(iter(dashboard.packages))
    assert dashboard.requests[:3] == ["GET /api/jobs/", f"PUT /api/packages/gcs/{upload}", "POST /api/jobs/"]


def test_what_follows_a_result_is_done_for_a_recorded_one_too(dashboard: FakeDashboard) -> None:
    dashboard.after_submit = lambda name: dashboard.finish(name, 1)

    def finish(result: StepResult) -> StepResult:
        return result.model_copy(update={"metrics": {"done": 1}})

    for _ in range(2):
        with RayApi(RayCluster(address=dashboard.address)) as api:
            context = Context(api, Store(Settings()), KEY, Redactor([]))
            work = replace(work_of(JOB), finish=finish)
            assert Driver(JobAdapter(context, work), "").run().metrics == {"done": 1}
    assert submissions(dashboard) == 1


def test_a_restart_raises_the_recorded_failure_and_a_retry_is_the_next_attempt(
    dashboard: FakeDashboard, run: Run
) -> None:
    dashboard.after_submit = lambda name: None
    for _ in range(2):
        with pytest.raises(DeadlineExceeded, match="did not end in time; it was stopped"):
            run(call="first")
    assert submissions(dashboard) == 1
    dashboard.after_submit = lambda name: dashboard.finish(name, "in time")
    assert run(call="second").attempt == 2


def test_attempts_are_bounded(dashboard: FakeDashboard, run: Run) -> None:
    dashboard.after_submit = lambda name: dashboard.finish(name, error={"type": "ExecutionFailed", "message": "boom"})
    for _ in range(MAX_ATTEMPTS):
        with pytest.raises(ExecutionFailed, match="boom"):
            run()
    with pytest.raises(ExecutionFailed, match="10 attempts have failed") as caught:
        run()
    assert caught.value.category == "attempts_spent"
    assert submissions(dashboard) == MAX_ATTEMPTS


def test_a_failure_that_would_repeat_itself_is_not_tried_again(dashboard: FakeDashboard, run: Run) -> None:
    told = {"type": "InvalidInput", "message": "no such column", "subject": "target_column"}
    dashboard.after_submit = lambda name: dashboard.finish(name, error=told)
    for _ in range(2):
        with pytest.raises(InvalidInput, match="no such column"):
            run()
    assert submissions(dashboard) == 1


def test_packages_that_the_cluster_lacks_are_installed_by_a_second_job(dashboard: FakeDashboard, run: Run) -> None:
    def lacks_then_has(name: str) -> None:
        if "uv" in dashboard.jobs[name]["runtime_env"]:
            return dashboard.finish(name, "trained")
        dashboard.finish(name, **lacks_xgboost())

    dashboard.after_submit = lacks_then_has
    done = run()
    assert (done.result, done.attempt, done.packages) == ("trained", 2, ["xgboost-cpu==3.2.0"])
    assert run().packages == ["xgboost-cpu==3.2.0"]
    assert submissions(dashboard) == 2


def lacks_xgboost(wheel: str = "") -> dict[str, Any]:
    details = {"missing_packages": ["xgboost-cpu==3.2.0"]}
    error = {"type": "InvalidInput", "message": "lacks xgboost", "details": details}
    return {"error": error, **({"pip_wheel": wheel} if wheel else {})}


def test_a_head_without_pip_gets_one_lent(dashboard: FakeDashboard, run: Run) -> None:
    def lacks_then_has(name: str) -> None:
        if "uv" in dashboard.jobs[name]["runtime_env"]:
            return dashboard.finish(name, "trained")
        dashboard.finish(name, **lacks_xgboost("/env/pip.whl"))

    dashboard.after_submit = lacks_then_has
    assert run().attempt == 2
    assert dashboard.jobs[KEY.name(2)]["runtime_env"]["env_vars"] == {"PYTHONPATH": "/env/pip.whl"}


NO_PIP = {"status": "FAILED", "error_type": "RUNTIME_ENV_SETUP_FAILURE", "message": "python: No module named pip"}


@pytest.mark.parametrize("wheel", ["/env/pip.whl", ""])
def test_packages_asked_for_are_installed_with_a_pip_that_a_probe_finds_or_not_at_all(
    dashboard: FakeDashboard, run: Run, wheel: str
) -> None:
    def needs_pip(name: str) -> None:
        environment = dashboard.jobs[name]["runtime_env"]
        if "uv" in environment and "env_vars" not in environment:
            return dashboard.jobs[name].update(NO_PIP)
        dashboard.finish(name, "ran", pip_wheel=wheel)

    dashboard.after_submit = needs_pip
    job = replace(JOB, packages=["tabulate==0.9.0"])
    for _ in range(2):
        if wheel:
            assert (run(job).result, run(job).attempt) == ("ran", 2)
        else:
            with pytest.raises(ExecutionFailed, match=r"cannot install tabulate==0\.9\.0: its Python .* has no pip"):
                run(job)
    assert submissions(dashboard) == (3 if wheel else 2)


def test_what_the_cluster_can_never_give_is_refused_before_anything_is_submitted(
    dashboard: FakeDashboard, run: Run
) -> None:
    dashboard.script = lambda method, path: (200, FOUR_CPUS) if path.endswith("/cluster_status") else None
    with pytest.raises(InvalidInput, match="can never give 8 CPUs") as caught:
        run(replace(JOB, needs=Needs(cpus=8)))
    assert caught.value.subject == "num_cpus"
    assert submissions(dashboard) == 0


def test_a_store_that_cannot_be_written_is_told_before_anything_is_submitted(
    dashboard: FakeDashboard, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FLEXCORE_HOME", str(tmp_path / "file"))
    with pytest.raises(FlexcoreError) as caught:
        run()
    assert caught.value.subject == "storage_uri"
    assert submissions(dashboard) == 0


@pytest.mark.parametrize("answer", [(500, "boom"), (404, ""), "cut", (200, {})])
def test_a_cluster_that_does_not_tell_its_size_gets_the_job(dashboard: FakeDashboard, run: Run, answer: Any) -> None:
    dashboard.script = lambda method, path: answer if path.endswith("/cluster_status") else None
    dashboard.after_submit = lambda name: dashboard.finish(name, 1)
    assert run(replace(JOB, needs=Needs(cpus=8))).result == 1


def test_a_job_that_waits_says_so_once(
    dashboard: FakeDashboard, run: Run, time: Time, capsys: pytest.CaptureFixture[str]
) -> None:
    dashboard.after_submit = lambda name: dashboard.jobs[name].update(status="PENDING")
    began = time.now
    time.meanwhile = lambda now: dashboard.finish(FIRST, 1) if now - began > 60 else None
    assert run().result == 1
    assert capsys.readouterr().out.count("waits for CPUs or for its packages (the cluster has 4 CPUs, 4") == 1


@pytest.mark.fault(19, "I2", "I3")
@pytest.mark.fault(23, "I2", "I3")
def test_a_job_that_ray_forgot_is_lost_and_no_success(dashboard: FakeDashboard, run: Run) -> None:
    dashboard.after_submit = lambda name: dashboard.jobs.clear()
    with pytest.raises(ExecutionFailed, match="no longer knows") as caught:
        run()
    assert caught.value.category == "job_lost"


def lose(dashboard: FakeDashboard, count: int) -> None:
    """The head loses that many jobs, one after the other; what comes after ends well."""
    left = [count]

    def after_submit(name: str) -> None:
        if left[0]:
            left[0] -= 1
            dashboard.jobs.clear()
        else:
            dashboard.finish(name, "whole")

    dashboard.after_submit = after_submit


@pytest.mark.fault(23, "I1", "I2")
def test_work_that_keeps_what_it_has_done_goes_on_as_the_next_attempt(dashboard: FakeDashboard, run: Run) -> None:
    lose(dashboard, 2)
    done = run(call="job", resumes=True)
    assert (done.result, done.attempt, submissions(dashboard)) == ("whole", 3, 3)


@pytest.mark.fault(23, "I2")
def test_a_head_that_loses_it_again_and_again_is_not_followed_for_ever(dashboard: FakeDashboard, run: Run) -> None:
    lose(dashboard, MAX_LOST_ATTEMPTS + 1)
    with pytest.raises(ExecutionFailed, match="no longer knows") as caught:
        run(call="job", resumes=True)
    assert caught.value.category == "job_lost"
    assert submissions(dashboard) == MAX_LOST_ATTEMPTS + 1
    # A retry of the step goes on all the same.
    assert run(call="retry", resumes=True).attempt == MAX_LOST_ATTEMPTS + 2


@pytest.mark.fault(1, "I1")
@pytest.mark.fault(23, "I1", "I2")
@pytest.mark.parametrize("content", [b'{"token": "x"}', b'{"tok'])
def test_a_restarted_step_that_a_new_head_does_not_know_begins_the_next_generation(
    dashboard: FakeDashboard, run: Run, content: bytes
) -> None:
    store = Store(Settings())
    store.write_bytes(store.uri(KEY.value, "1", "began.json"), content)
    dashboard.after_submit = lambda name: dashboard.finish(name, "whole")
    assert run(call="job", resumes=True).attempt == 2
    # Other work has no such traces: its first attempt is made as ever.
    other = execution_key({"WM_FLOW_JOB_ID": "flow", "WM_FLOW_STEP_ID": "other", "WM_WORKSPACE": "test"})
    assert run(call="job", key=other).attempt == 1


@pytest.mark.fault(26, "I2")
def test_a_success_without_an_outcome_is_no_success(dashboard: FakeDashboard, run: Run) -> None:
    dashboard.after_submit = lambda name: dashboard.jobs[name].update(status="SUCCEEDED")
    with pytest.raises(ExecutionFailed, match="outcome cannot be read"):
        run()


@pytest.mark.fault(26, "I2", "I5")
@pytest.mark.parametrize(
    ("status", "error", "succeeds"),
    [
        ("FAILED", None, False),
        ("STOPPED", None, False),
        ("SUCCEEDED", {"type": "ExecutionFailed", "message": "boom"}, False),
        ("SUCCEEDED", None, True),
    ],
)
def test_a_job_has_succeeded_only_when_ray_and_the_job_itself_say_so_and_it_stays_so(
    dashboard: FakeDashboard, run: Run, status: str, error: dict[str, Any] | None, succeeds: bool
) -> None:
    def ends(name: str) -> None:
        dashboard.finish(name, "done", error)
        dashboard.jobs[name]["status"] = status

    dashboard.after_submit = ends
    if succeeds:
        assert run().result == "done"
        dashboard.jobs[FIRST]["status"] = "FAILED"
        assert run().result == "done", "what has succeeded does not fail later"
    else:
        with pytest.raises(ExecutionFailed):
            run()


@pytest.mark.fault(25, "I2", "I4")
def test_a_job_that_ray_refuses_is_told_and_leaves_nothing(dashboard: FakeDashboard, run: Run) -> None:
    dashboard.script = times(1, (400, "ValidationFailed: runtime_env is not valid"), "POST /api/jobs/")
    with pytest.raises(InvalidInput, match="Ray refused the job"):
        run()
    assert dashboard.jobs == {}


@pytest.mark.fault(7, "I1", "I2")
def test_a_head_that_goes_away_before_the_outcome_was_read_has_not_failed_the_job(
    dashboard: FakeDashboard, run: Run
) -> None:
    dashboard.after_submit = lambda name: dashboard.finish(name, "done")
    dashboard.script = times(1000, "cut", "/api/v0/logs/file")
    with pytest.raises(Unreachable, match="Lost contact"):
        run()
    dashboard.script = lambda method, path: None
    assert run().result == "done"
    assert submissions(dashboard) == 1


@pytest.mark.fault(22, "I2", "I4")
def test_a_job_that_waits_for_ever_is_given_up_and_stopped(dashboard: FakeDashboard, run: Run, time: Time) -> None:
    dashboard.after_submit = lambda name: dashboard.jobs[name].update(status="PENDING")
    began = time.now
    with pytest.raises(
        DeadlineExceeded, match=r"did not start in time; it was stopped \(the cluster has 4 CPUs, 4"
    ) as caught:
        run(replace(JOB, timeout_s=START_TIMEOUT_S + 100))
    assert time.now - began == pytest.approx(START_TIMEOUT_S, abs=5)
    assert caught.value.details["confirmed"] is True
    assert dashboard.jobs == {}


@pytest.mark.fault(3, "I2", "I4")
def test_a_job_past_its_deadline_is_stopped_and_its_end_confirmed(
    dashboard: FakeDashboard, run: Run, time: Time
) -> None:
    dashboard.after_submit = lambda name: None
    dashboard.logs = f"working with {SECRET}\n"
    began = time.now
    with pytest.raises(DeadlineExceeded, match="did not end in time; it was stopped") as caught:
        run()
    assert time.now - began == pytest.approx(JOB.timeout_s, abs=5)
    assert caught.value.details["log_tail"] == "working with ***"
    assert dashboard.jobs == {}


@pytest.mark.fault(24, "I2")
def test_a_stop_that_is_not_honoured_is_told(dashboard: FakeDashboard, run: Run) -> None:
    dashboard.after_submit = lambda name: dashboard.jobs[name].update(when_stopped="RUNNING")
    with pytest.raises(DeadlineExceeded, match="asked to stop, which Ray has not confirmed") as caught:
        run()
    assert caught.value.details["confirmed"] is False
    assert FIRST in dashboard.jobs


def test_a_job_that_ends_well_while_it_is_stopped_has_ended_well(dashboard: FakeDashboard, run: Run) -> None:
    def stopped_too_late(method: str, path: str) -> None:
        if path.endswith("/stop"):
            dashboard.finish(FIRST, "just in time")
            dashboard.jobs[FIRST]["when_stopped"] = "SUCCEEDED"

    dashboard.after_submit = lambda name: None
    dashboard.script = stopped_too_late
    assert run().result == "just in time"


def test_a_restarted_step_keeps_the_deadline_of_its_job(dashboard: FakeDashboard, run: Run, time: Time) -> None:
    deadline = str(int(time.now + 50))
    dashboard.jobs[FIRST] = {"status": "RUNNING", "metadata": {"flexcore/deadline": deadline}}
    began = time.now
    with pytest.raises(DeadlineExceeded):
        run()
    assert time.now - began == pytest.approx(50, abs=5)


@pytest.mark.parametrize("ahead", [600.0, -600.0])
@pytest.mark.fault(35, "I2", "I4")
def test_a_deadline_is_by_the_heads_clock(dashboard: FakeDashboard, run: Run, time: Time, ahead: float) -> None:
    dashboard.clock = lambda: time.now + ahead
    dashboard.after_submit = lambda name: None
    began = time.now
    with pytest.raises(DeadlineExceeded, match="it was stopped"):
        run()
    assert time.now - began == pytest.approx(JOB.timeout_s, abs=5)
    assert int(submitted(dashboard)["deadline"]) == int(began + ahead + JOB.timeout_s)
    dashboard.after_submit = lambda name: dashboard.finish(name, "in time")
    assert run().result == "in time"


@pytest.mark.parametrize(
    ("answer", "error", "limit"),
    [
        ((401, "who are you"), Forbidden, 20),
        ((403, "no"), Forbidden, 20),
        ((503, "busy"), Unavailable, LOST_CONTACT_TIMEOUT_S + 20),
        ("cut", Unreachable, LOST_CONTACT_TIMEOUT_S + 20),
    ],
)
@pytest.mark.fault(8, "I2", "I6")
@pytest.mark.fault(7, "I2")
def test_a_head_that_stays_away_ends_the_step_with_its_reason(
    dashboard: FakeDashboard, run: Run, time: Time, answer: Any, error: type[FlexcoreError], limit: float
) -> None:
    dashboard.after_submit = lambda name: setattr(dashboard, "script", times(10_000, answer))
    began = time.now
    with pytest.raises(error) as caught:
        run()
    assert time.now - began < limit
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((401, "who are you"), Forbidden),
        ((200, "<html>hello</html>"), InvalidInput),
        ((200, {"hello": 1}), InvalidInput),
        ((302, ""), InvalidInput),
        ((502, "bad gateway"), Unavailable),
    ],
)
def test_a_wrong_address_is_told_at_the_first_contact(
    dashboard: FakeDashboard, run: Run, time: Time, answer: Any, error: type[FlexcoreError]
) -> None:
    dashboard.script = times(10_000, answer)
    began = time.now
    with pytest.raises(error, match=dashboard.address):
        run()
    assert time.now - began < 5
    assert submissions(dashboard) == 0


def test_a_head_that_is_still_starting_is_waited_for(dashboard: FakeDashboard, run: Run, time: Time) -> None:
    starting = (500, "Traceback\nException: No available agent to submit job, please try again later.")
    dashboard.after_submit = lambda name: dashboard.finish(name, 1)
    dashboard.script = times(60, starting, "POST /api/jobs/")
    began = time.now
    assert run().result == 1
    assert time.now - began > 20
    assert submissions(dashboard) == 61


def test_a_stopped_job_that_cannot_be_deleted_yet_is_deleted_a_little_later(dashboard: FakeDashboard, run: Run) -> None:
    dashboard.after_submit = lambda name: setattr(dashboard, "script", times(3, (500, "not terminal"), "DELETE"))
    with pytest.raises(DeadlineExceeded, match="it was stopped"):
        run()
    assert dashboard.jobs == {}


def test_a_record_that_ray_makes_anew_of_a_deleted_job_is_deleted_too(
    dashboard: FakeDashboard, run: Run, time: Time
) -> None:
    deleted_at: list[float] = []

    def note_delete(method: str, path: str) -> None:
        if method == "DELETE":
            deleted_at.append(time.now)

    def resurrect(now: float) -> None:
        # What Ray 2.60's monitor writes when it finds the supervisor dead and no record: job_manager.py, put_status.
        if len(deleted_at) == 1 and now > deleted_at[0] + 1 and FIRST not in dashboard.jobs:
            dashboard.jobs[FIRST] = {"status": "FAILED", "entrypoint": "Entrypoint not found."}

    dashboard.after_submit = lambda name: None
    dashboard.script, time.meanwhile = note_delete, resurrect
    with pytest.raises(DeadlineExceeded, match="it was stopped"):
        run()
    assert len(deleted_at) == 2 and dashboard.jobs == {}


@pytest.mark.fault(12, "I5", "I6")
def test_the_log_is_followed_redacted_and_each_line_once(
    dashboard: FakeDashboard, run: Run, time: Time, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.now

    def grow(now: float) -> None:
        dashboard.logs += f"line {now:.2f} {SECRET}\nhalf a li"
        if now - began > 20:
            dashboard.finish(FIRST, 1)

    dashboard.after_submit = lambda name: None
    time.meanwhile = grow
    done = run()
    printed = [line for line in capsys.readouterr().out.splitlines() if "***" in line]
    assert len(printed) == len(set(printed)) == dashboard.logs.count("\n")
    assert SECRET not in "".join(printed) + done.log_tail
    assert "line" in done.log_tail


@pytest.mark.fault(33, "I6")
def test_secrets_travel_in_the_package_alone(dashboard: FakeDashboard, run: Run) -> None:
    dashboard.after_submit = lambda name: dashboard.finish(name, 1)
    run(replace(JOB, storage={"uri": "s3://b", "secret_key": SECRET}))
    body = json.dumps(dashboard.jobs[FIRST])
    assert SECRET not in body
    assert dashboard.jobs[FIRST]["entrypoint"] == "python3 flexcore_job.py"
    request = submitted(dashboard)
    assert request["storage"]["secret_key"] == SECRET
    assert request["storage"]["folder"].endswith(f"/{KEY.value}/1")


def test_every_job_carries_its_owner_and_its_deadlines(dashboard: FakeDashboard, run: Run, time: Time) -> None:
    began = time.now
    dashboard.after_submit = lambda name: dashboard.finish(name, 1)
    run()
    metadata = dashboard.jobs[FIRST]["metadata"]
    assert KEY.labels(1).items() <= metadata.items()
    assert int(metadata["flexcore/deadline"]) == int(began + JOB.timeout_s)
    assert int(metadata["flexcore/delete-after"]) > int(metadata["flexcore/deadline"])


def test_deferred_work_is_submitted_once_labelled_and_collected_later(dashboard: FakeDashboard, run: Run) -> None:
    dashboard.after_submit = lambda name: None
    job = replace(JOB, deferred=True)
    for _ in range(2):
        assert submit(dashboard, job) == (1, FIRST)
    assert submissions(dashboard) == 1
    assert dashboard.jobs[FIRST]["metadata"]["flexcore/deferred"] == "true"
    dashboard.finish(FIRST, "done meanwhile")
    assert run(JOB).result == "done meanwhile"
    assert submissions(dashboard) == 1


def submit(dashboard: FakeDashboard, job: Job) -> tuple[int, str]:
    with RayApi(RayCluster(address=dashboard.address)) as api:
        context = Context(api, Store(Settings()), KEY, Redactor([]))
        attempt, remote = Driver(JobAdapter(context, work_of(job)), "").submit()
    return attempt, remote.name


def test_what_a_cluster_lacks_is_found_out_before_deferred_work_is_submitted(
    dashboard: FakeDashboard, run: Run
) -> None:
    """So that who collects has nothing to wait for."""

    def lacks(name: str) -> None:
        if dashboard.jobs[name]["metadata"]["flexcore/kind"] == "probe":
            dashboard.finish(name, **lacks_xgboost("/env/pip.whl"))

    dashboard.after_submit = lacks
    job = replace(JOB, check="check()", deferred=True)
    for _ in range(2):
        assert submit(dashboard, job) == (1, FIRST)
    assert list(dashboard.jobs) == [FIRST], "the look at the cluster has left nothing there"
    environment = dashboard.jobs[FIRST]["runtime_env"]
    assert environment["uv"] == ["xgboost-cpu==3.2.0"]
    assert environment["env_vars"] == {"PYTHONPATH": "/env/pip.whl"}
    dashboard.finish(FIRST, "trained")
    done = run(job)
    assert (done.result, done.attempt, done.packages) == ("trained", 1, ["xgboost-cpu==3.2.0"])
    assert submissions(dashboard) == 2


def test_a_look_at_the_cluster_that_a_killed_step_began_is_gone_on_with(dashboard: FakeDashboard) -> None:
    probe = f"{FIRST}-probe"
    dashboard.jobs[probe] = {"submission_id": probe}
    dashboard.finish(probe, **lacks_xgboost())
    dashboard.after_submit = lambda name: None
    assert submit(dashboard, replace(JOB, check="check()", deferred=True)) == (1, FIRST)
    assert list(dashboard.jobs) == [FIRST] and dashboard.jobs[FIRST]["runtime_env"]["uv"] == ["xgboost-cpu==3.2.0"]


def test_a_look_at_the_cluster_is_no_deferred_work(dashboard: FakeDashboard) -> None:
    seen: dict[str, Any] = {}

    def keep(name: str) -> None:
        seen[name] = dashboard.jobs[name]["metadata"]
        dashboard.finish(name)

    dashboard.after_submit = keep
    submit(dashboard, replace(JOB, check="check()", deferred=True))
    assert "flexcore/deferred" not in seen[f"{FIRST}-probe"] and seen[FIRST]["flexcore/deferred"] == "true"
    assert KEY.labels(1).items() <= seen[f"{FIRST}-probe"].items()


@pytest.mark.parametrize("packages", [[], ["tabulate==0.9.0"]])
def test_a_cluster_that_has_what_deferred_work_needs_gets_it_next(
    dashboard: FakeDashboard, run: Run, packages: list[str]
) -> None:
    dashboard.after_submit = lambda name: dashboard.finish(name, "ran")
    job = replace(JOB, check="check()", packages=packages, deferred=True)
    assert submit(dashboard, job) == (1, FIRST)
    done = run(job)
    assert (done.result, done.attempt, done.packages) == ("ran", 1, packages)
    assert submissions(dashboard) == 2


def test_deferred_work_that_failed_for_good_is_not_submitted_again_and_told_again(
    dashboard: FakeDashboard, run: Run
) -> None:
    error = {"type": "InvalidInput", "message": "no such column", "subject": "target_column"}
    dashboard.after_submit = lambda name: dashboard.finish(name, error=error)
    job = replace(JOB, deferred=True)
    assert submit(dashboard, job) == (1, FIRST)
    with pytest.raises(InvalidInput, match="no such column"):
        run(job)
    with pytest.raises(InvalidInput, match="no such column") as caught:
        submit(dashboard, job)
    assert caught.value.subject == "target_column"
    assert submissions(dashboard) == 1


def test_deferred_work_that_failed_but_may_not_again_is_submitted_as_the_next_attempt(
    dashboard: FakeDashboard, run: Run
) -> None:
    dashboard.after_submit = lambda name: dashboard.jobs[name].update(status="FAILED", driver_node_id=NODE)
    job = replace(JOB, deferred=True)
    assert submit(dashboard, job) == (1, FIRST)
    with pytest.raises(ExecutionFailed):
        run(job)
    assert submit(dashboard, job) == (2, KEY.name(2))
