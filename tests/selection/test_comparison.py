from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from f.flexcore.lib.core.workloads import Run
from f.flexcore.lib.selection.comparison import compare_runs

START = datetime(2026, 1, 1, tzinfo=UTC)


def run(runtime: str, seconds: float, day: int = 0, **more: Any) -> Run:
    known = {"workflow_type": "sync", "runtime": runtime, "duration_s": seconds, "started_at": START + timedelta(day)}
    return Run.model_validate({**known, "success": True, **more})


def test_what_no_run_shows_is_null_and_failures_count_in_the_rate_alone() -> None:
    found = compare_runs([run("ray", 10), run("ray", 30), run("ray", 1, success=False)], "sync")
    (ray,) = found.runtimes
    assert (ray.runs, ray.samples, ray.duration_p50_s, ray.duration_p95_s) == (3, 2, 20, 29)
    assert (ray.rows_per_s, ray.cost_usd_p50, ray.cost_usd_total) == (None, None, None)
    assert "too few" in ray.note and "hint only" in found.recommendation.reason


def test_a_range_includes_its_beginning_and_not_its_end() -> None:
    runs = [run("ray", 1, day) for day in range(5)]
    assert compare_runs(runs, "sync", START + timedelta(1), START + timedelta(3)).runs == 2
    assert compare_runs([*runs, run("ray", 1, started_at=None)], "sync", until=START + timedelta(9)).runs == 5


def test_a_runtime_that_got_the_large_work_is_compared_within_sizes() -> None:
    # Ray is twice as fast at every size, and has nearly all of the large work.
    sizes = [10**9] * 20 + [10**11] * 4
    meltano = [run("meltano", size / 10**8, n, data_size_bytes=size) for n, size in enumerate(sizes)]
    ray = [run("ray", size / 2e8, n, data_size_bytes=size) for n, size in enumerate([10**9] * 4 + [10**11] * 20)]
    found = compare_runs([*meltano, *ray], "sync").recommendation
    assert found.runtime == "ray" and found.confidence == 1
    assert "0.707 times the usual for the same size" in found.reason


def test_sizes_that_cannot_be_matched_are_mentioned() -> None:
    runs = [run("meltano", 5, n, data_size_bytes=10**9) for n in range(6)]
    runs += [run("ray", 500, n, data_size_bytes=10**12) for n in range(6)]
    assert "cannot be matched" in compare_runs(runs, "sync").recommendation.reason


def test_failures_count_against_a_runtime() -> None:
    runs = [run("meltano", 12, n) for n in range(10)] + [run("ray", 10, n, success=n % 2 > 0) for n in range(20)]
    assert compare_runs(runs, "sync").recommendation.runtime == "meltano"
    failed = [run("ray", 10, n, success=False) for n in range(5)]
    assert compare_runs(failed, "sync").recommendation.runtime is None
