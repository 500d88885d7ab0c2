"""What a soak makes of what it has measured and seen, on series and executions that are given."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from xml.etree import ElementTree

import httpx
import numpy as np
import pytest

from bench.soak import kept, measures, passes
from bench.soak.control import ControlHead
from bench.soak.faults import Faults
from bench.soak.flows import Execution, Flows
from bench.soak.ledger import Ledger, judge
from bench.soak.report import JUDGED, build_report, describe, draw
from bench.soak.slopes import HOUR_S, Sample, fit_slope
from bench.soak.soak import Soak
from f.flexcore.lib.operations.reconciler import describe_rows
from flexcore.ray_head import RayHead, RayHeadError
from tests.live.conftest import Windmill
from tests.live.proxy import Proxy
from tests.ray.fake_dashboard import FakeDashboard
from tests.wmlocal.engine.conftest import Writer, raw
from wmlocal.engine import Engine

if TYPE_CHECKING:
    from bench.soak.places import Places

INTERVAL_S = 5.0
CANCELED = {"error": {"name": "Canceled", "message": "Job canceled"}}
FAILED = {"error": {"name": "ExecutionFailed", "message": "it broke"}}


def series(count: int, value: Callable[[int], float], life: int = 0, begin: int = 0) -> list[Sample]:
    return [Sample((begin + number) * INTERVAL_S, value(number), life) for number in range(count)]


def wander(count: int, rho: float, seed: int) -> list[float]:
    """Values whose neighbors are alike, as those of memory are, and that go nowhere."""
    chance, values = np.random.default_rng(seed), [0.0]
    for _ in range(count - 1):
        values.append(rho * values[-1] + chance.normal())
    return values


@pytest.mark.parametrize("rho", [0.0, 0.9])
def test_values_that_go_nowhere_have_a_slope_that_does_not_differ_from_zero(rho: float) -> None:
    drifts = [wander(100, rho, seed) for seed in range(6)]
    slopes = [fit_slope(series(100, drift.__getitem__), 0) for drift in drifts]
    assert sum(slope.differs_from_zero for slope in slopes) <= 1


def test_a_slope_is_found_with_its_size_through_noise_and_a_few_wild_values() -> None:
    noise = wander(200, 0.5, 3)
    grown = fit_slope(series(200, lambda n: 100 + 0.05 * n + noise[n] / 4 + (1000 if n % 40 == 7 else 0)), 0)
    assert grown.is_growing and grown.per_hour == pytest.approx(0.05 * HOUR_S / INTERVAL_S, rel=0.2)
    shrunk = fit_slope(series(200, lambda n: 100 - 0.05 * n + noise[n] / 4), 0)
    assert shrunk.differs_from_zero and not shrunk.is_growing


def test_a_restart_is_no_growth_and_what_comes_before_a_warm_up_does_not_count() -> None:
    lives = series(60, lambda n: 50 + min(n, 10) * 5.0) + series(60, lambda n: 90 + min(n, 10) * 5.0, 1, 60)
    assert fit_slope(lives, 60).per_hour == 0
    assert fit_slope(lives, 60).lives == 2
    assert fit_slope(series(40, lambda n: min(n, 10)), 0, seed=1).samples == 40


@pytest.mark.parametrize("samples", [[], series(5, float), [Sample(number * 5.0, None) for number in range(100)]])
def test_too_few_samples_have_no_slope(samples: list[Sample]) -> None:
    slope = fit_slope(samples, 0)
    assert (slope.per_hour, slope.low, slope.high) == (None, None, None)
    assert not slope.is_growing and not slope.differs_from_zero


def execution(ends: str, result: Any, success: bool | None = False, **more: Any) -> Execution:
    ended_at = None if success is None else 2.0
    return Execution("some", ends, {}, success=success, result=result, started_at=1.0, ended_at=ended_at, **more)


@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        (execution("success", {"n": 1}, True), ""),
        (execution("success", {"n": 1}, True, check=lambda result: result["n"] == 2), "answered what its work did not"),
        (execution("success", {}, True, check=lambda result: result["n"] == 1), "answered without KeyError"),
        (execution("success", None, None), "has no outcome"),
        (execution("success", FAILED), "ended in failure and not in success: ExecutionFailed: it broke"),
        (execution("success", FAILED, touched={"step killed"}), "ended in failure"),
        (execution("success", FAILED, touched={"step killed"}, flow="f/x"), ""),
        (execution("success", FAILED, touched={"head killed"}), ""),
        (execution("success", {"error": {}}, touched={"head killed"}), "ended in failure"),
        (execution("failure", FAILED), ""),
        (execution("failure", {"n": 1}, True), "ended in success and not in failure"),
        (execution("canceled", CANCELED, canceled=True), ""),
        (execution("canceled", {"n": 1}, True, canceled=True), "ended in success and not in canceled"),
        (execution("canceled", {"n": 1}, True), ""),
        (execution("success", CANCELED), "ended in canceled and not in success"),
    ],
)
def test_an_execution_must_end_as_it_has_to_and_a_fault_excuses_only_what_it_takes_away(
    found: Execution, wrong: str
) -> None:
    assert judge(found).startswith(wrong) and bool(judge(found)) == bool(wrong)


def test_an_execution_that_the_server_has_dropped_before_its_end_was_read_has_an_end_and_a_wrong_one(
    tmp_path: Path,
) -> None:
    write = Writer(tmp_path / "bundle")
    write.flow("f/x/y", [raw("a", "def main():\n    return 1\n")])
    (tmp_path / "home").mkdir()
    with Engine(write.root, tmp_path / "home") as engine:
        server = SimpleNamespace(windmill=Windmill(engine.url, engine.token, "local"))
        ledger = Ledger(cast("Places", server))
        kept, dropped = (execution("success", None, None, id=engine.run("f/x/y").id) for _ in range(2))
        engine.store.prune(time.time() + 1)
        kept.id = engine.run("f/x/y").id
        ledger.live = {item.id: item for item in (kept, dropped)}
        assert ledger.poll() == [kept, dropped] and ledger.live == {}
    assert judge(kept) == "" and kept.result == 1
    assert judge(dropped) == "was started, and the server does not know it any more"


class RestartingHead:
    """A head whose start takes as long as the test wants, and may fail."""

    def __init__(self) -> None:
        self.may_go_on, self.problem = threading.Event(), ""

    def kill(self) -> None:
        self.may_go_on.wait(10)
        if self.problem:
            raise RayHeadError(self.problem)


def test_a_killed_head_starts_again_beside_the_executions_and_a_start_that_fails_is_told() -> None:
    head = RestartingHead()
    places = cast("Places", SimpleNamespace(head=head, services=(), engine=None))
    ledger = Ledger(places)
    ledger.live = {"a": execution("success", None, None, uses=frozenset({"ray"}))}
    faults = Faults(places, ledger, random.Random(1), lambda text: None, 600)
    assert not faults.is_restarting
    assert faults.kill_head() == 1 and ledger.live["a"].touched == {"head killed"}
    assert faults.is_restarting
    head.may_go_on.set()
    faults.stop()
    assert not faults.is_restarting
    head.problem = "no ports"
    faults.kill_head()
    with pytest.raises(RayHeadError, match="no ports"):
        faults.stop()
    with pytest.raises(RayHeadError, match="no ports"):
        assert faults.is_restarting


def test_work_that_was_begun_twice_is_told_unless_its_head_was_killed(tmp_path: Path) -> None:
    marker = tmp_path / "starts"
    marker.write_text("one\ntwo\n")
    assert judge(execution("success", {}, True, marker=marker)) == "began its work 2 times"
    assert judge(execution("success", {}, True, marker=marker, touched={"head killed"})) == ""
    marker.write_text("one\n")
    assert judge(execution("success", {}, True, marker=marker)) == ""


def test_a_report_holds_only_when_nothing_is_lost_left_over_or_growing() -> None:
    flat = {"engine_memory_mb": series(60, lambda n: 50.0), "store_files": series(60, float)}
    good = build_report([execution("success", {}, True)], [], flat, {})
    assert good["holds"] and good["problems"] == []
    assert good["slopes"]["store_files"]["judged"] is False
    assert describe(good).endswith("\nholds")
    bad = build_report(
        [execution("success", None, None)],
        ["process 7: sleep"],
        {kept.BEYOND_ROWS: series(60, float)},
        {kept.BEYOND_ROWS: 10},
    )
    assert not bad["holds"]
    lost, left, grows = bad["problems"]
    assert lost.endswith("has no outcome") and left == "left over: process 7: sleep"
    assert grows.startswith("database_beyond_rows_mb grows by 720 an hour")
    assert bad["executions"]["total"] == {"started": 1, "ended": 0, "touched_by_faults": 0, "wrong": 1}
    assert describe(bad).endswith("\ndoes not hold")


def heads(ours: Callable[[int], float], control: Callable[[int], float], jobs: int = 80) -> dict[str, list[Sample]]:
    """Two heads that get a job with each sample."""
    count = series(jobs, float)
    return {
        "head_memory_mb": series(jobs, ours),
        "head_jobs": list(count),
        "control_memory_mb": series(jobs, control),
        "control_jobs": count,
    }


def noisy(per_job: float, seed: int = 4) -> Callable[[int], float]:
    noise = wander(80, 0.5, seed)
    return lambda n: 100 + 20 * min(n, 20) + per_job * n + noise[n] / 20


@pytest.mark.parametrize(
    ("ours", "control", "problem"),
    [
        # What both need for their first twenty jobs is left out.
        (noisy(0), noisy(0, 5), ""),
        # Ray itself keeps that with each job.
        (noisy(0.2), noisy(0.2, 5), ""),
        (noisy(0.5), noisy(0.2, 5), "head_memory_mb grows by 0.5"),
        # A control that shrinks excuses nothing that does not grow.
        (noisy(0), noisy(-0.2, 5), ""),
        (noisy(0.2), noisy(0, 5), "head_memory_mb grows by 0.2"),
    ],
)
def test_of_a_heads_memory_what_a_job_adds_is_judged_by_that_of_a_head_without_flexcore(
    ours: Callable[[int], float], control: Callable[[int], float], problem: str
) -> None:
    found = build_report([], [], heads(ours, control), {})
    assert found["holds"] is not bool(problem) and found["too_short_to_judge"] == []
    assert "".join(found["problems"]).startswith(problem)
    assert found["head_mb_per_job"]["head"]["samples"] == 60


def test_a_control_gets_as_many_jobs_as_the_other_head_a_few_at_a_time_and_no_two_packages_alike() -> None:
    with FakeDashboard() as fake:
        fake.after_submit = lambda name: None
        control = ControlHead(cast("RayHead", SimpleNamespace(address=fake.address, headers={})))
        control.keep_pace(5)
        assert control.started == len(fake.jobs) == 2
        control.keep_pace(5)
        assert control.started == 2
        for _ in range(3):
            for name in fake.jobs:
                fake.finish(name)
            control.keep_pace(5)
        assert control.started == len(fake.jobs) == len(fake.packages) == 5
        assert {job["runtime_env"]["working_dir"].removeprefix("gcs://") for job in fake.jobs.values()} == {
            *fake.packages
        }
        # An answer that was lost: the next try is not taken for the same job.
        for name in fake.jobs:
            fake.finish(name)
        answers = iter(["cut"])
        fake.script = lambda method, path: next(answers, None) if method == "POST" else None
        with pytest.raises(httpx.HTTPError):
            control.keep_pace(6)
        control.keep_pace(6)
        assert control.started == 6
        assert sum("/api/v0/logs/file" in asked for asked in fake.requests) == 5
        control.look_after()
        assert fake.requests[-2:] == ["GET /api/jobs/", "GET /api/serve/applications/"]


def test_a_control_counts_over_as_many_jobs_as_a_life_of_the_other_head_has_had() -> None:
    both = heads(noisy(0.3), noisy(0.3, 5), 80)
    both["control_jobs"] += [Sample(s.at_s + 400, 80.0 + n, 0) for n, s in enumerate(series(80, float))]
    both["control_memory_mb"] += [Sample(s.at_s + 400, 524.0, 0) for s in series(80, float)]
    found = build_report([], [], both, {})
    assert found["holds"] and found["head_mb_per_job"]["control"]["samples"] == 60


def test_a_soak_whose_measuring_ends_in_an_error_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would go on for the hour, and judge what it has of the first minutes."""

    def fail(_: Soak) -> None:
        raise KeyError("pods")

    nothing = SimpleNamespace(folder=tmp_path, cluster=SimpleNamespace(collect_garbage=list), engine=None)
    soak = Soak(cast("Places", nothing), HOUR_S, width=0, seed=1, log=lambda text: None)
    monkeypatch.setattr(Soak, "_measure", fail)
    for name in ("_reconcile", "_keep_control_busy", "_settle", "_drain"):
        monkeypatch.setattr(Soak, name, lambda _: None)
    for kind, name in ((Flows, "first_of_each"), (Ledger, "poll")):
        monkeypatch.setattr(kind, name, lambda _: [])
    for name in ("strike", "stop"):
        monkeypatch.setattr(Faults, name, lambda *_: None)
    with pytest.raises(KeyError, match="pods"):
        soak.run()


def test_half_a_request_of_a_step_that_was_killed_never_reaches_the_service() -> None:
    with FakeDashboard() as fake:
        proxy = Proxy(fake.address)
        whole = httpx.put(f"{proxy.address}/api/packages/gcs/whole.zip", content=b"1234")
        host, port = proxy.address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as half:
            half.sendall(b"PUT /api/packages/gcs/half.zip HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n12")
            half.shutdown(socket.SHUT_WR)
            assert half.recv(100) == b""
        proxy.close()
    assert whole.status_code == 200 and fake.packages == {"whole.zip": b"1234"}


def passes_over_three_heads(per_job: float, per_pass: float, more_others: float) -> dict[str, list[Sample]]:
    """A head gets a job with each pass of reconcile and is killed after sixty. more_others: with each pass, as it was
    with admissions that were kept for an hour."""
    noise = wander(180, 0.5, 6)
    others = [float(20 + more_others * n + n * 7 % 11) for n in range(180)]
    memory = [60 + per_job * (n % 60) + per_pass * n + 0.01 * others[n] + noise[n] / 20 for n in range(180)]
    found = {
        passes.MEMORY: [Sample(n * 12.0, memory[n], n // 60) for n in range(180)],
        passes.JOBS: [Sample(n * 12.0, float(n % 60), n // 60) for n in range(180)],
        passes.OTHERS: [Sample(n * 12.0, others[n]) for n in range(180)],
    }
    return found | {passes.BEYOND_LIST: passes.leave_out_lists(found)}


@pytest.mark.parametrize(
    ("per_job", "per_pass", "more_others", "problem"),
    [
        (0.0, 0.0, 0, ""),
        (0.01, 0.0, 0, ""),
        (0.05, 0.0, 0, "a pass of reconcile needs 0.0497 MB for each job of the head"),
        # What grows whatever a head lists does not hide behind the jobs, which grow as well while a head lives.
        (0.01, 0.008, 0, "reconcile_beyond_list_mb grows by 2"),
        # Nor does a list that grows hide behind its own count.
        (0.01, 0.0, 0.25, "reconcile_listed_others grows by 7"),
    ],
)
def test_what_a_pass_of_reconcile_needs_for_a_listed_job_has_a_bound_and_the_rest_stays_as_it_is(
    per_job: float, per_pass: float, more_others: float, problem: str
) -> None:
    found = build_report([], [], passes_over_three_heads(per_job, per_pass, more_others), {})
    assert found["holds"] is not bool(problem), found["problems"]
    assert "".join(found["problems"]).startswith(problem)


def test_what_a_pass_has_listed_is_read_as_its_log_says_it() -> None:
    log = f"--- a step ---\n{describe_rows([], 31)}\n"
    assert passes.count_others(log, 11) == 20
    assert passes.count_others("The pass of another job is still running; nothing is done", 11) is None
    assert passes.count_others(log, None) is None


@pytest.mark.parametrize("more_rows_for_each", [0.0, 0.02])
@pytest.mark.parametrize("more_beyond", [0.0, 0.01])
def test_a_machine_that_gets_faster_keeps_more_rows_and_grows_only_by_what_each_execution_has_more(
    more_rows_for_each: float, more_beyond: float
) -> None:
    ended = [n * 0.5 + n * n / 1000 for n in range(600)]
    in_time = [ended[n] - ended[max(n - 120, 0)] for n in range(600)]
    rows = [in_time[n] * (9 + more_rows_for_each * n) for n in range(600)]
    noise = wander(600, 0.5, 7)
    found = {
        kept.ENDED: series(600, lambda n: ended[n]),
        kept.ROWS: series(600, lambda n: rows[n] + noise[n]),
        kept.DATABASE: series(600, lambda n: 3 + rows[n] / 250 + more_beyond * n + noise[n] / 50),
    }
    found[kept.PER_EXECUTION] = kept.count_rows_per_execution(found, 120 * INTERVAL_S)
    found[kept.BEYOND_ROWS] = kept.leave_out_rows(found)
    level = dict.fromkeys(found, 160 * INTERVAL_S)
    problems = "".join(build_report([], [], found, level)["problems"])
    assert ("rows_per_execution grows" in problems) is bool(more_rows_for_each), problems
    if not more_rows_for_each:
        assert ("database_beyond_rows_mb grows" in problems) is bool(more_beyond), problems


def test_without_enough_jobs_to_tell_all_memory_of_a_pass_counts() -> None:
    same = series(30, lambda n: 3.0)
    few = {passes.MEMORY: series(30, lambda n: 60.0 + n), passes.JOBS: same, passes.OTHERS: same}
    assert [sample.value for sample in passes.leave_out_lists(few)] == [60.0 + n for n in range(30)]


def test_lives_of_a_head_with_fewer_than_twenty_jobs_say_nothing_of_its_memory() -> None:
    short = build_report([execution("success", {}, True)], [], heads(float, float, 25), {})
    assert short["holds"] and short["too_short_to_judge"] == ["head_memory_mb"]
    assert describe(short).endswith("\nholds; too short to judge: head_memory_mb")
    both = heads(noisy(0.5), noisy(0))
    renewed = [Sample(s.at_s + 1000, s.value, 1) for s in series(15, float)]
    both["head_jobs"] += renewed
    both["head_memory_mb"] += [Sample(s.at_s, 9000.0 * (s.value or 0), 1) for s in renewed]
    found = build_report([], [], both, {})["head_mb_per_job"]["head"]
    assert found["lives"] == 1 and found["per_job"] == pytest.approx(0.5, abs=0.1)


def test_the_chart_has_a_plot_for_each_judged_series_and_for_the_heads_memory() -> None:
    names = (*JUDGED[:3], "head_memory_mb", "control_memory_mb")
    measured = {name: series(60, lambda n: 5.0 + n % 3) for name in (*names, "head_jobs", "control_jobs")}
    root = ElementTree.fromstring(draw(measured, build_report([], [], measured, {})))
    titles = [item.text or "" for item in root.iter("{http://www.w3.org/2000/svg}title")]
    assert [title.partition(":")[0].replace(" ", "_") for title in titles] == list(names)


def test_of_a_head_its_own_processes_are_measured_and_not_those_of_its_jobs(tmp_path: Path) -> None:
    """Agents and the dashboard's modules write a title over their command line, as this does."""
    titles = {
        "ray::DashboardAgent": "dashboard_agent",
        "ray-dashboard-JobHead-0 (python -c x)": "dashboard_modules",
        "/x/core/src/ray/raylet/raylet --agent_command=/x/dashboard/agent.py": "raylet",
        "python -u /x/ray/_private/log_monitor.py --logs-dir=/x": "log_monitor",
    }
    worker = "python /x/default_worker.py --raylet-name=/x --log=/x/raylet/raylet"
    others = ("ray::IDLE", worker, "python3 flexcore_job.py")
    keeper = """
import subprocess, sys
for title in sys.argv[1:]:
    subprocess.Popen(["bash", "-c", 'exec -a "$0" sleep 60', title])
print(flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", keeper, *titles, *others], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as root:
        assert root.stdout is not None
        root.stdout.readline()
        try:
            assert wait_until(lambda: len(measures.find_descendants(root.pid)) == 8)
            assert wait_until(lambda: sorted(measures.find_daemons(root.pid).values()) == sorted(titles.values()))
            logs = tmp_path / "session_2026/logs"
            logs.mkdir(parents=True)
            for name in ("job-driver-a.log", "job-driver-b.log", "raylet.out"):
                (logs / name).touch()
            found = measures.measure_head("head", root.pid, tmp_path)
            kinds = [f"head_{kind}_memory_mb" for kind in titles.values()]
            assert set(found) == {*kinds, "head_memory_mb", "head_descriptors", "head_jobs"}
            assert found["head_jobs"] == 2 and all(found.values())
            counted = [pid for pid, kind in measures.find_daemons(root.pid).items() if kind != "log_monitor"]
            assert len(counted) == 3
            assert found["head_descriptors"] == sum(measures.count_descriptors(pid) for pid in counted)
            assert found["head_memory_mb"] == pytest.approx(sum(found[kind] or 0 for kind in kinds), abs=0.5)
            away = measures.measure_head("head", None, tmp_path)
            assert away == {"head_memory_mb": None, "head_descriptors": None, "head_jobs": None}
        finally:
            for pid in measures.find_descendants(root.pid)[1:]:
                os.kill(pid, signal.SIGKILL)
            root.kill()


def test_connections_between_a_dashboard_and_its_modules_are_left_out_and_all_others_count(tmp_path: Path) -> None:
    program = """
import socket, sys
pairs = [socket.socketpair() for _ in range(5)]
listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[2]))]
print(flush=True)
sys.stdin.read()
"""

    def measure(title: str, listening: int) -> float:
        command = ["bash", "-c", 'exec -a "$0" "$1" -c "$2" "$0" "$3"', title, sys.executable, program, str(listening)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as head:
            assert head.stdout is not None
            head.stdout.readline()
            found = measures.measure_head("head", head.pid, tmp_path)["head_descriptors"]
            head.kill()
        assert found is not None
        return found

    base = measure("ray-dashboard-JobHead-0", 0)
    assert measure("ray-dashboard-JobHead-0", 3) == base + 3
    assert measure("/x/core/src/ray/raylet/raylet", 0) == base + 10


def wait_until(true: Callable[[], bool], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return true()


def test_descriptors_and_memory_of_a_process_are_counted_and_one_that_has_ended_has_none(tmp_path: Path) -> None:
    before = measures.measure_process("own", [os.getpid()])
    with (tmp_path / "one").open("w"), (tmp_path / "two").open("w"):
        after = measures.measure_process("own", [os.getpid()])
    assert (after["own_descriptors"] or 0) - (before["own_descriptors"] or 0) == 2
    assert (before["own_memory_mb"] or 0) > 1
    assert measures.measure_process("own", []) == {"own_memory_mb": None, "own_descriptors": None}
    assert measures.count_entries(tmp_path, tmp_path / "absent") == 2
