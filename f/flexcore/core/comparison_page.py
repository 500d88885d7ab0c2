# requirements: flexcore_base
# py: ==3.11.*
"""A comparison of runtimes as Windmill's job page shows it: the recommendation, the figures, and bars. Pure."""

from __future__ import annotations

from html import escape

from f.flexcore.core.comparison import Comparison
from f.flexcore.core.tables import NONE, html_bars, html_table, money_text, seconds_text, share_text

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


def html(found: Comparison) -> str:
    advice = found.recommendation
    sure = "" if advice.confidence is None else f" ({share_text(advice.confidence)} sure)"
    title = f"<b>{escape(advice.runtime or 'No recommendation')}</b>{sure}: {escape(advice.reason)}"
    names = [item.runtime for item in found.runtimes]
    chosen = names.index(advice.runtime) if advice.runtime in names else None
    rows = [
        (
            item.runtime,
            str(item.runs),
            share_text(item.success_rate),
            seconds_text(item.duration_p50_s),
            seconds_text(item.duration_p95_s),
            _sampled(None if item.rows_per_s is None else f"{item.rows_per_s:,.0f}", item.rows_samples),
            _sampled(None if item.cost_usd_p50 is None else money_text(item.cost_usd_p50), item.cost_samples),
            money_text(item.cost_usd_total),
            item.note,
        )
        for item in found.runtimes
    ]
    bars = [
        html_bars("Duration, median", [(item.runtime, item.duration_p50_s) for item in found.runtimes], "s"),
        html_bars("Cost, median", [(item.runtime, item.cost_usd_p50) for item in found.runtimes], "USD"),
    ]
    return f'<div style="font-size:14px">{title}</div>{html_table(HEAD, rows, chosen)}{"".join(bars)}'


def _sampled(text: str | None, samples: int) -> str:
    return NONE if text is None else f"{text} (n={samples})"
