# requirements: flexcore_base
"""The stages of an execution as a table and as a chart, and how long all of them took. Pure.

A stage is one step on one runtime: an extraction, one attempt of a data pipeline, one container of a workflow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from f.flexcore.lib.views import html, plots

Plain = Mapping[str, Any]
HEAD = (
    "Stage",
    "Runtime",
    "Status",
    "Duration",
    "Queued · starting · running · finishing",
    "Rows",
    "Cost",
    "Handed on",
)
PARTS = ("queued", "starting", "running", "finishing")
PART_COLORS = (html.GRAY, html.AMBER, html.BLUE, html.VIOLET)
# A workflow may have hundreds; the plain data has them all.
MAX_STAGES = 100


@dataclass(frozen=True, slots=True)
class Stage:
    """status: a word of html.STATE_COLORS; duration_s: of the whole stage where it is known better than by its parts;
    output: what it handed on, in words."""

    name: str
    runtime: str
    status: str
    duration_s: float | None = None
    parts: tuple[float | None, ...] = (None,) * len(PARTS)
    rows: float | None = None
    cost_usd: float | None = None
    output: str = ""

    @property
    def seconds(self) -> float | None:
        known = [part for part in self.parts if part is not None]
        return self.duration_s if self.duration_s is not None else sum(known) if known else None


def read_stage(name: str, result: Plain, status: str = "", duration_s: float | None = None) -> Stage:
    """The stage that a plain StepResult tells of."""
    timings, metrics, data = (result.get(field) or {} for field in ("timings", "metrics", "data"))
    output = result.get("output") or {}
    rows = output.get("rows") if output.get("rows") is not None else metrics.get("rows")
    cost = metrics.get("cost_usd", data.get("cost_usd"))
    return Stage(
        name,
        str(result.get("runtime") or html.UNKNOWN),
        status or ("success" if result.get("success") else "failed"),
        duration_s,
        tuple(read_number(timings.get(part)) for part in PARTS),
        read_number(rows),
        read_number(cost),
        describe_output(output),
    )


def read_number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def describe_output(output: Plain) -> str:
    """What a manifest vouches for, in words; "" without one."""
    kind = output.get("kind")
    if kind == "data":
        streams = [str(item.get("name")) for item in output.get("streams") or ()]
        size = html.format_size(read_number(output.get("bytes")))
        return f"data, {size}: {', '.join(streams[:5])}{' …' if len(streams) > 5 else ''}"
    if kind == "model":
        return f"model {output.get('name')} {output.get('version')}"
    return f"endpoint {output.get('url')}" if kind == "endpoint" else ""


def render_stages(stages: Sequence[Stage]) -> list[str]:
    """Return the table, then the chart; "" in place of a chart that would be empty."""
    shown = stages[:MAX_STAGES]
    table = html.build_html_table(HEAD, [_build_row(stage) for stage in shown])
    if len(stages) > len(shown):
        table += html.build_line(f"{len(stages) - len(shown)} more are not shown; the plain data has them.")
    return [table, draw_stages(shown)]


def _build_row(stage: Stage) -> list[str]:
    cost = html.NOT_MEASURED if stage.cost_usd is None else html.format_money(stage.cost_usd)
    duration = html.NOT_MEASURED if stage.seconds is None else html.format_seconds(stage.seconds)
    return [
        escape(stage.name),
        escape(stage.runtime),
        html.build_state(stage.status),
        duration,
        " · ".join(html.format_seconds(part) for part in stage.parts) if any(_known(stage)) else html.NOT_MEASURED,
        html.format_count(stage.rows),
        cost,
        escape(stage.output or html.UNKNOWN),
    ]


def _known(stage: Stage) -> list[bool]:
    return [part is not None for part in stage.parts]


def draw_stages(stages: Sequence[Stage]) -> str:
    """Return a bar for each stage, its parts in their colors; "" when no duration is known."""
    bars = [plots.Bar(f"{stage.name} · {stage.runtime}", _split(stage), _note(stage)) for stage in stages]
    return plots.build_stacked_bars(
        "Duration of the stages by their parts", list(zip(PARTS, PART_COLORS, strict=True)), bars
    )


def _split(stage: Stage) -> list[float]:
    """Its parts; what they leave open of a known duration counts as running."""
    parts = [part or 0.0 for part in stage.parts]
    if stage.duration_s is not None and stage.duration_s > sum(parts):
        parts[PARTS.index("running")] += stage.duration_s - sum(parts)
    return parts


def _note(stage: Stage) -> str:
    took = html.NOT_MEASURED if stage.seconds is None else html.format_seconds(stage.seconds)
    return f"{took} (reused)" if stage.status == "reused" else took


def total_seconds(stages: Sequence[Stage]) -> float | None:
    """What the stages took that ran now; None when that of one is not known."""
    times = [stage.seconds for stage in stages if stage.status != "reused"]
    known = [time for time in times if time is not None]
    return sum(known) if known and len(known) == len(times) else None
