# requirements: flexcore_base
"""How one runtime is, and what it can take on now. What could not be measured is None, and shown as such. Pure.

ready    work can be sent to it
limited  work can be sent, but something it may need is missing (a right, free resources, a tool that is not installed)
down     it does not answer, or refuses
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from html import escape
from typing import Any, Literal

from f.flexcore.lib.core import requests

State = Literal["ready", "limited", "down"]
COLOURS: dict[State, str] = {"ready": "#16a34a", "limited": "#d97706", "down": "#dc2626"}
NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Health:
    """cpus in cores, memory in bytes; queue: work of anybody that waits or runs there now; detail: what is wrong and
    what to do about it; capabilities: what it says it can do, for programs."""

    runtime: str
    place: str
    state: State
    version: str | None = None
    cpus_free: float | None = None
    cpus_total: float | None = None
    gpus_free: float | None = None
    memory_free: float | None = None
    queue: int | None = None
    detail: str = ""
    capabilities: dict[str, Any] | None = None


def rendered(found: list[Health]) -> dict[str, Any]:
    """Windmill's rich result: a coloured table for people, then the same as plain rows for programs."""
    return {"render_all": [{"html": html_table(found)}, {"table-row-object": [asdict(item) for item in found]}]}


HEAD = ("Runtime", "Place", "State", "Version", "CPUs free", "GPUs free", "Memory free", "Queue", "Detail")


def html_table(found: list[Health]) -> str:
    head = "".join(f'<th style="text-align:left;padding:4px 12px">{name}</th>' for name in HEAD)
    return f'<table style="border-collapse:collapse;font-size:14px"><tr>{head}</tr>{"".join(map(_row, found))}</table>'


def _row(item: Health) -> str:
    cpus = None if item.cpus_free is None else f"{item.cpus_free:g} of {item.cpus_total or 0:g}"
    memory = None if item.memory_free is None else f"{item.memory_free / requests.GIB:.1f} GiB"
    gpus = None if item.gpus_free is None else f"{item.gpus_free:g}"
    shown = [item.runtime, item.place, item.state, item.version, cpus, gpus, memory, item.queue, item.detail or "—"]
    cells = [escape(NOT_MEASURED if value is None else str(value)) for value in shown]
    cells[2] = f'<b style="color:{COLOURS[item.state]}">● {cells[2]}</b>'
    return "<tr>" + "".join(f'<td style="padding:4px 12px">{cell}</td>' for cell in cells) + "</tr>"
