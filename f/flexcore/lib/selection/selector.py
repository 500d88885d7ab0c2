# requirements: flexcore_base
"""Which runtime a workload gets, and why: pin → candidates → rules or history → CHOSEN. Pure.

candidates   described by the pipeline, known, enabled, and not measured as unhealthy
rules        the first candidate in the order of the base rules (core/rules), then by the settings' priority
learned      when the rules' pick and another have `min_samples` finished runs of this type of workflow: the best
             expected outcome. Every other than the rules' pick is taken at its expectation plus CAUTION standard
             deviations of what is not known of it. A candidate with fewer runs of this type, yet twice `min_samples`
             of all types, competes too, with BORROWED_CAUTION; one with fewer than that never wins by its forecast
never        a runtime all of whose runs failed (FAILED_ALWAYS or more), unless it is pinned

The expected cost counts failures: work is repeated until it succeeds, and a failed run costs `failure_cost_factor`
good ones. Time is counted likewise, start-up and queue included. `balanced` takes the least product of expected cost
and expected time, so a tenth less of one is worth a tenth more of the other. With a deadline only those compete that
meet it with DEADLINE_CONFIDENCE; when none does, the likeliest (those within DEADLINE_TIE of it).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

from f.flexcore.lib.core import requests, workloads
from f.flexcore.lib.selection import forecast, rules

NAMESPACE = "flext-production"
NONE_SUITABLE = "No suitable runtime available"
# One or two failures may be chance: a runtime that fails in every fifth run begins with three once in 125 histories.
FAILED_ALWAYS = 3
CAUTION, BORROWED_CAUTION = 0.75, 1.5
DEADLINE_CONFIDENCE, DEADLINE_TIE = 0.9, 0.05
HOUR = 3600
FREE = 1e-9


class Forecaster(Protocol):
    """What a fitted history can do; `forecast.Forecasts` is one."""

    def estimate(self, workload: workloads.Workload, runtime: str) -> forecast.Estimate: ...


@dataclass(frozen=True, slots=True)
class Standing:
    """One runtime in the choice. barred: why it cannot be chosen, "" when it can. rule: why the rules lead to it.
    trusted: its forecast may decide; borrowed: with fewer than `min_samples` runs of its own type. cost and time:
    expected per success, in US dollars and seconds; unsure: standard deviation of the log of waste (failures) alone;
    chance: of meeting the deadline."""

    runtime: str
    barred: str
    state: workloads.RuntimeState
    estimate: forecast.Estimate
    rule: str = ""
    trusted: bool = False
    borrowed: bool = False
    unsure: float = 0.0
    cost: float | None = None
    time: float | None = None
    chance: float | None = None


def select(
    workload: workloads.Workload, model: Forecaster | None, market: workloads.Market, missing: str = ""
) -> workloads.Selection:
    """The runtime for `workload`. model: the fitted history, None when there is none: the rules then decide, and the
    answer says why there is none (`missing`)."""
    names = dict.fromkeys([*workload.runtimes, *workloads.RUNTIMES, *market.runtimes])
    standings = [_standing(name, workload, model, market) for name in names]
    if workload.pin:
        return _pinned(workload.pin, standings)
    order = _by_rules(workload, [item for item in standings if not item.barred])
    if not order:
        why = "; ".join(f"{item.runtime}: {item.barred}" for item in standings)
        return _answer(None, "rules", f"{NONE_SUITABLE}: {why}", standings, {}, error=NONE_SUITABLE)
    doubt = missing if model is None and missing else _doubt(order, workload, market)
    if doubt:
        return _ruled(order, standings, doubt)
    return _learned(workload, order, standings, market)


def _standing(name: str, workload: workloads.Workload, model: Forecaster | None, market: workloads.Market) -> Standing:
    state = market.runtimes.get(name, workloads.RuntimeState())
    estimate = _priced(model.estimate(workload, name) if model else forecast.Estimate(), workload, state, market)
    standing = Standing(name, _barred(name, workload, state, estimate, market), state, estimate)
    if estimate.duration is None or estimate.success is None:
        return standing
    before = (state.startup_s or 0) + (state.queue_s or 0)
    waste = market.failure_cost_factor * (1 - estimate.success) / max(estimate.success, 1e-9)
    deadline = workload.deadline_s
    own = estimate.samples >= market.min_samples
    return replace(
        standing,
        trusted=own or (estimate.pooled >= 2 * market.min_samples and estimate.samples > 0),
        borrowed=not own,
        unsure=_unsure(estimate, market.failure_cost_factor),
        cost=None if estimate.cost is None else estimate.cost.mean() * (1 + waste),
        time=(estimate.duration.mean() + before) * (1 + waste),
        chance=deadline and estimate.success * estimate.duration.chance_within(deadline - before),
    )


def _unsure(estimate: forecast.Estimate, factor: float) -> float:
    """How far the log of 1 + factor · failures / successes may be off: the deviation of a share, carried through."""
    p = estimate.success or 0.5
    deviation = math.sqrt(p * (1 - p) / (estimate.samples + estimate.failures + 3))
    return factor * deviation / (p * (p + factor * (1 - p)))


def _barred(
    name: str,
    workload: workloads.Workload,
    state: workloads.RuntimeState,
    estimate: forecast.Estimate,
    market: workloads.Market,
) -> str:
    if name not in workloads.RUNTIMES and name not in market.runtimes:
        return f"unknown runtime (known: {', '.join(dict.fromkeys([*workloads.RUNTIMES, *market.runtimes]))})"
    if name not in workload.runtimes:
        return "the pipeline does not describe it"
    if not state.enabled:
        return "it is disabled in the settings"
    if state.healthy is False:
        return "it is not healthy now"
    failed = max(estimate.failures if not estimate.samples else 0, estimate.broken)
    if failed >= FAILED_ALWAYS and workload.pin != name:
        return f"all its {failed} runs failed; pin it to try again"
    return ""


def _priced(
    estimate: forecast.Estimate, workload: workloads.Workload, state: workloads.RuntimeState, market: workloads.Market
) -> forecast.Estimate:
    """With a cost from prices when history has none, and with what it costs to move the data there."""
    cost = estimate.cost
    rate = _hourly(workload, state)
    if cost is None and estimate.duration is not None and rate is not None:
        cost = estimate.duration.plus(state.startup_s or 0).times(rate / HOUR)
    moved = _movement(workload, state, market)
    return replace(estimate, cost=cost.plus(moved)) if cost else estimate


def _hourly(workload: workloads.Workload, state: workloads.RuntimeState) -> float | None:
    """US dollars an hour for what the workload asks for; None when nobody said a price, or an amount that has one."""
    asked, price = workload.resources, state.price
    memory = None if asked.memory is None else asked.memory / requests.GIB
    parts = [(asked.cpu, price.cpu_hour), (memory, price.memory_gib_hour), (asked.gpu or 0.0, price.gpu_hour)]
    billed = [(amount, each) for amount, each in parts if each is not None]
    if not billed or any(amount is None and each for amount, each in billed):
        return None
    # What is free has no logarithm.
    return max(sum((amount or 0.0) * each for amount, each in billed), FREE)


def _movement(workload: workloads.Workload, state: workloads.RuntimeState, market: workloads.Market) -> float:
    here, there = workload.data_location, state.location
    if not here or not there or here == there or workload.data_size is None:
        return 0.0
    return workload.data_size / requests.GIB * market.egress_usd_per_gib.get(here, 0)


def _by_rules(workload: workloads.Workload, candidates: list[Standing]) -> list[Standing]:
    """The candidates in the order of the rules; those that no rule names follow by priority, then as the workload has
    them."""
    ruled = dict(rules.preferences(workload))
    names = list(dict.fromkeys([*ruled, *workload.runtimes]))
    return sorted(
        (replace(item, rule=ruled.get(item.runtime, "")) for item in candidates),
        key=lambda item: (0 if item.runtime in ruled else _last(item), names.index(item.runtime)),
    )


def _last(item: Standing) -> float:
    """Its priority; what has none comes after all that have one."""
    return item.state.priority or math.inf


def _doubt(order: list[Standing], workload: workloads.Workload, market: workloads.Market) -> str:
    """Why history does not decide; "" when it does."""
    runs = sum(item.estimate.samples + item.estimate.failures for item in order)
    first, others = order[0], [item for item in order[1:] if item.trusted]
    if len(order) == 1:
        return "it is the only candidate"
    if not runs:
        return f"there is no history of {workload.workflow_type}"
    if not first.trusted and not (others and _unreliable(first, market)):
        return f"little history: {_count(first)} of {workload.workflow_type}, {market.min_samples} are needed"
    if not others:
        return f"little history: no other candidate has {market.min_samples} finished runs of {workload.workflow_type}"
    if workload.objective == "cost" and first.trusted and first.cost is None:
        return f"what {first.runtime} costs is not known: history has no cost of it and the settings no price"
    return ""


def _unreliable(item: Standing, market: workloads.Market) -> bool:
    """It failed more often than not, in as many runs as make a forecast trusted."""
    found = item.estimate
    return found.samples + found.failures >= market.min_samples and found.failures > found.samples


def _ruled(order: list[Standing], standings: list[Standing], doubt: str) -> workloads.Selection:
    first = order[0]
    priority = f" by its priority {first.state.priority}" if first.state.priority else ""
    why = f"by the rules, {first.rule or f'it is the next that can be used{priority}'} ({doubt})"
    reasons = {first.runtime: f"CHOSEN {why}"}
    for item in order[1:]:
        reasons[item.runtime] = f"not chosen: the rules prefer {first.runtime}{_outlook(item)}"
    return _answer(order[0], "rules", f"{first.runtime} {why}", _ranked(order, standings), reasons)


def _learned(
    workload: workloads.Workload, order: list[Standing], standings: list[Standing], market: workloads.Market
) -> workloads.Selection:
    able, measure = _comparable([item for item in order if item.trusted], workload)
    in_time = _in_time(able)
    ranked = sorted(able, key=lambda item: (item not in in_time, _cautious(item, measure, order[0]), _last(item)))
    best = ranked[0]
    reasons = {best.runtime: f"CHOSEN by its history{_outlook(best)}"}
    for item in order:
        if item.runtime != best.runtime:
            reasons[item.runtime] = f"not chosen: {_why_not(item, best, able, in_time, measure, market)}"
    rest = [item for item in order if item.runtime not in {each.runtime for each in ranked}]
    others = "; ".join(f"{item.runtime} {reasons[item.runtime]}" for item in [*ranked[1:], *rest])
    why = f"{best.runtime} by its history{_outlook(best)} (least {measure}); {others}"
    return _answer(best, "learned", why, _ranked([*ranked, *rest], standings), reasons)


def _comparable(trusted: list[Standing], workload: workloads.Workload) -> tuple[list[Standing], str]:
    """Those that can be compared, and by what: expected cost, expected time, or the product of both."""
    priced = [item for item in trusted if item.cost is not None]
    if workload.objective == "time" or not priced:
        return trusted, "expected time"
    if workload.objective == "cost":
        return priced, "expected cost"
    return (trusted, "expected time") if len(priced) < len(trusted) else (trusted, "expected cost times expected time")


def _score(item: Standing, measure: str) -> float:
    cost, time = item.cost or 0.0, item.time or 0.0
    return {"expected cost": cost, "expected time": time}.get(measure, cost * time)


def _cautious(item: Standing, measure: str, ruled: Standing) -> float:
    """The score with what may be wrong with it counted against it; the rules' pick has the benefit of the doubt."""
    cost, time = item.estimate.cost, item.estimate.duration
    doubts = {"expected cost": [cost], "expected time": [time]}.get(measure, [cost, time])
    unsure = math.hypot(sum(each.doubt for each in doubts if each), item.unsure * len(doubts))
    caution = 0.0 if item.runtime == ruled.runtime else BORROWED_CAUTION if item.borrowed else CAUTION
    return math.log(max(_score(item, measure), 1e-300)) + caution * unsure


def _in_time(able: list[Standing]) -> list[Standing]:
    likeliest = max((item.chance or 0.0) for item in able)
    bar = DEADLINE_CONFIDENCE if likeliest >= DEADLINE_CONFIDENCE else likeliest - DEADLINE_TIE
    return [item for item in able if (item.chance or 0.0) >= bar]


def _why_not(
    item: Standing,
    best: Standing,
    able: list[Standing],
    in_time: list[Standing],
    measure: str,
    market: workloads.Market,
) -> str:
    if not item.trusted:
        return f"{_count(item)}, {market.min_samples} are needed before its forecast is trusted{_outlook(item)}"
    if item not in able:
        return f"what it costs is not known{_outlook(item)}"
    if item not in in_time and best in in_time:
        return f"it would meet the deadline with {item.chance or 0:.0%}, {best.runtime} with {best.chance or 0:.0%}"
    ratio = _score(item, measure) / max(_score(best, measure), 1e-300)
    if ratio < 1:
        return f"{measure} {ratio:.3g} times that of {best.runtime}, too little to be sure{_outlook(item)}"
    return f"{measure} {ratio:.3g} times that of {best.runtime}{_outlook(item)}"


def _pinned(pin: str, standings: list[Standing]) -> workloads.Selection:
    chosen = next((item for item in standings if item.runtime == pin), None)
    barred = chosen.barred if chosen else "unknown runtime"
    reasons = {item.runtime: f"not chosen: {pin} is pinned{_outlook(item)}" for item in standings if not item.barred}
    if chosen is None or barred:
        error = f"The pinned runtime {pin} cannot be used: {barred}. Remove the pin, or make {pin} usable."
        return _answer(None, "pinned", error, standings, reasons, error=error)
    reasons[pin] = f"CHOSEN: it is pinned{_outlook(chosen)}"
    return _answer(chosen, "pinned", f"{pin} is pinned{_outlook(chosen)}", _ranked([chosen], standings), reasons)


def _ranked(first: list[Standing], standings: list[Standing]) -> list[Standing]:
    names = {item.runtime for item in first}
    return [
        *first,
        *sorted((item for item in standings if item.runtime not in names), key=lambda item: bool(item.barred)),
    ]


def _answer(
    chosen: Standing | None,
    mode: workloads.Mode,
    why: str,
    standings: list[Standing],
    reasons: dict[str, str],
    error: str | None = None,
) -> workloads.Selection:
    namespace = (chosen.state.namespace or NAMESPACE) if chosen and chosen.runtime == "kubernetes" else None
    return workloads.Selection(
        runtime=chosen.runtime if chosen else None,
        mode=mode,
        reason=f"{why}; namespace {namespace}" if namespace else why,
        error=error,
        namespace=namespace,
        candidates=[_candidate(item, reasons.get(item.runtime, "")) for item in standings],
    )


def _candidate(item: Standing, reason: str) -> workloads.Candidate:
    found = item.estimate
    unmeasured = "" if item.barred or item.state.healthy else "; its health was not measured"
    return workloads.Candidate(
        runtime=item.runtime,
        eligible=not item.barred,
        samples=found.samples,
        duration_s=found.duration and found.duration.interval(),
        cost_usd=found.cost and found.cost.interval(),
        success_probability=found.success,
        deadline_probability=item.chance,
        reason="; ".join([f"not eligible: {item.barred}" if item.barred else f"{reason}{unmeasured}", *found.notes]),
    )


def _count(item: Standing) -> str:
    found = item.estimate
    failed = f" ({found.failures} more failed)" if found.failures else ""
    return f"{item.runtime} has {found.samples} finished runs{failed}"


def _outlook(item: Standing) -> str:
    """What is expected of it, as `: about $1.20 and 80 s for each success`."""
    parts = []
    if item.cost is not None:
        parts.append(f"${item.cost:.3g}")
    if item.time is not None:
        parts.append(f"{item.time:.3g} s")
    if not parts:
        return ""
    chance = "" if item.chance is None else f", {item.chance:.0%} to meet the deadline"
    return f": about {' and '.join(parts)} for each success, from {item.estimate.samples} runs{chance}"
