# requirements: flexcore_base
"""An execution as Windmill's job page shows it: its state, its steps on a time line, and what failed. Pure."""

from __future__ import annotations

from html import escape

from f.flexcore.lib.core import monitoring, tables

COLOURS: dict[monitoring.Status, str] = {
    "waiting": "#9ca3af",
    "queued": "#9ca3af",
    "running": "#2563eb",
    "suspended": "#7c3aed",
    "success": "#16a34a",
    "failed": "#dc2626",
    "cancelled": "#d97706",
    "skipped": "#9ca3af",
    "not run": "#9ca3af",
}
HEAD = ("Step", "Status", "Runtime", "Duration", "Time line", "CPU", "Memory", "Log")
WIDTH = 240


def html(record: monitoring.Execution) -> str:
    head = "".join(f'<th style="{tables.CELL}">{name}</th>' for name in HEAD)
    rows = "".join(_row(step, record) for step in record.steps)
    used = record.resource_usage
    total = f"{_cpu(used.cpu_seconds)} CPU, {tables.size_text(used.peak_memory_bytes)} memory at most"
    title = (
        f"{escape(record.path or record.id)}: {_status(record.status)} after {tables.seconds_text(record.duration_s)}"
    )
    where = f" on {escape(record.runtime or ', '.join(record.runtimes))}" if record.runtimes or record.runtime else ""
    failed = ""
    if record.error:
        told = f"{record.error.step or ''} {record.error.message} {record.error.remedy or ''}"
        failed = f'<p style="color:{COLOURS["failed"]}">{escape(told.strip())}</p>'
    left = "" if record.complete else "<p>There are more steps than are shown.</p>"
    return (
        f'<div style="font-size:14px"><p>{title}{where}; {total}</p>{failed}{left}'
        f'<table style="border-collapse:collapse"><tr>{head}</tr>{rows}</table></div>'
    )


def _row(step: monitoring.Step, record: monitoring.Execution) -> str:
    name = f'<span style="padding-left:{16 * step.depth}px">{escape(step.step.rsplit(".", 1)[-1])}</span>'
    link = (
        f'<a href="{escape(step.links.run)}" target="_blank">{(step.job or "")[-8:]}</a>' if step.links else tables.NONE
    )
    cells = [
        name,
        _status(step.status),
        escape(step.runtime or ""),
        tables.seconds_text(step.duration_s),
        _line(step, record),
        _cpu(step.resource_usage.cpu_seconds),
        tables.size_text(step.resource_usage.peak_memory_bytes),
        link,
    ]
    return "<tr>" + "".join(f'<td style="{tables.CELL}">{cell}</td>' for cell in cells) + "</tr>"


def _line(step: monitoring.Step, record: monitoring.Execution) -> str:
    """When it ran within the whole."""
    if step.started_at is None or record.started_at is None or not record.duration_s or step.duration_s is None:
        return ""
    offset = max(0.0, (step.started_at - record.started_at).total_seconds()) / record.duration_s
    left, width = round(WIDTH * min(offset, 1)), max(2, round(WIDTH * min(step.duration_s / record.duration_s, 1)))
    style = f"display:inline-block;height:10px;margin-left:{left}px;width:{width}px;background:{COLOURS[step.status]}"
    return f'<span style="{style}"></span>'


def _status(status: monitoring.Status) -> str:
    return f'<b style="color:{COLOURS[status]}">● {status}</b>'


def _cpu(seconds: float | None) -> str:
    return tables.NONE if seconds is None else f"{seconds:.3g} s"
