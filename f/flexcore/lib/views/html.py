# requirements: flexcore_base
"""Tables and bars for Windmill's job page, and numbers as people read them; an unknown one is a dash. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from f.flexcore.lib.core import units

UNKNOWN = "—"
CELL_STYLE = "padding:4px 12px;text-align:left;vertical-align:top"
BAR_WIDTH_PX = 300


def build_table(head: Sequence[str], rows: Sequence[Sequence[str]], bold: int | None = None) -> str:
    """Return a table of plain text. `bold`: the row that stands out."""
    escaped = [[escape(cell) for cell in row] for row in rows]
    return build_html_table([escape(name) for name in head], escaped, bold)


def build_html_table(head: Sequence[str], rows: Sequence[Sequence[str]], bold: int | None = None) -> str:
    """Return a table whose cells are HTML already."""
    top = "".join(f'<th style="{CELL_STYLE}">{name}</th>' for name in head)
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
    bar = f'<span style="display:inline-block;height:12px;width:{width}px;background:#2563eb;margin:0 8px"></span>'
    return f'<div><span style="display:inline-block;width:110px">{escape(name)}</span>{bar}{escape(text)}</div>'


def build_state(state: str, color: str) -> str:
    """Return a state with a dot in its color."""
    return f'<b style="color:{color}">● {escape(state)}</b>'


def wrap_page(page: str, plain: dict[str, Any]) -> dict[str, Any]:
    """Return Windmill's rich result: the page for people, then the same as plain data for programs."""
    return {"render_all": [{"html": page}, plain]}


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
