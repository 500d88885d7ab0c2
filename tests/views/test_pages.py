"""Pages for people from the plain data of steps."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pytest

from f.flexcore.lib.core.contracts import ResourceUsage
from f.flexcore.lib.core.monitoring import Execution, Failure, Links, Step
from f.flexcore.lib.core.operation import Health
from f.flexcore.lib.core.workloads import Interval, Market, Run, Workload
from f.flexcore.lib.selection.analysis import Measure
from f.flexcore.lib.selection.comparison import compare_runs
from f.flexcore.lib.selection.forecast_fit import fit_forecasts
from f.flexcore.lib.selection.selector import select
from f.flexcore.lib.views import html
from f.flexcore.lib.views.operation_pages import render_execution_page, render_health_page
from f.flexcore.lib.views.selection_pages import (
    format_selection_lines,
    render_analysis_page,
    render_comparison_page,
    render_forecast_page,
    render_selection_page,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LINKS = Links(run="http://w/run/1", logs="http://w/logs/1")


def runs(runtime: str, seconds: float) -> list[Run]:
    return [
        Run(workflow_type="sync", runtime=runtime, duration_s=seconds + n, rows=1000, cost_usd=0.1, success=True)
        for n in range(6)
    ]


def test_health_that_was_not_measured_is_said_and_is_no_zero() -> None:
    page = render_health_page([asdict(Health("ray", "a<b", "ready", version="2.60.0", gpus_free=0))])
    assert page.count("not measured") == 3
    assert "a&lt;b" in page and html.STATE_COLORS["ready"] in page and ">0<" in page


def test_an_analysis_shows_each_number_with_its_source() -> None:
    measures = [
        Measure(what="data_size", value=12_000_000_000, source="measured", detail="<2 parts>"),
        Measure(what="rows", value=1_000_000, source="declared"),
        Measure(what="containerized", value=True, source="estimated"),
        Measure(what="gpu", source="not measured"),
    ]
    page = render_analysis_page([item.plain() for item in measures])
    assert "12 GB" in page and "1,000,000" in page and "True" in page and "—" in page and "&lt;2 parts&gt;" in page


def test_a_selection_shows_the_chosen_runtime_in_bold_and_why_not_the_others() -> None:
    workload = Workload(workflow_type="sync", data_size=1000, complexity="simple", runtimes=["ray", "meltano"])
    plain = select(workload, None, Market()).plain()
    plain["candidates"][1]["duration_s"] = Interval(p10=1, p50=90, p90=7200).plain()
    page = render_selection_page(plain)
    assert "<b>CHOSEN: meltano</b> (rules)" in page
    assert 'bold">CHOSEN: CHOSEN by the rules' in page
    assert "why not: not eligible: the pipeline does not describe it" in page
    assert "90 s (1 s to 2 h)" in page
    lines = format_selection_lines(plain)
    assert lines[0].startswith("CHOSEN meltano (rules): meltano by the rules")
    assert [line.split(":")[0] for line in lines[1:]] == ["Why not ray", "Why not kubernetes"]


def test_a_selection_without_a_runtime_shows_its_error() -> None:
    plain = select(Workload(workflow_type="sync", runtimes=[]), None, Market()).plain()
    assert "<b>No suitable runtime available</b>" in render_selection_page(plain)
    assert format_selection_lines(plain)[0].startswith("No suitable runtime available: ")


def test_a_forecast_page_has_a_line_for_each_runtime_and_type() -> None:
    rows = fit_forecasts([*runs("ray", 10), *runs("meltano", 100)], NOON).summarize()
    assert [(row["runtime"], row["workflow_type"], row["samples"]) for row in rows] == [
        ("meltano", "sync", 6),
        ("ray", "sync", 6),
    ]
    page = render_forecast_page(rows)
    assert page.count("<tr>") == 3 and " · " in page and "$0.1" in page


def test_a_comparison_shows_the_advice_the_figures_and_bars() -> None:
    page = render_comparison_page(compare_runs([*runs("ray", 10), *runs("meltano", 100)], "sync").plain())
    assert "sure): ray has the least" in page or "sure): meltano has the least" in page
    assert "(n=6)" in page and "Duration, median" in page and "Cost, median" in page
    empty = render_comparison_page(compare_runs([], "sync").plain())
    assert "No recommendation" in empty and "Duration, median" not in empty


def step(**fields: Any) -> Step:
    return Step.model_validate({"step": "a.b", "depth": 1, "status": "success", **fields})


def execution(**fields: Any) -> dict[str, Any]:
    record = {
        "id": "1",
        "path": "f/x<y",
        "status": "failed",
        "runtime": None,
        "runtimes": ["ray"],
        "started_at": NOON,
        "duration_s": 100,
        "resource_usage": ResourceUsage(cpu_seconds=2, peak_memory_bytes=10**9),
        "links": LINKS,
        **fields,
    }
    return Execution.model_validate(record).plain()


def test_an_execution_shows_its_steps_on_a_time_line_and_what_failed() -> None:
    late = step(started_at=NOON.replace(minute=0, second=50), duration_s=25, job="01234567-89", links=LINKS)
    page = render_execution_page(
        execution(steps=[late, step(step="later", status="waiting")], error=Failure(name="E", message="no <disk>"))
    )
    assert "f/x&lt;y" in page and "after 100 s on ray; 2 s CPU, 1 GB memory at most" in page
    assert "margin-left:120px;width:60px" in page, "half of the whole, for a quarter of it"
    assert 'href="http://w/run/1"' in page and "no &lt;disk&gt;" in page and "padding-left:16px" in page
    assert "more steps" in render_execution_page(execution(steps=[], complete=False))


def test_a_page_keeps_its_plain_data_for_programs() -> None:
    assert html.wrap_page("<b>x</b>", {"a": 1}) == {"render_all": [{"html": "<b>x</b>"}, {"a": 1}]}


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "—"), (0.5, "0.5 s"), (119, "119 s"), (600, "10 min"), (7200, "2 h")]
)
def test_seconds_are_written_in_the_unit_that_people_use(seconds: float | None, text: str) -> None:
    assert html.format_seconds(seconds) == text
