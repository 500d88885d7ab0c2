# requirements: flexcore_base
"""How the runtimes did at one type of workflow, side by side, and which one to prefer. Pure.

A success that is repeated until it comes costs cost · (1 + failures / successes); the recommendation takes the least
of it, and its confidence is the share of resampled histories (BOOTSTRAPS of them, seeded) in which it stays the best.
Runtimes that got work of other sizes are compared within classes of size (factors of 4): each run counts as a ratio to
what is usual in its class, and classes that only one runtime has seen do not count.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from pydantic import Field

from f.flexcore.lib.core import contracts, workloads

BOOTSTRAPS = 200
# Of each runtime, the newest: more would change the answer by less than the resampling does.
MAX_RESAMPLED_RUNS = 500
# Fewer successful runs than this are a hint only.
MIN_SUCCESSES = 5
# Median sizes further apart than this factor make runs incomparable as they are.
MAX_SIZE_RATIO = 2
UNKNOWN_START = datetime.min.replace(tzinfo=UTC)

Measure = Literal["cost", "duration"]


class Outcome(NamedTuple):
    """value: what the run cost or took; size_class: the power of 4 that its size lies in."""

    success: bool
    value: float | None
    size_class: int | None


Outcomes = Mapping[str, Sequence[Outcome]]


class Performance(contracts.Contract):
    """One runtime. runs: all of them; samples: those that succeeded, which durations, rates and cost come from, except
    where a field has a sample size of its own. Rates are medians over runs; what no run shows is null."""

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


def compare_runs(
    history: Iterable[workloads.Run], workflow_type: str, since: datetime | None = None, until: datetime | None = None
) -> Comparison:
    """Return the comparison of runs of `workflow_type` with since <= started_at < until; a bound drops runs of unknown
    start."""
    since, until = _to_utc(since), _to_utc(until)
    runs = [run for run in history if run.workflow_type == workflow_type and _is_within(run, since, until)]
    by_runtime: dict[str, list[workloads.Run]] = {}
    for run in runs:
        by_runtime.setdefault(run.runtime, []).append(run)
    return Comparison(
        workflow_type=workflow_type,
        since=since,
        until=until,
        runs=len(runs),
        runtimes=[_summarize_runs(name, of_runtime) for name, of_runtime in sorted(by_runtime.items())],
        recommendation=_recommend(workflow_type, by_runtime),
    )


def _to_utc(moment: datetime | None) -> datetime | None:
    return moment and (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment)


def _is_within(run: workloads.Run, since: datetime | None, until: datetime | None) -> bool:
    if since is None and until is None:
        return True
    start = run.started_at
    return start is not None and (since is None or start >= since) and (until is None or start < until)


def _summarize_runs(runtime: str, runs: list[workloads.Run]) -> Performance:
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
        duration_p50_s=quantile(durations, 0.5),
        duration_p95_s=quantile(durations, 0.95),
        rows_per_s=statistics.median(rates) if rates else None,
        rows_samples=len(rates),
        cost_usd_p50=statistics.median(costs) if costs else None,
        cost_usd_total=sum(spent) if spent else None,
        cost_samples=len(costs),
        note="" if len(good) >= MIN_SUCCESSES else f"only {len(good)} of its runs succeeded: too few to rely on",
    )


# A p95 of fewer runs is the longest of them.
MIN_P95_RUNS = 20


def quantile(ordered: list[float], probability: float) -> float | None:
    """Linear between order statistics (Hyndman and Fan's type 7, as numpy's default)."""
    if not ordered:
        return None
    position = probability * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def _recommend(workflow_type: str, by_runtime: Mapping[str, Sequence[workloads.Run]]) -> Recommendation:
    if not by_runtime:
        return Recommendation(reason=f"There is no run of {workflow_type} in this range")
    successful = {name: runs for name, runs in by_runtime.items() if any(run.success for run in runs)}
    if not successful:
        return Recommendation(reason="Every run failed; look at the errors first")
    enough = {name: runs for name, runs in successful.items() if sum(run.success for run in runs) >= MIN_SUCCESSES}
    hint = "" if enough else f"; no runtime has {MIN_SUCCESSES} successful runs, so this is a hint only"
    compared = enough or successful
    if len(compared) > 1:
        return _recommend_best(compared, hint)
    others = (
        f", and no other has {MIN_SUCCESSES} successful runs"
        if len(successful) > 1
        else ", the only runtime with a successful run"
    )
    return _recommend_only(compared, f"{others}{hint}")


def _recommend_only(compared: Mapping[str, Sequence[workloads.Run]], remark: str) -> Recommendation:
    measure = _choose_measure(compared)
    ((name, runs),) = compared.items()
    score = _format_score(_value_per_success(_list_outcomes(runs, measure)), measure)
    return Recommendation(runtime=name, reason=f"{_explain_best(name, measure, score)}{remark}")


def _recommend_best(compared: Mapping[str, Sequence[workloads.Run]], hint: str) -> Recommendation:
    measure, sizes_differ = _choose_measure(compared), _sizes_differ(compared)
    outcomes: Outcomes = {name: _list_outcomes(runs, measure) for name, runs in compared.items()}
    ratios = _relate_to_size_classes(outcomes) if sizes_differ else None
    scores = {name: _value_per_success(values) for name, values in (ratios or outcomes).items()}
    best, *others = sorted(scores, key=lambda name: (scores[name], name))
    texts = {name: _format_score(score, measure, relative=ratios is not None) for name, score in scores.items()}
    against = ", ".join(f"{name} {texts[name]}" for name in others)
    confidence = _resample_confidence(best, ratios or outcomes)
    unmatched = "; their sizes differ and cannot be matched" if sizes_differ and ratios is None else ""
    return Recommendation(
        runtime=best,
        confidence=confidence,
        reason=f"{_explain_best(best, measure, texts[best])}, against {against}; "
        f"it stays the best in {confidence:.0%} of resampled histories{unmatched}{hint}",
    )


def _choose_measure(compared: Mapping[str, Sequence[workloads.Run]]) -> Measure:
    """Cost, where every runtime has a successful run whose cost is known."""
    priced = all(any(run.cost_usd is not None for run in runs if run.success) for runs in compared.values())
    return "cost" if priced else "duration"


def _explain_best(name: str, measure: Measure, score: str) -> str:
    return f"{name} has the least median {measure} per success, failures counted: {score}"


def _format_score(score: float, measure: Measure, relative: bool = False) -> str:
    if relative:
        return f"{score:.3g} times the usual for the same size"
    return f"${score:.3g}" if measure == "cost" else f"{score:.3g} s"


def _list_outcomes(runs: Sequence[workloads.Run], measure: Measure) -> list[Outcome]:
    newest = sorted(runs, key=lambda run: run.started_at or UNKNOWN_START)[-MAX_RESAMPLED_RUNS:]
    return [
        Outcome(run.success, run.cost_usd if measure == "cost" else run.duration_s, _size_class(run)) for run in newest
    ]


def _size_class(run: workloads.Run) -> int | None:
    return run.data_size_bytes.bit_length() // 2 if run.data_size_bytes else None


def _sizes_differ(by_runtime: Mapping[str, Sequence[workloads.Run]]) -> bool:
    """Whether the median size of one is more than MAX_SIZE_RATIO times that of another."""
    known = [
        [run.data_size_bytes for run in runs if run.success and run.data_size_bytes] for runs in by_runtime.values()
    ]
    medians = [statistics.median(sizes) for sizes in known if sizes]
    return len(medians) > 1 and max(medians) > MAX_SIZE_RATIO * min(medians)


def _relate_to_size_classes(outcomes: Outcomes) -> dict[str, list[Outcome]] | None:
    """Values as ratios to the usual of their class; None when a runtime shares no class with another."""
    by_class: dict[int, dict[str, list[float]]] = {}
    for name, values in outcomes.items():
        for success, value, size_class in values:
            if success and value and size_class is not None:
                by_class.setdefault(size_class, {}).setdefault(name, []).append(value)
    usual = {
        size_class: statistics.geometric_mean([statistics.median(values) for values in by_name.values()])
        for size_class, by_name in by_class.items()
        if len(by_name) > 1
    }
    ratios = {name: [_relate(outcome, usual) for outcome in values] for name, values in outcomes.items()}
    matched = all(any(outcome.value is not None for outcome in values) for values in ratios.values())
    return ratios if matched else None


def _relate(outcome: Outcome, usual: Mapping[int, float]) -> Outcome:
    success, value, size_class = outcome
    if not success or value is None or size_class is None or size_class not in usual:
        return outcome._replace(value=None)
    return outcome._replace(value=value / usual[size_class])


def _value_per_success(outcomes: Sequence[Outcome]) -> float:
    values = [outcome.value for outcome in outcomes if outcome.success and outcome.value is not None]
    if not values:
        return float("inf")
    return statistics.median(values) * len(outcomes) / sum(outcome.success for outcome in outcomes)


def _resample_confidence(best: str, outcomes: Outcomes) -> float:
    """The share of resampled histories in which `best` stays the best. Seeded: the same history, the same answer."""
    chance = random.Random(0)
    ordered = {
        name: sorted(values, key=lambda outcome: (outcome.success, outcome.value or 0, outcome.size_class or 0))
        for name, values in outcomes.items()
    }
    wins = 0
    for _ in range(BOOTSTRAPS):
        scores = {name: _value_per_success(chance.choices(values, k=len(values))) for name, values in ordered.items()}
        wins += min(scores, key=lambda name: (scores[name], name)) == best
    return wins / BOOTSTRAPS
