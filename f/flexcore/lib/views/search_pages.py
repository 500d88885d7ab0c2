# requirements: flexcore_base
"""Page of a search for parameters, from the plain data of its step: leaderboard and plots. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from f.flexcore.lib.views import html, plots

Plain = Mapping[str, Any]
HEAD = ("Place", "Score", "Took", "Parameters", "")
MAX_ROWS = 20
# The plots of a parameter say little beyond the first few.
MAX_PARAMETER_PLOTS = 4


def render_search_page(data: Plain) -> str:
    """data: as the step `ray/search` returns it."""
    trials, metric = data["trials"], str(data["metric"]).replace("_", " ")
    rows = [_trial_row(place, item) for place, item in enumerate(trials[:MAX_ROWS], 1)]
    more = f"<p>{len(trials) - MAX_ROWS} more are not shown.</p>" if len(trials) > MAX_ROWS else ""
    table = html.build_table(HEAD, rows, 0)
    drawn = "".join([_draw_curves(trials, metric), *_draw_parameters(trials, metric)])
    return html.build_page(_title(data, metric), f"{table}{more}", drawn)


def _title(data: Plain, metric: str) -> str:
    first = data["first_score"]
    before = "" if first is None else f" (as it was asked for: {first:.6g})"
    ended = {"time": "; its time was over", "cost": "; its cost was spent"}.get(str(data.get("stopped_by")), "")
    cost = "" if data.get("cost_usd") is None else f"; {html.format_money(data['cost_usd'])}"
    early = sum(bool(item["ended_early"]) for item in data["trials"])
    count = f"{len(data['trials'])} trials, {early} of them ended early"
    return f"<b>{escape(metric)} {data['score']:.6g}</b>{before}: {count}{ended}{cost}"


def _trial_row(place: int, item: Plain) -> list[str]:
    score = html.UNKNOWN if item["score"] is None else f"{item['score']:.6g}"
    parameters = ", ".join(f"{name} {_show(value)}" for name, value in item["parameters"].items()) or "as they are"
    remark = item.get("error") or ("ended early" if item["ended_early"] else "")
    return [str(place), score, html.format_seconds(item["seconds"]), parameters, str(remark)]


def _show(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _draw_curves(trials: Sequence[Plain], metric: str) -> str:
    curves = [[(float(part), float(score)) for part, score in item.get("curve") or ()] for item in trials]
    return plots.build_plot("Each trial by its parts", "part of the trial", metric, curves, 0)


def _draw_parameters(trials: Sequence[Plain], metric: str) -> list[str]:
    """A plot for each number that was drawn, the best trial standing out."""
    names = dict.fromkeys(name for item in trials for name in item["parameters"])
    drawn = []
    for name in names:
        dots = [
            [(float(item["parameters"][name]), float(item["score"]))]
            if item["score"] is not None and _is_number(item["parameters"].get(name))
            else []
            for item in trials
        ]
        if len({line[0][0] for line in dots if line}) > 1:
            drawn.append(plots.build_plot(name, name, metric, dots, 0))
    return drawn[:MAX_PARAMETER_PLOTS]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
