# requirements: flexcore_base
"""Page, chart and log lines of a race between the runtimes, from the plain data of its last step. Pure.

render_race_page   machine and versions, the chart, the table, what was not measured
draw_chart         rows/s as bars on a logarithmic axis, as an SVG that reads well on a light and on a dark page
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from f.flexcore.lib.views import html, plots

Plain = Mapping[str, Any]
HEAD = (
    "Work",
    "Table",
    "Runtime",
    "Rows/s (lowest to highest)",
    "Seconds in all",
    "To reference",
    "To Meltano",
    "Runs",
    "",
)
PLAN_HEAD = ("Work", "Table", "Runtime", "Runs", "")
COLORS = {"reference": html.GRAY, "meltano": html.AMBER, "ray": html.BLUE, "kubernetes": html.GREEN}
OTHER_COLOR = html.VIOLET
WIDTH, LEFT, RIGHT, TOP, BAR, GAP = 760, 230, 120, 40, 16, 14
AXIS = 'stroke="currentColor" opacity="0.5"'


def render_race_page(race: Plain) -> str:
    """race: {machine, versions, rows, repeats, standings}, as `operations/render_benchmark` has them."""
    standings = race["standings"]
    rows = [format_standing(item) for item in standings]
    about = html.build_line(escape(describe_race(race)))
    return html.build_page(summarize_race(standings), about, draw_chart(standings), html.build_table(HEAD, rows))


def summarize_race(standings: Sequence[Plain]) -> str:
    """The one line: who was the fastest at how many of the works, the reference aside."""
    best: dict[tuple[str, str], Plain] = {}
    for item in standings:
        rate, work = item["rows_per_s"]["median"], (item["work"], item["table"])
        if rate is None or item["runtime"] == "reference":
            continue
        if work not in best or rate > best[work]["rows_per_s"]["median"]:
            best[work] = item
    if not best:
        return html.build_summary(html.NOT_MEASURED, "no run of a runtime counts")
    wins = [item["runtime"] for item in best.values()]
    counts = {runtime: wins.count(runtime) for runtime in dict.fromkeys(wins)}
    text = ", ".join(f"{runtime} the fastest at {count}" for runtime, count in counts.items())
    return html.build_summary("success", f"{len(best)} works were raced: {text}")


def render_plan_page(plan: Plain) -> str:
    """plan: as `legs.Plan` has it."""
    runs: dict[tuple[str, str, str], int] = {}
    for leg in plan["legs"]:
        key = (leg["work"], leg["table"], leg["runtime"])
        runs[key] = runs.get(key, 0) + 1
    rows = [[*key, str(count), ""] for key, count in runs.items()]
    rows += [[gap["work"], "", gap["runtime"], html.UNKNOWN, f"not measured: {gap['reason']}"] for gap in plan["gaps"]]
    title = f"{len(plan['legs'])} runs, about {plan['rows']:,} rows a table; nothing was run"
    return html.build_page(html.build_summary("plan", title), html.build_table(PLAN_HEAD, rows))


def describe_race(race: Plain) -> str:
    """The machine, the versions and how it was measured, in a few sentences."""
    machine = race["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in race["versions"].items())
    turns = "1 turn" if race["repeats"] == 1 else f"{race['repeats']} turns"
    load = html.UNKNOWN if machine["load"] is None else f"{machine['load']:.1f}"
    return (
        f"About {race['rows']:,} rows a table, {turns} on {machine['cores']} cores with "
        f"{html.format_size(machine['memory_bytes'])} of memory ({machine['system']}, load average {load} at the "
        f"start); {versions}. Each turn runs all "
        "of them one after the other; ratios are taken within a turn. An output that does not hold the source's rows "
        "is disqualified."
    )


def format_race_lines(standings: Sequence[Plain]) -> list[str]:
    """A line for a log for each runtime at each work."""
    return [
        f"{item['work']} {item['table']}: {item['runtime']} {_format_rate(item['rows_per_s'])} rows/s"
        f"{', ' + item['note'] if item['note'] else ''}"
        for item in standings
    ]


def format_standing(item: Plain) -> list[str]:
    """The cells of HEAD for one runtime at one work on one table."""
    return [
        item["work"],
        item["table"],
        item["runtime"],
        _format_rate(item["rows_per_s"]),
        html.format_seconds(item["seconds"]["median"]),
        _format_ratio(item["to_reference"]),
        _format_ratio(item["to_meltano"]),
        f"{item['counted']} of {item['runs']}" if item["runs"] else html.UNKNOWN,
        item["note"],
    ]


def _format_rate(spread: Plain) -> str:
    if spread["median"] is None:
        return html.UNKNOWN
    median, low, high = (f"{spread[name]:,.0f}" for name in ("median", "low", "high"))
    return median if low == high else f"{median} ({low} to {high})"


def _format_ratio(spread: Plain) -> str:
    if spread["median"] is None:
        return html.UNKNOWN
    median, low, high = (f"{spread[name]:.3g}" for name in ("median", "low", "high"))
    return median if low == high else f"{median} ({low} to {high})"


# Chart


def draw_chart(standings: Sequence[Plain]) -> str:
    """ "" when nothing was measured. What was not has a line without a bar."""
    known = [item["rows_per_s"] for item in standings if item["rows_per_s"]["median"] is not None]
    if not known:
        return ""
    first = math.floor(math.log10(min(item["low"] for item in known)))
    last = max(math.ceil(math.log10(max(item["high"] for item in known))), first + 1)
    parts, y, group = [], TOP, ("", "")
    for item in standings:
        if group != (item["work"], item["table"]):
            group = (item["work"], item["table"])
            y += GAP
        parts.append(_draw_bar(item, y, first, last))
        y += BAR + 4
    axis = [_draw_tick(power, first, last, y) for power in range(first, last + 1)]
    title = _write(LEFT, 18, "rows/s, median; the line runs from the lowest to the highest", "start")
    drawn = f"{title}{''.join(axis)}{''.join(parts)}"
    return plots.build_svg("Rows per second of each runtime", WIDTH, y + 30, drawn)


def _place(value: float, first: int, last: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * (math.log10(value) - first) / (last - first)


def _draw_bar(item: Plain, y: float, first: int, last: int) -> str:
    name = _write(LEFT - 8, y + 12, f"{item['work']} {item['table']} · {item['runtime']}", "end")
    rate = item["rows_per_s"]
    if rate["median"] is None:
        ended = "disqualified" if str(item.get("note")).startswith("disqualified") else "failed"
        return name + _write(LEFT + 6, y + 12, ended if item["runs"] else "not measured", "start")
    end = _place(rate["median"], first, last)
    low, high = (_place(rate[name], first, last) for name in ("low", "high"))
    color = COLORS.get(item["runtime"], OTHER_COLOR)
    value = _write(max(end, high) + 6, y + 12, f"{rate['median']:,.0f}", "start")
    return (
        f'{name}<rect x="{LEFT}" y="{y}" width="{max(end - LEFT, 1):.1f}" height="{BAR}" fill="{color}"/>'
        f'<line {AXIS} x1="{low:.1f}" x2="{high:.1f}" y1="{y + BAR / 2}" y2="{y + BAR / 2}"/>'
        f"{value}"
    )


def _draw_tick(power: int, first: int, last: int, bottom: float) -> str:
    x = _place(10.0**power, first, last)
    line = f'<line {AXIS} x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}" stroke-dasharray="2 4"/>'
    return line + _write(x, bottom + 16, f"{10**power:,}", "middle")


def _write(x: float, y: float, text: str, anchor: str) -> str:
    return plots.draw_text(round(x, 1), round(y, 1), anchor, text)
