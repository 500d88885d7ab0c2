# requirements: flexcore_base
"""How the runtimes did at one type of workflow, side by side, and which of them to prefer. Pure.

A success that is repeated until it comes costs cost · (1 + failures / successes); the recommendation takes the least
of it, and its confidence is the share of resampled histories (BOOTSTRAPS of them, seeded) in which it stays the best.
Runtimes that got work of other sizes are compared within classes of size (factors of 4): each run counts as a ratio to
what is usual in its class, and classes that only one runtime has seen do not count.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterable
from datetime import UTC, datetime

from pydantic import Field

from f.flexcore.lib.core import contracts, workloads

BOOTSTRAPS = 200
# Of each runtime, the newest: more would change the answer by less than the resampling does.
RESAMPLED = 500
FEW = 5
EARLIEST = datetime.min.replace(tzinfo=UTC)

# Whether a run succeeded, what it cost or took, and its class of size.
Point = tuple[bool, float | None, int | None]


class Performance(contracts.Contract):
    """One runtime. runs: all of them; samples: those that succeeded, which durations, rates and cost come from, except
    where a field has a sample size of its own. Rates are medians over runs; what no run tells is null."""

    runtime: str
    runs: int
    samples: int
    success_rate: float | None = Field(default=None, ge=0, le=1)
    duration_p50_s: float | None = None
    duration_p95_s: float | None = None
    rows_per_s: float | None = None
    rows_samples: int = 0
    cost_usd_p50: float | None = None
    cost_usd_total: float | None = None
    cost_samples: int = 0
    note: str = ""


class Recommendation(contracts.Contract):
    """runtime is null when nothing can be recommended. confidence: 0 to 1, null with a single runtime."""

    runtime: str | None = None
    confidence: float | None = None
    reason: str


class Comparison(contracts.Contract):
    """since and until: the bounds that were asked for; null is open."""

    workflow_type: str
    since: datetime | None = None
    until: datetime | None = None
    runs: int
    runtimes: list[Performance] = []
    recommendation: Recommendation


def compare(
    history: Iterable[workloads.Run], workflow_type: str, since: datetime | None = None, until: datetime | None = None
) -> Comparison:
    """Runs of `workflow_type` with since <= started_at < until; a bound drops runs of unknown start."""
    since, until = _utc(since), _utc(until)
    chosen = [run for run in history if run.workflow_type == workflow_type and _within(run, since, until)]
    by_runtime: dict[str, list[workloads.Run]] = {}
    for run in chosen:
        by_runtime.setdefault(run.runtime, []).append(run)
    return Comparison(
        workflow_type=workflow_type,
        since=since,
        until=until,
        runs=len(chosen),
        runtimes=[_performance(name, runs) for name, runs in sorted(by_runtime.items())],
        recommendation=_recommendation(workflow_type, by_runtime),
    )


def _utc(moment: datetime | None) -> datetime | None:
    return moment and (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment)


def _within(run: workloads.Run, since: datetime | None, until: datetime | None) -> bool:
    if since is None and until is None:
        return True
    start = run.started_at
    return start is not None and (since is None or start >= since) and (until is None or start < until)


def _performance(runtime: str, runs: list[workloads.Run]) -> Performance:
    good = [run for run in runs if run.success]
    durations = sorted(run.duration_s or 0.0 for run in good)
    rates = [run.rows / run.duration_s for run in good if run.rows is not None and run.duration_s]
    costs = [run.cost_usd for run in good if run.cost_usd is not None]
    spent = [run.cost_usd for run in runs if run.cost_usd is not None]
    return Performance(
        runtime=runtime,
        runs=len(runs),
        samples=len(good),
        success_rate=len(good) / len(runs),
        duration_p50_s=_quantile(durations, 0.5),
        duration_p95_s=_quantile(durations, 0.95),
        rows_per_s=statistics.median(rates) if rates else None,
        rows_samples=len(rates),
        cost_usd_p50=statistics.median(costs) if costs else None,
        cost_usd_total=sum(spent) if spent else None,
        cost_samples=len(costs),
        note="" if len(good) >= FEW else f"only {len(good)} of its runs succeeded: too few to rely on",
    )


def _quantile(ordered: list[float], probability: float) -> float | None:
    """Linear between order statistics (Hyndman and Fan's type 7, as numpy's default)."""
    if not ordered:
        return None
    place = probability * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _recommendation(workflow_type: str, by_runtime: dict[str, list[workloads.Run]]) -> Recommendation:
    if not by_runtime:
        return Recommendation(reason=f"There is no run of {workflow_type} in this range")
    able = {name: runs for name, runs in by_runtime.items() if any(run.success for run in runs)}
    if not able:
        return Recommendation(reason="Every run failed; look at the errors first")
    enough = {name: runs for name, runs in able.items() if sum(run.success for run in runs) >= FEW}
    compared = enough or able
    few = "" if enough else f"; no runtime has {FEW} successful runs, so this is a hint only"
    priced = all(any(run.cost_usd is not None for run in runs if run.success) for runs in compared.values())
    measure = "cost" if priced else "duration"
    points = {name: _points(runs, measure) for name, runs in compared.items()}
    alike = _within_classes(points) if len(points) > 1 and _sizes_differ(compared) else points
    scores = {name: _per_success(values) for name, values in alike.items()}
    best = min(scores, key=lambda name: (scores[name], name))
    told = {name: _told(score, measure, alike is not points) for name, score in scores.items()}
    reason = f"{best} has the least median {measure} per success, failures counted: {told[best]}"
    if len(compared) == 1:
        others = f", and no other has {FEW} successful runs" if enough and len(able) > 1 else ", as the only one"
        return Recommendation(runtime=best, reason=f"{reason}{others}{few}")
    against = ", ".join(
        f"{name} {told[name]}" for name in sorted(scores, key=lambda name: scores[name]) if name != best
    )
    confidence = _confidence(best, alike)
    sure = f"it stays the best in {confidence:.0%} of resampled histories"
    mixed = "; their sizes differ and cannot be matched" if alike is points and _sizes_differ(compared) else ""
    return Recommendation(
        runtime=best, confidence=confidence, reason=f"{reason}, against {against}; {sure}{mixed}{few}"
    )


def _told(score: float, measure: str, relative: bool) -> str:
    if relative:
        return f"{score:.3g} times the usual for the same size"
    return f"${score:.3g}" if measure == "cost" else f"{score:.3g} s"


def _points(runs: list[workloads.Run], measure: str) -> list[Point]:
    newest = sorted(runs, key=lambda run: run.started_at or EARLIEST)[-RESAMPLED:]
    return [(run.success, run.cost_usd if measure == "cost" else run.duration_s, _class(run)) for run in newest]


def _class(run: workloads.Run) -> int | None:
    return run.data_size_bytes.bit_length() // 2 if run.data_size_bytes else None


def _sizes_differ(by_runtime: dict[str, list[workloads.Run]]) -> bool:
    """Whether the median size of one is more than twice that of another."""
    known = [
        [run.data_size_bytes for run in runs if run.success and run.data_size_bytes] for runs in by_runtime.values()
    ]
    medians = [statistics.median(sizes) for sizes in known if sizes]
    return len(medians) > 1 and max(medians) > 2 * min(medians)


def _within_classes(points: dict[str, list[Point]]) -> dict[str, list[Point]]:
    """Values as ratios to the usual of their class; as they are when a runtime shares no class with another."""
    found: dict[int, dict[str, list[float]]] = {}
    for name, values in points.items():
        for success, value, size in values:
            if success and value and size is not None:
                found.setdefault(size, {}).setdefault(name, []).append(value)
    usual = {
        size: statistics.geometric_mean([statistics.median(values) for values in each.values()])
        for size, each in found.items()
        if len(each) > 1
    }
    ratios = {name: [_ratio(point, usual) for point in values] for name, values in points.items()}
    matched = all(any(value is not None for _, value, _ in values) for values in ratios.values())
    return ratios if matched else points


def _ratio(point: Point, usual: dict[int, float]) -> Point:
    success, value, size = point
    known = success and value is not None and size in usual
    return success, value / usual[size] if known and value is not None and size is not None else None, size


def _per_success(points: list[Point]) -> float:
    good = [value for success, value, _ in points if success and value is not None]
    return statistics.median(good) * len(points) / sum(success for success, *_ in points) if good else float("inf")


def _confidence(best: str, points: dict[str, list[Point]]) -> float:
    """The share of resampled histories in which `best` stays the best. Seeded: the same history, the same answer."""
    chance = random.Random(0)
    ordered = {
        name: sorted(values, key=lambda point: (point[0], point[1] or 0, point[2] or 0))
        for name, values in points.items()
    }
    wins = 0
    for _ in range(BOOTSTRAPS):
        scores = {name: _per_success(chance.choices(values, k=len(values))) for name, values in ordered.items()}
        wins += min(scores, key=lambda name: (scores[name], name)) == best
    return wins / BOOTSTRAPS
