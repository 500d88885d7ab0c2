# requirements: flexcore_base
"""A choice as people read it: the table of candidates, the chosen one, and why not the others. Pure."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from f.flexcore.lib.core import tables, workloads

HEAD = ("Runtime", "Duration", "Cost", "Runs", "Success", "Meets the deadline", "")


def html(selection: workloads.Selection) -> str:
    rows = [_row(item, selection.runtime) for item in selection.candidates]
    chosen = next((n for n, item in enumerate(selection.candidates) if item.runtime == selection.runtime), None)
    head = f"CHOSEN: {selection.runtime}" if selection.runtime else (selection.error or "No runtime")
    return (
        f'<div style="font-size:14px"><b>{escape(head)}</b> ({selection.mode}): {escape(selection.reason)}</div>'
        f"{tables.html_table(HEAD, rows, chosen)}"
    )


def lines(selection: workloads.Selection) -> list[str]:
    """The same for a log: the choice, then one line of why not for each other."""
    first = f"CHOSEN {selection.runtime} ({selection.mode}): {selection.reason}"
    others = [item for item in selection.candidates if item.runtime != selection.runtime]
    return [
        first if selection.runtime else f"{selection.error}: {selection.reason}",
        *(f"Why not {item.runtime}: {item.reason}" for item in others),
    ]


def _row(item: workloads.Candidate, chosen: str | None) -> list[str]:
    why = "CHOSEN: " if item.runtime == chosen else "" if item.eligible else "why not: "
    return [
        item.runtime,
        _range(item.duration_s, tables.seconds_text),
        _range(item.cost_usd, tables.money_text),
        str(item.samples),
        tables.share_text(item.success_probability),
        tables.share_text(item.deadline_probability),
        f"{why}{item.reason}",
    ]


def _range(interval: workloads.Interval | None, text: Callable[[float], str]) -> str:
    if interval is None:
        return tables.NONE
    return f"{text(interval.p50)} ({text(interval.p10)} to {text(interval.p90)})"
