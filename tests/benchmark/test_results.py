"""Measurements become standings and rows of history; what was not measured never becomes a number."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from f.flexcore.lib.benchmark import legs, results
from f.flexcore.lib.core import contracts
from f.flexcore.lib.core.workloads import Market, Workload
from f.flexcore.lib.operations import history
from f.flexcore.lib.selection.comparison import compare_runs
from f.flexcore.lib.selection.forecast_fit import fit_forecasts
from f.flexcore.lib.selection.selector import select
from f.flexcore.lib.views import benchmark_pages

NOW = datetime(2026, 11, 28, tzinfo=UTC)

SOURCE = results.Marks(rows=1000, whole="a", columns={"id": "1", "note": "2"})


def leg(runtime: str = "meltano", turn: int = 1) -> legs.Leg:
    return legs.Leg(
        number=turn,
        turn=turn,
        work="extract",
        table="wide",
        runtime=runtime,
        workflow_type="benchmark/extract-wide",
        source="s",
        loaded="s_loaded",
    )


def step(seconds: float | None = 2.0) -> contracts.StepResult:
    return contracts.StepResult(
        success=True,
        runtime="meltano",
        execution_key="fc-1",
        attempt=1,
        timings=contracts.Timings(running=seconds),
    )


def measured(runtime: str, seconds: float, turn: int = 1, output: results.Marks = SOURCE) -> results.Measurement:
    difference = results.explain_difference(SOURCE, output)
    return results.measure(leg(runtime, turn), step(seconds), seconds + 1, SOURCE.rows, difference, "")


def plan(*runs: results.Measurement, gaps: tuple[legs.Gap, ...] = ()) -> legs.Plan:
    return legs.Plan(legs=[leg(item.runtime, item.turn) for item in runs], gaps=list(gaps), rows=1000, repeats=1)


def rank(*runs: results.Measurement, gaps: tuple[legs.Gap, ...] = ()) -> dict[str, results.Standing]:
    return {item.runtime: item for item in results.rank(plan(*runs, gaps=gaps), runs)}


def test_the_fastest_comes_first_with_its_spread() -> None:
    runs = [measured("ray", seconds, turn) for turn, seconds in enumerate((1, 2, 4), 1)] + [measured("meltano", 10)]
    found = rank(*runs)
    assert list(found) == ["ray", "meltano"]
    assert found["ray"].rows_per_s == results.Spread(median=500, low=250, high=1000)
    assert found["ray"].seconds == results.Spread(median=3, low=2, high=5)


def test_ratios_are_taken_within_a_turn_so_that_a_slow_machine_cancels_out() -> None:
    runs = [
        measured(name, seconds * factor, turn)
        for turn, factor in ((1, 1), (2, 7))
        for name, seconds in (("reference", 1), ("ray", 2), ("meltano", 40))
    ]
    found = rank(*runs)
    assert found["ray"].to_reference == results.Spread(median=0.5, low=0.5, high=0.5)
    assert found["ray"].to_meltano == results.Spread(median=20, low=20, high=20)
    assert found["reference"].to_reference == results.Spread()


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (SOURCE.model_copy(update={"rows": 999}), "disqualified: its output has 999 rows, the source has 1,000"),
        (
            SOURCE.model_copy(update={"whole": "b", "columns": {"id": "1", "note": "9"}}),
            "disqualified: its output has as many rows as the source, and other values in note",
        ),
    ],
)
def test_an_output_that_differs_disqualifies_and_is_named(output: results.Marks, message: str) -> None:
    found = rank(measured("reference", 1), measured("meltano", 0.1, output=output))["meltano"]
    assert found.note == message
    assert (found.runs, found.counted) == (1, 0)
    assert found.rows_per_s == found.to_reference == results.Spread()


def test_one_disqualified_run_leaves_the_others_and_is_told() -> None:
    bad = SOURCE.model_copy(update={"rows": 1})
    found = rank(measured("meltano", 2), measured("meltano", 1, 2, bad))["meltano"]
    assert (found.runs, found.counted, found.rows_per_s.median) == (2, 1, 500)
    assert found.note.startswith("disqualified")


@pytest.mark.parametrize(
    ("predicted", "r2", "message"),
    [
        (None, 0.95, ""),
        (1000, 0.9, ""),
        (999, 0.95, "disqualified: it predicted 999 rows, the source has 1,000"),
        (1000, 0.8999, "disqualified: the part of the variance that it explains is 0.900, and should be at least 0.9"),
        (None, None, "disqualified: the part of the variance that it explains is unknown, and should be at least 0.9"),
        (None, float("nan"), "disqualified: the part of the variance that it explains is nan, and should be"),
    ],
)
def test_a_model_counts_when_it_explains_what_any_correct_one_does(
    predicted: int | None, r2: float | None, message: str
) -> None:
    found = results.explain_quality(1000, predicted, r2)
    assert found.startswith(message) and bool(found) == bool(message)


def test_a_failed_run_has_its_error_and_no_rate() -> None:
    result, error = results.read_step_result({"error": {"name": "Unreachable", "message": "no\n answer"}})
    item = results.measure(leg(), result, 3.0, SOURCE.rows, None, error)
    assert (item.success, item.is_equal, item.rows_per_s, item.error) == (False, None, None, "no answer")


def test_a_run_that_could_not_be_recorded_is_listed_with_its_error_and_the_others_stay() -> None:
    good = measured("reference", 1)
    planned = plan(good, measured("meltano", 1), measured("ray", 1))
    left = [{"measurement": good.plain()}, {"error": {"message": "The database refuses: it is gone"}}]
    data: dict[str, Any] = {"tables": {}, "machine": {"versions": {}}}
    found = results.finish(planned, data, left)
    notes = {item["runtime"]: item["note"] for item in found["standings"]}
    assert found["success"] and notes["reference"] == ""
    assert notes["meltano"] == "it could not be recorded: The database refuses: it is gone"
    assert notes["ray"].startswith("it could not be recorded")


@pytest.mark.parametrize("result", [None, [], "text", {"success": True}])
def test_what_is_no_result_is_said_to_be_none(result: Any) -> None:
    assert results.read_step_result(result) == (None, "it has no result")


def test_what_is_not_measured_is_listed_last_without_a_number() -> None:
    gap = legs.Gap(runtime="kubernetes", work="extract", reason="the form names no resource for it")
    found = rank(measured("reference", 1), gaps=(gap,))
    assert list(found) == ["reference", "kubernetes"]
    assert found["kubernetes"].rows_per_s.median is None
    assert found["kubernetes"].note == "not measured: the form names no resource for it"


@pytest.mark.parametrize("is_equal", [True, False])
def test_a_run_is_a_row_that_the_history_reads(is_equal: bool) -> None:
    item = measured("meltano", 2, output=SOURCE if is_equal else SOURCE.model_copy(update={"rows": 5}))
    run = results.build_run(leg(), item, {"rows": 1000, "bytes": 4096})
    assert run is not None
    job = {"result": {"success": item.success, "run": run.plain()}, "started_at": "2026-01-01T00:00:00Z"}
    read = history.run_from_job(job, "")
    assert read is not None
    assert (read.workflow_type, read.runtime, read.duration_s) == ("benchmark/extract-wide", "meltano", 3)
    assert (read.success, read.rows, read.data_size_bytes) == (is_equal, 1000, 4096)
    assert results.build_labels(leg()) == [*contracts.LABELS, "workflow:benchmark/extract-wide", "runtime:meltano"]


def test_the_reference_and_what_has_no_time_leave_no_row() -> None:
    assert results.build_run(leg("reference"), measured("reference", 1), {}) is None
    untimed = results.measure(leg(), step(), None, SOURCE.rows, "", "")
    assert results.build_run(leg(), untimed, {}) is None


def test_the_choice_of_a_runtime_learns_from_the_runs_of_a_race() -> None:
    seconds = {"meltano": 300.0, "ray": 9.0}
    runs = [
        results.build_run(leg(name), measured(name, value + turn / 9), {"rows": 10**6, "bytes": 10**8})
        for name, value in seconds.items()
        for turn in range(6)
    ]
    dated = [run.model_copy(update={"started_at": NOW}) for run in runs if run]
    workload = Workload(
        workflow_type="benchmark/extract-wide", data_size=10**8, rows=10**6, runtimes=["meltano", "ray"]
    )
    chosen = select(workload, fit_forecasts(dated, NOW), Market())
    assert (chosen.runtime, chosen.mode) == ("ray", "learned")
    best = compare_runs(dated, "benchmark/extract-wide").recommendation
    assert best.runtime == "ray" and best.confidence == 1


# --- the page


def race(*runs: results.Measurement, gaps: tuple[legs.Gap, ...] = ()) -> dict[str, Any]:
    standings = results.rank(plan(*runs, gaps=gaps), runs)
    machine = {"cores": 2, "memory_bytes": 8 * 10**9, "system": "Linux x86_64", "load": 0.53}
    return {
        "machine": machine,
        "versions": {"postgresql": "18.6"},
        "rows": 1000,
        "repeats": 1,
        "standings": [item.plain() for item in standings],
    }


def test_the_page_has_machine_versions_ratios_and_says_what_was_not_measured() -> None:
    gap = legs.Gap(runtime="kubernetes", work="extract", reason="<no> image")
    page = benchmark_pages.render_race_page(race(measured("reference", 1), measured("meltano", 8), gaps=(gap,)))
    for text in (
        "2 cores",
        "8 GB",
        "postgresql 18.6",
        "load average 0.5",
        "1 turn on",
        ">1,000<",
        "0.125",
        "not measured: &lt;no&gt;",
    ):
        assert text in page
    assert ">0<" not in page


def test_several_turns_are_shown_with_their_range() -> None:
    page = benchmark_pages.render_race_page(race(measured("reference", 1), measured("reference", 4, 2)))
    assert "625 (250 to 1,000)" in page


def test_the_chart_draws_a_bar_for_each_measured_runtime_and_none_for_the_others() -> None:
    bad = SOURCE.model_copy(update={"rows": 1})
    gap = legs.Gap(runtime="kubernetes", work="extract", reason="no image")
    standings = race(measured("reference", 1), measured("meltano", 8, output=bad), gaps=(gap,))["standings"]
    chart = benchmark_pages.draw_chart(standings)
    assert chart.count("<rect") == 1
    assert "disqualified" in chart and "not measured" in chart
    assert "currentColor" in chart and "prefers-color-scheme" not in chart and "white" not in chart


def test_there_is_no_chart_of_nothing() -> None:
    gap = legs.Gap(runtime="ray", work="extract", reason="no cluster")
    bad = SOURCE.model_copy(update={"rows": 1})
    assert benchmark_pages.draw_chart(race(measured("meltano", 1, output=bad), gaps=(gap,))["standings"]) == ""


def test_a_longer_bar_is_a_faster_runtime() -> None:
    standings = race(measured("reference", 1), measured("ray", 2), measured("meltano", 80))["standings"]
    chart = benchmark_pages.draw_chart(standings)
    widths = [
        float(part.split('"')[0])
        for part in chart.split('<rect x="230" y="')[1:]
        for part in [part.split('width="')[1]]
    ]
    assert len(widths) == 3 and widths == sorted(widths, reverse=True) and len(set(widths)) == 3


def test_the_plan_page_says_that_nothing_was_run() -> None:
    gap = legs.Gap(runtime="ray", work="extract", reason="no cluster")
    page = benchmark_pages.render_plan_page(plan(measured("meltano", 1), gaps=(gap,)).plain())
    assert "nothing was run" in page and "not measured: no cluster" in page
