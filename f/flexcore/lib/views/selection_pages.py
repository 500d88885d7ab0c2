# requirements: flexcore_base
"""Pages and log lines of the choice of a runtime, from the plain data of its steps. Pure.

render_analysis_page    what the workload is, and where each number comes from
render_selection_page   the candidates, the chosen one, and why not the others
render_forecast_page    what was learned of each runtime and type of workflow
render_comparison_page  how the runtimes did, and which one to prefer
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from f.flexcore.lib.views import html

Plain = Mapping[str, Any]
Interval = Mapping[str, float]

ANALYSIS_HEAD = ("What", "Value", "Source", "Detail")
SELECTION_HEAD = ("Runtime", "Duration", "Cost", "Runs", "Success", "Meets the deadline", "")
FORECAST_HEAD = (
    "Runtime",
    "Workflow type",
    "Finished",
    "Failed",
    "Sizes seen",
    "Usual size takes (p10 · p50 · p90)",
    "and costs",
)
COMPARISON_HEAD = (
    "Runtime",
    "Runs",
    "Success",
    "Duration (median)",
    "Duration (95 %)",
    "Rows/s",
    "Cost (median)",
    "Cost in all",
    "",
)


def render_analysis_page(measures: Sequence[Plain]) -> str:
    """measures: as `analysis.Measure` has them."""
    rows = [(item["what"], format_measure(item), item["source"], item["detail"]) for item in measures]
    return html.build_page(html.build_heading("What the work is"), html.build_table(ANALYSIS_HEAD, rows))


def format_measure(measure: Plain) -> str:
    """Return the value of a measure as people read it."""
    value = measure["value"]
    if value is None:
        return html.UNKNOWN
    if measure["what"] in ("data_size", "memory"):
        return html.format_size(float(value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def format_analysis_lines(measures: Sequence[Plain]) -> list[str]:
    """Return a line for a log for each measure."""
    return [
        f"{item['what']}: {format_measure(item)} ({item['source']}{', ' + item['detail'] if item['detail'] else ''})"
        for item in measures
    ]


def render_selection_page(selection: Plain) -> str:
    """selection: as `workloads.Selection` has it."""
    runtime, candidates = selection["runtime"], selection["candidates"]
    head = f"CHOSEN: {runtime}" if runtime else (selection["error"] or "No runtime")
    title = f"<b>{escape(head)}</b> ({selection['mode']}): {escape(selection['reason'])}"
    rows = [_candidate_row(item, runtime) for item in candidates]
    table = html.build_table(SELECTION_HEAD, rows, _place(candidates, runtime))
    return html.build_page(title, table)


def format_selection_lines(selection: Plain) -> list[str]:
    """Return lines for a log: the choice, then why not for each other candidate."""
    runtime, reason = selection["runtime"], selection["reason"]
    first = f"CHOSEN {runtime} ({selection['mode']}): {reason}" if runtime else f"{selection['error']}: {reason}"
    others = [item for item in selection["candidates"] if item["runtime"] != runtime]
    return [first, *(f"Why not {item['runtime']}: {item['reason']}" for item in others)]


def _candidate_row(item: Plain, chosen: str | None) -> list[str]:
    prefix = "CHOSEN: " if item["runtime"] == chosen else "" if item["eligible"] else "why not: "
    return [
        item["runtime"],
        _format_median(item["duration_s"], html.format_seconds),
        _format_median(item["cost_usd"], html.format_money),
        str(item["samples"]),
        html.format_share(item["success_probability"]),
        html.format_share(item["deadline_probability"]),
        f"{prefix}{item['reason']}",
    ]


def _format_median(interval: Interval | None, text: Callable[[float], str]) -> str:
    if interval is None:
        return html.UNKNOWN
    return f"{text(interval['p50'])} ({text(interval['p10'])} to {text(interval['p90'])})"


def render_forecast_page(rows: Sequence[Plain]) -> str:
    """rows: as `Forecasts.summarize` has them."""
    lines = [
        [
            row["runtime"],
            row["workflow_type"],
            str(row["samples"]),
            str(row["failures"]),
            " to ".join(map(html.format_size, row["sizes"] or [None])),
            _format_interval(row["duration_s"], html.format_seconds),
            _format_interval(row["cost_usd"], html.format_money),
        ]
        for row in rows
    ]
    runs = sum(row["samples"] + row["failures"] for row in rows)
    text = f"learned from {runs:,} runs of data pipelines" if rows else "no data pipeline has ended yet"
    summary = html.build_summary("success" if rows else html.NOT_MEASURED, text)
    return html.build_page(summary, html.build_table(FORECAST_HEAD, lines))


def _format_interval(interval: Interval | None, text: Callable[[float], str]) -> str:
    return html.UNKNOWN if interval is None else " · ".join(text(interval[name]) for name in ("p10", "p50", "p90"))


def render_comparison_page(comparison: Plain) -> str:
    """comparison: as `comparison.Comparison` has it."""
    advice, runtimes = comparison["recommendation"], comparison["runtimes"]
    sure = "" if advice["confidence"] is None else f" ({html.format_share(advice['confidence'])} sure)"
    title = f"<b>{escape(advice['runtime'] or 'No recommendation')}</b>{sure}: {escape(advice['reason'])}"
    rows = [_performance_row(item) for item in runtimes]
    table = html.build_table(COMPARISON_HEAD, rows, _place(runtimes, advice["runtime"]))
    durations = html.build_bars(
        "Duration, median", [(item["runtime"], item["duration_p50_s"]) for item in runtimes], "s"
    )
    costs = html.build_bars("Cost, median", [(item["runtime"], item["cost_usd_p50"]) for item in runtimes], "USD")
    return html.build_page(title, table, f"{durations}{costs}")


def _performance_row(item: Plain) -> list[str]:
    rate = None if item["rows_per_s"] is None else f"{item['rows_per_s']:,.0f}"
    cost = None if item["cost_usd_p50"] is None else html.format_money(item["cost_usd_p50"])
    return [
        item["runtime"],
        str(item["runs"]),
        html.format_share(item["success_rate"]),
        html.format_seconds(item["duration_p50_s"]),
        html.format_seconds(item["duration_p95_s"]),
        _add_samples(rate, item["rows_samples"]),
        _add_samples(cost, item["cost_samples"]),
        html.format_money(item["cost_usd_total"]),
        item["note"],
    ]


def _add_samples(text: str | None, samples: int) -> str:
    return html.UNKNOWN if text is None else f"{text} (n={samples})"


def _place(items: Sequence[Plain], runtime: str | None) -> int | None:
    """The place of a runtime in a list; None when it is not there."""
    return next((number for number, item in enumerate(items) if item["runtime"] == runtime), None)
