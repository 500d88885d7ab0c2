# requirements: flexcore_base
"""Pages of the health of the runtimes and of an execution, from the plain data of their steps. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

from f.flexcore.lib.views import html

Plain = Mapping[str, Any]

HEALTH_HEAD = ("Runtime", "Place", "State", "Version", "CPUs free", "GPUs free", "Memory free", "Queue", "Detail")
EXECUTION_HEAD = ("Step", "Status", "Runtime", "Duration", "Time line", "CPU", "Memory", "Log")
RECONCILE_FIELDS = ("place", "runtime", "object", "state", "owner", "action", "outcome", "reason")
TIME_LINE_WIDTH_PX = 240
INDENT_PX = 16
BYTES_PER_GIB = 2**30


def render_health_page(rows: Sequence[Plain]) -> str:
    """rows: as `operation.Health` has them."""
    down = [item for item in rows if item["state"] != "ready"]
    state = "ready" if not down else "limited" if any(item["state"] != "down" for item in rows) else "down"
    state = state if rows else html.NOT_MEASURED
    text = f"{len(rows) - len(down)} of {len(rows)} places are ready" if rows else "The settings name no runtime"
    table = html.build_html_table(HEALTH_HEAD, [_health_row(item) for item in rows])
    remedies = [f"<b>{escape(item['place'])}</b>: {escape(item['detail'])}" for item in down if item["detail"]]
    return html.build_page(html.build_summary(state, text), table, html.build_next_steps(remedies))


def _health_row(item: Plain) -> list[str]:
    cpus = None if item["cpus_free"] is None else f"{item['cpus_free']:g} of {item['cpus_total'] or 0:g}"
    gpus = None if item["gpus_free"] is None else f"{item['gpus_free']:g}"
    memory = None if item["memory_free"] is None else f"{item['memory_free'] / BYTES_PER_GIB:.1f} GiB"
    measured = [item["version"], cpus, gpus, memory, item["queue"]]
    cells = [escape(html.NOT_MEASURED if value is None else str(value)) for value in measured]
    state = html.build_state(item["state"])
    return [escape(item["runtime"]), escape(item["place"]), state, *cells, escape(item["detail"] or html.UNKNOWN)]


def render_execution_page(record: Plain) -> str:
    """record: as `monitoring.Execution` has it: its state, its steps on a time line, and what failed."""
    rows = [_step_row(step, record) for step in record["steps"]]
    more = "" if record["complete"] else html.build_line("There are more steps than are shown.")
    table = html.build_html_table(EXECUTION_HEAD, rows)
    trace = _build_trace_line(record)
    return html.build_page(_execution_title(record), _describe_failure(record["error"]), more, trace, table)


def _build_trace_line(record: Plain) -> str:
    """ "" where the workspace does not trace."""
    trace, page = record.get("trace_id"), record["links"].get("trace")
    return html.build_line(f"Trace {html.build_link(page, trace)}") if trace else ""


def _describe_failure(error: Plain | None) -> str:
    if not error:
        return ""
    step = f"<b>{escape(error['step'])}</b>: " if error["step"] else ""
    remedy = html.build_next_steps([escape(error["remedy"])] if error["remedy"] else [])
    return html.build_line(f"{step}{escape(error['message'])}") + remedy


def render_reconcile_page(rows: Sequence[Plain]) -> str:
    """rows: as `reconciler.ReconcileRow` has them."""
    acted = [item for item in rows if item["action"] != "leave"]
    stopped = sum(item["action"] == "stop" for item in acted)
    text = f"{stopped} objects without a living owner, {len(acted)} acted upon, {len(rows)} seen"
    table = html.build_table(
        [name.title() for name in RECONCILE_FIELDS], [[str(item[name]) for name in RECONCILE_FIELDS] for item in acted]
    )
    return html.build_page(html.build_summary("success", text), table)


def _execution_title(record: Plain) -> str:
    used = record["resource_usage"]
    runtimes = record["runtime"] or ", ".join(record["runtimes"])
    where = f" on {escape(runtimes)}" if runtimes else ""
    cpu, memory = _format_cpu(used["cpu_seconds"]), html.format_size(used["peak_memory_bytes"])
    return (
        f"{escape(record['path'] or record['id'])}: {html.build_state(record['status'])} after "
        f"{html.format_seconds(record['duration_s'])}{where}; {cpu} CPU, {memory} memory at most"
    )


def _step_row(step: Plain, record: Plain) -> list[str]:
    name = escape(step["step"].rsplit(".", 1)[-1])
    return [
        f'<span style="padding-left:{INDENT_PX * step["depth"]}px">{name}</span>',
        html.build_state(step["status"]),
        escape(step["runtime"] or ""),
        html.format_seconds(step["duration_s"]),
        _build_time_line(step, record),
        _format_cpu(step["resource_usage"]["cpu_seconds"]),
        html.format_size(step["resource_usage"]["peak_memory_bytes"]),
        _build_run_link(step),
    ]


def _build_run_link(step: Plain) -> str:
    if not step["links"]:
        return html.UNKNOWN
    return html.build_link(step["links"]["run"], (step["job"] or "")[-8:])


def _build_time_line(step: Plain, record: Plain) -> str:
    """When the step ran within the whole; "" where that is not known."""
    begin, whole = record["started_at"], record["duration_s"]
    if step["started_at"] is None or begin is None or not whole or step["duration_s"] is None:
        return ""
    offset = (datetime.fromisoformat(step["started_at"]) - datetime.fromisoformat(begin)).total_seconds() / whole
    left = round(TIME_LINE_WIDTH_PX * min(max(0.0, offset), 1))
    width = max(2, round(TIME_LINE_WIDTH_PX * min(step["duration_s"] / whole, 1)))
    color = html.STATE_COLORS.get(step["status"], html.GRAY)
    style = f"display:inline-block;height:10px;margin-left:{left}px;width:{width}px;background:{color}"
    return f'<span style="{style}"></span>'


def _format_cpu(seconds: float | None) -> str:
    return html.UNKNOWN if seconds is None else f"{seconds:.3g} s"
