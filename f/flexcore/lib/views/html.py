# requirements: flexcore_base
"""The parts of every page: frame, summary, tables, states, links, bars; and numbers as people read them. Pure.

A page stands in Windmill's own document, on light and on dark: text and lines take the color around them, and what is
colored has a contrast of 3 : 1 to both grounds. Whatever comes from a user is escaped here, and nowhere handed on as
markup: the functions take plain text, unless their name says html.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from f.flexcore.lib.core import units

UNKNOWN, NOT_MEASURED = "—", "not measured"
# Windmill's job page, light and dark.
GROUNDS = ("#ffffff", "#2e3440")
GREEN, AMBER, RED, BLUE, VIOLET, GRAY = "#16a34a", "#d97706", "#ef4444", "#3b82f6", "#a855f7", "#8b93a1"
STATE_COLORS = {
    **dict.fromkeys(("success", "succeeded", "ready", "serving"), GREEN),
    **dict.fromkeys(("failed", "failure", "down", "unreachable", "disqualified"), RED),
    **dict.fromkeys(("limited", "refuses", "canceled", "cancelled", "not known", "could not start"), AMBER),
    "running": BLUE,
    "suspended": VIOLET,
    "reused": BLUE,
}
LINE = "1px solid rgba(128,128,128,0.3)"
CELL_STYLE = f"padding:4px 12px;text-align:left;vertical-align:top;border-bottom:{LINE}"
BAR_WIDTH_PX = 300
MAX_LOG_CHARACTERS = 4000


def build_page(summary: str, *parts: str) -> str:
    """Return a whole page. summary: what happened, in one line of HTML; parts: HTML, empty ones left out."""
    body = "".join(f'<div style="margin:12px 0;overflow-x:auto">{part}</div>' for part in parts if part)
    return f'<div style="font-size:14px;line-height:1.5;color:inherit;max-width:100%">{build_line(summary)}{body}</div>'


def build_line(content: str) -> str:
    return f'<p style="margin:0 0 8px;font-size:15px">{content}</p>'


def build_summary(state: str, text: str) -> str:
    """Return the one line that says what happened: a state in its color, then plain text."""
    return f"{build_state(state)} {escape(text)}"


def build_heading(text: str) -> str:
    return f'<h3 style="margin:4px 0;font-size:14px;font-weight:600">{escape(text)}</h3>'


def build_next_steps(steps: Sequence[str]) -> str:
    """Return what to do or to open next; "" when there is nothing. steps: HTML."""
    lines = "".join(f'<li style="margin:2px 0">{item}</li>' for item in steps)
    style = "list-style:disc;padding-left:20px;margin:0"
    return f'{build_heading("Next")}<ul style="{style}">{lines}</ul>' if steps else ""


def build_link(url: str | None, text: str) -> str:
    """Return a link to an http address; of any other address the text alone, as it may be a script."""
    if not str(url or "").startswith(("http://", "https://")):
        return escape(text)
    style = "text-decoration:underline;color:inherit"
    return f'<a href="{escape(str(url))}" target="_blank" rel="noopener noreferrer" style="{style}">{escape(text)}</a>'


def build_fold(title: str, text: str, limit: int = MAX_LOG_CHARACTERS) -> str:
    """Return long text that unfolds; its end where it is longer than `limit`. "" for an empty one."""
    if not text.strip():
        return ""
    shown = (
        text if len(text) <= limit else f"… {len(text) - limit:,} characters before this are not shown\n{text[-limit:]}"
    )
    style = f"white-space:pre-wrap;overflow-wrap:anywhere;border:{LINE};padding:8px;font-size:12px;margin:4px 0"
    return f'<details><summary>{escape(title)}</summary><pre style="{style}">{escape(shown)}</pre></details>'


def build_code(text: str) -> str:
    return f'<code style="overflow-wrap:anywhere;font-size:13px">{escape(text)}</code>'


def build_table(head: Sequence[str], rows: Sequence[Sequence[str]], bold: int | None = None) -> str:
    """Return a table of plain text. `bold`: the row that stands out."""
    escaped = [[escape(cell) for cell in row] for row in rows]
    return build_html_table(head, escaped, bold)


def build_html_table(head: Sequence[str], rows: Sequence[Sequence[str]], bold: int | None = None) -> str:
    """Return a table whose cells are HTML already; its head is text."""
    top = "".join(f'<th scope="col" style="{CELL_STYLE};font-weight:600">{escape(name)}</th>' for name in head)
    body = "".join(_build_row(row, number == bold) for number, row in enumerate(rows))
    return f'<table style="border-collapse:collapse;font-size:14px"><tr>{top}</tr>{body}</table>'


def _build_row(row: Sequence[str], bold: bool) -> str:
    style = f"{CELL_STYLE};font-weight:bold" if bold else CELL_STYLE
    return "<tr>" + "".join(f'<td style="{style}">{cell}</td>' for cell in row) + "</tr>"


def build_bars(title: str, values: Sequence[tuple[str, float | None]], unit: str) -> str:
    """Return a horizontal bar for each name, to the scale of the largest; "" when no value is known."""
    largest = max((value for _, value in values if value is not None), default=0)
    if largest <= 0:
        return ""
    lines = "".join(_build_bar(name, value, largest, unit) for name, value in values)
    return f'<div style="margin:12px 0;font-size:14px"><b>{escape(title)}</b>{lines}</div>'


def _build_bar(name: str, value: float | None, largest: float, unit: str) -> str:
    width = 0 if value is None else round(BAR_WIDTH_PX * value / largest)
    text = UNKNOWN if value is None else f"{value:.3g} {unit}"
    bar = f'<span style="display:inline-block;height:12px;width:{width}px;background:{BLUE};margin:0 8px"></span>'
    return f'<div><span style="display:inline-block;width:110px">{escape(name)}</span>{bar}{escape(text)}</div>'


def build_state(state: str) -> str:
    """Return a state with a dot in its color; the word itself has the color of text, so that all can read it."""
    color = STATE_COLORS.get(state, GRAY)
    return f'<b style="white-space:nowrap"><span style="color:{color}">●</span> {escape(state)}</b>'


def wrap_page(page: str, plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return Windmill's rich result: the page for people, then the same as plain data for programs."""
    return {"render_all": [{"html": page}, dict(plain)]}


def format_size(amount: float | None) -> str:
    return UNKNOWN if amount is None else units.format_size(amount)


def format_seconds(amount: float | None) -> str:
    if amount is None:
        return UNKNOWN
    if amount < 120:
        return f"{amount:.3g} s"
    return f"{amount / 60:.3g} min" if amount < 7200 else f"{amount / 3600:.3g} h"


def format_money(amount: float | None) -> str:
    return UNKNOWN if amount is None else f"${amount:.3g}"


def format_share(amount: float | None) -> str:
    return UNKNOWN if amount is None else f"{amount:.0%}"


def format_count(amount: float | None) -> str:
    return NOT_MEASURED if amount is None else f"{amount:,.0f}"
