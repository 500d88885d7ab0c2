# requirements: flexcore_base
"""Tables and bars for Windmill's job page, and numbers as people read them. What is not known is a dash. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from f.flexcore.lib.core import units

NONE = "—"
CELL = "padding:4px 12px;text-align:left;vertical-align:top"


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]], bold: int | None = None) -> str:
    """`bold`: the row that stands out."""
    top = "".join(f'<th style="{CELL}">{escape(name)}</th>' for name in head)
    body = "".join(_row(row, number == bold) for number, row in enumerate(rows))
    return f'<table style="border-collapse:collapse;font-size:14px"><tr>{top}</tr>{body}</table>'


def _row(row: Sequence[str], bold: bool) -> str:
    style = f"{CELL};font-weight:bold" if bold else CELL
    return "<tr>" + "".join(f'<td style="{style}">{escape(cell)}</td>' for cell in row) + "</tr>"


def html_bars(title: str, values: Sequence[tuple[str, float | None]], unit: str) -> str:
    """A horizontal bar for each name, to the scale of the largest; "" when no value is known."""
    largest = max((value for _, value in values if value is not None), default=0)
    if largest <= 0:
        return ""
    lines = "".join(_bar(name, value, largest, unit) for name, value in values)
    return f'<div style="margin:12px 0;font-size:14px"><b>{escape(title)}</b>{lines}</div>'


def _bar(name: str, value: float | None, largest: float, unit: str) -> str:
    width = 0 if value is None else round(300 * value / largest)
    told = NONE if value is None else f"{value:.3g} {unit}"
    bar = f'<span style="display:inline-block;height:12px;width:{width}px;background:#2563eb;margin:0 8px"></span>'
    return f'<div><span style="display:inline-block;width:110px">{escape(name)}</span>{bar}{escape(told)}</div>'


def rendered(html: str, plain: dict[str, Any]) -> dict[str, Any]:
    """Windmill's rich result: the page's part for people, then the same as plain data for programs."""
    return {"render_all": [{"html": html}, plain]}


def plain_of(result: Any) -> dict[str, Any]:
    """The plain data of a `rendered` result; {} for what is none, such as the error of a failed step."""
    shown = result.get("render_all") if isinstance(result, dict) else None
    return shown[-1] if isinstance(shown, list) and shown and isinstance(shown[-1], dict) else {}


def size_text(amount: float | None) -> str:
    return NONE if amount is None else units.shown_size(amount)


def seconds_text(amount: float | None) -> str:
    if amount is None:
        return NONE
    if amount < 120:
        return f"{amount:.3g} s"
    return f"{amount / 60:.3g} min" if amount < 7200 else f"{amount / 3600:.3g} h"


def money_text(amount: float | None) -> str:
    return NONE if amount is None else f"${amount:.3g}"


def share_text(amount: float | None) -> str:
    return NONE if amount is None else f"{amount:.0%}"
