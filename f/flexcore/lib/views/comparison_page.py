# requirements: flexcore_base
"""A comparison of runtimes as Windmill's job page shows it: the recommendation, the figures, and bars. Pure."""

from __future__ import annotations

from html import escape

from f.flexcore.lib.core import tables
from f.flexcore.lib.selection import comparison

HEAD = (
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


def html(found: comparison.Comparison) -> str:
    advice = found.recommendation
    sure = "" if advice.confidence is None else f" ({tables.share_text(advice.confidence)} sure)"
    title = f"<b>{escape(advice.runtime or 'No recommendation')}</b>{sure}: {escape(advice.reason)}"
    names = [item.runtime for item in found.runtimes]
    chosen = names.index(advice.runtime) if advice.runtime in names else None
    rows = [
        (
            item.runtime,
            str(item.runs),
            tables.share_text(item.success_rate),
            tables.seconds_text(item.duration_p50_s),
            tables.seconds_text(item.duration_p95_s),
            _sampled(None if item.rows_per_s is None else f"{item.rows_per_s:,.0f}", item.rows_samples),
            _sampled(None if item.cost_usd_p50 is None else tables.money_text(item.cost_usd_p50), item.cost_samples),
            tables.money_text(item.cost_usd_total),
            item.note,
        )
        for item in found.runtimes
    ]
    bars = [
        tables.html_bars("Duration, median", [(item.runtime, item.duration_p50_s) for item in found.runtimes], "s"),
        tables.html_bars("Cost, median", [(item.runtime, item.cost_usd_p50) for item in found.runtimes], "USD"),
    ]
    return f'<div style="font-size:14px">{title}</div>{tables.html_table(HEAD, rows, chosen)}{"".join(bars)}'


def _sampled(text: str | None, samples: int) -> str:
    return tables.NONE if text is None else f"{text} (n={samples})"
