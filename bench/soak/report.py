"""What a soak has shown: verdict, figures as JSON, and a chart. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bench.soak import heads, kept, passes
from bench.soak.flows import Execution
from bench.soak.ledger import judge
from bench.soak.slopes import CONFIDENCE, Sample, Slope, fit_slope
from f.flexcore.lib.views import plots

# What must not grow. The rest is shown: the store keeps what the executions have made, by design.
JUDGED = (
    "engine_memory_mb",
    "engine_descriptors",
    "engine_threads",
    "head_descriptors",
    passes.OTHERS,
    passes.BEYOND_LIST,
    kept.PER_EXECUTION,
    kept.BEYOND_ROWS,
    "temporary_entries",
    "remote_objects",
)
# An interpreter's memory grows at first: caches fill, arenas are opened.
WARM_UP_S = 120.0
SCALE_MINUTES = 60.0
SHOWN = (*JUDGED, "head_memory_mb", "control_memory_mb")
Json = dict[str, Any]


def build_report(
    executions: Sequence[Execution],
    leaks: Sequence[str],
    series: Mapping[str, Sequence[Sample]],
    warm_ups: Mapping[str, float],
    **more: Any,
) -> Json:
    """Plain data. series: with what `passes` makes of it. warm_ups: seconds that are left out of a series, where it is
    not WARM_UP_S."""
    wrong = {execution.id: reason for execution in executions if (reason := judge(execution))}
    warm = {name: heads.leave_out_first_jobs(name, series) for name in series}
    per_job = {head: heads.fit_per_job(head, warm) for head in (heads.HEAD, heads.CONTROL)}
    per_listed_job = passes.fit_per_job(warm)
    slopes = {name: fit_slope(samples, warm_ups.get(name, WARM_UP_S)) for name, samples in warm.items()}
    problems = [
        *(
            f"{execution.kind} {execution.id} {wrong[execution.id]}"
            for execution in executions
            if execution.id in wrong
        ),
        *(f"left over: {leak}" for leak in leaks),
        *(_describe_growth(name, slopes[name]) for name in JUDGED if name in slopes and slopes[name].is_growing),
        *heads.compare(per_job[heads.HEAD], per_job[heads.CONTROL]),
        *passes.judge(per_listed_job),
    ]
    short = [name for name in JUDGED if name in slopes and slopes[name].per_hour is None]
    if "head_memory_mb" in series and any(slope.per_hour is None for slope in per_job.values()):
        short.append("head_memory_mb")
    return {
        "holds": not problems,
        "problems": problems,
        "executions": _count(executions, wrong),
        "left_over": list(leaks),
        "too_short_to_judge": short,
        "head_mb_per_job": {head: heads.describe_per_job(slope) for head, slope in per_job.items()},
        "reconcile_mb_per_listed_job": heads.describe_per_job(per_listed_job),
        "slopes": {name: {**asdict(slope), "judged": name in JUDGED} for name, slope in slopes.items()},
        "confidence": CONFIDENCE,
        **more,
    }


def _count(executions: Sequence[Execution], wrong: Mapping[str, str]) -> Json:
    kinds: dict[str, Json] = {}
    for execution in executions:
        row = kinds.setdefault(execution.kind, {"started": 0, "ended": 0, "touched_by_faults": 0, "wrong": 0})
        row["started"] += 1
        row["ended"] += execution.ended_at is not None
        row["touched_by_faults"] += bool(execution.touched)
        row["wrong"] += execution.id in wrong
    totals = Counter[str]()
    for row in kinds.values():
        totals.update(row)
    return {"total": dict(totals), "kinds": dict(sorted(kinds.items()))}


def _describe_growth(name: str, slope: Slope) -> str:
    return f"{name} grows by {slope.per_hour:.3g} an hour ({slope.low:.3g} to {slope.high:.3g})"


def describe(report: Json) -> str:
    """The report for people."""
    totals = report["executions"]["total"]
    lines = [
        "{started} executions, {ended} ended, {wrong} otherwise than they had to".format_map(totals),
        "{touched_by_faults} were touched by faults".format_map(totals),
        f"left over: {len(report['left_over'])}",
        f"{'series':24}{'an hour':>12}{'from':>12}{'to':>12}{'samples':>9}",
    ]
    for name, slope in report["slopes"].items():
        mark = "" if slope["judged"] else "  (not judged)"
        numbers = "".join(_number(slope[key]) for key in ("per_hour", "low", "high"))
        lines.append(f"{name:24}{numbers}{slope['samples']:>9}{mark}")
    for name, slope in {**report["head_mb_per_job"], "reconcile": report["reconcile_mb_per_listed_job"]}.items():
        numbers = "".join(_number(slope[key]) for key in ("per_job", "low", "high"))
        lines.append(f"{f'{name}, MB a job':24}{numbers}{slope['samples']:>9}")
    lines += [f"PROBLEM {problem}" for problem in report["problems"]]
    short = ", ".join(report["too_short_to_judge"])
    verdict = "holds" if report["holds"] else "does not hold"
    return "\n".join([*lines, f"{verdict}; too short to judge: {short}" if short else verdict])


def _number(value: float | None) -> str:
    return f"{'-' if value is None else format(value, '.3g'):>12}"


def draw(series: Mapping[str, Sequence[Sample]], report: Json) -> str:
    """One SVG with a plot for each judged series and for both heads' memory, in lives, and the slope in its title."""
    plots_of = [_draw_series(name, series[name], report["slopes"][name]) for name in SHOWN if name in series]
    plots_of = [plot for plot in plots_of if plot]
    columns = 2
    rows = -(-len(plots_of) // columns)
    width, height = columns * (plots.WIDTH_PX + 16), rows * (plots.HEIGHT_PX + 16)
    places = [(number % columns, number // columns) for number in range(len(plots_of))]
    placed = "".join(
        f'<g transform="translate({column * (plots.WIDTH_PX + 16)} {row * (plots.HEIGHT_PX + 16)})">{plot}</g>'
        for (column, row), plot in zip(places, plots_of, strict=True)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'style="color:#6b7280;background:transparent">{placed}</svg>\n'
    )


def _draw_series(name: str, samples: Sequence[Sample], slope: Json) -> str:
    lives: dict[int, list[plots.Point]] = {}
    for sample in samples:
        if sample.value is not None:
            lives.setdefault(sample.life, []).append((sample.at_s / SCALE_MINUTES, sample.value))
    title = name.replace("_", " ")
    if slope["per_hour"] is not None:
        title += f": {slope['per_hour']:+.3g} an hour ({slope['low']:+.3g} to {slope['high']:+.3g})"
    return plots.build_plot(title, "minutes", "", list(lives.values()))
