# requirements: flexcore_base
"""What each runtime would take and cost for a workload, and whether it may be chosen. Pure.

The expected cost counts failures: work is repeated until it succeeds, and a failed run costs `failure_cost_factor`
successful ones. Time is counted likewise, start-up and queue included. A forecast is trusted, so that it may decide,
with `min_samples` successful runs of this type of workflow, or with fewer of this type and twice `min_samples` of all
types. A runtime all of whose runs failed (MIN_HOPELESS_FAILURES or more) is chosen by a pin alone.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Protocol

from f.flexcore.lib.core import units, workloads
from f.flexcore.lib.selection import forecast, rules

# One or two failures may be chance: a runtime that fails in every fifth run begins with three once in 125 histories.
MIN_HOPELESS_FAILURES = 3
SECONDS_PER_HOUR = 3600
MIN_SUCCESS = 1e-9
# A price of nothing has no logarithm.
FREE_USD_PER_HOUR = 1e-9


class Forecaster(Protocol):
    """Estimates for a runtime and a workload; `forecast.Forecasts` is one."""

    def estimate(self, workload: workloads.Workload, runtime: str) -> forecast.Estimate: ...


@dataclass(frozen=True, slots=True)
class CandidateScore:
    """One runtime in the choice.

    ineligible_reason: why it cannot be chosen, "" when it can. rule: why the rules lead to it. is_trusted: its
    forecast may decide; is_borrowed: with fewer than `min_samples` runs of its own type. cost_usd, time_s: expected for
    each success. waste_deviation: standard deviation of the log of the waste by failures. deadline_probability: of
    meeting the deadline.
    """

    runtime: str
    ineligible_reason: str
    state: workloads.RuntimeState
    estimate: forecast.Estimate
    rule: str = ""
    is_trusted: bool = False
    is_borrowed: bool = False
    waste_deviation: float = 0.0
    cost_usd: float | None = None
    time_s: float | None = None
    deadline_probability: float | None = None


def score_candidates(
    workload: workloads.Workload, model: Forecaster | None, market: workloads.Market
) -> list[CandidateScore]:
    """Return a score for every runtime of the workload, of the rules and of the settings."""
    known = tuple(dict.fromkeys([*rules.RUNTIMES, *market.runtimes]))
    names = dict.fromkeys([*workload.runtimes, *known])
    return [_score_candidate(name, known, workload, model, market) for name in names]


def _score_candidate(
    name: str,
    known: Collection[str],
    workload: workloads.Workload,
    model: Forecaster | None,
    market: workloads.Market,
) -> CandidateScore:
    state = market.runtimes.get(name, workloads.RuntimeState())
    estimate = _add_prices(model.estimate(workload, name) if model else forecast.Estimate(), workload, state, market)
    score = CandidateScore(name, _ineligible_reason(name, known, workload, state, estimate), state, estimate)
    if estimate.duration is None or estimate.success is None:
        return score
    wait_s = (state.startup_s or 0) + (state.queue_s or 0)
    waste = market.failure_cost_factor * (1 - estimate.success) / max(estimate.success, MIN_SUCCESS)
    deadline = workload.deadline_s
    has_own_runs = estimate.samples >= market.min_samples
    return replace(
        score,
        is_trusted=has_own_runs or (estimate.pooled_samples >= 2 * market.min_samples and estimate.samples > 0),
        is_borrowed=not has_own_runs,
        waste_deviation=_waste_deviation(estimate, market.failure_cost_factor),
        cost_usd=None if estimate.cost is None else estimate.cost.mean() * (1 + waste),
        time_s=(estimate.duration.mean() + wait_s) * (1 + waste),
        deadline_probability=deadline and estimate.success * estimate.duration.cdf(deadline - wait_s),
    )


def _waste_deviation(estimate: forecast.Estimate, factor: float) -> float:
    """How far the log of 1 + factor · failures / successes may be off: the deviation of a share, carried through."""
    p = estimate.success or 0.5
    deviation = math.sqrt(p * (1 - p) / (estimate.samples + estimate.failures + 3))
    return factor * deviation / (p * (p + factor * (1 - p)))


def _ineligible_reason(
    name: str,
    known: Collection[str],
    workload: workloads.Workload,
    state: workloads.RuntimeState,
    estimate: forecast.Estimate,
) -> str:
    if name not in known:
        return f"unknown runtime (known: {', '.join(known)})"
    if name not in workload.runtimes:
        return "the pipeline does not describe it"
    if not state.enabled:
        return "it is disabled in the settings"
    if state.healthy is False:
        return "it is not healthy now"
    failed = max(estimate.failures if not estimate.samples else 0, estimate.failures_without_success)
    if failed >= MIN_HOPELESS_FAILURES and workload.pin != name:
        return f"all its {failed} runs failed; pin it to try again"
    return ""


def _add_prices(
    estimate: forecast.Estimate, workload: workloads.Workload, state: workloads.RuntimeState, market: workloads.Market
) -> forecast.Estimate:
    """With a cost from prices when history has none, and with what it costs to move the data there."""
    cost = estimate.cost
    rate = _usd_per_hour(workload, state)
    if cost is None and estimate.duration is not None and rate is not None:
        cost = estimate.duration.add(state.startup_s or 0).multiply(rate / SECONDS_PER_HOUR)
    return replace(estimate, cost=cost.add(_egress_usd(workload, state, market))) if cost else estimate


def _usd_per_hour(workload: workloads.Workload, state: workloads.RuntimeState) -> float | None:
    """The price of what the workload asks for; None without prices, or when an amount with a price is not known."""
    needs, price = workload.resources, state.price
    memory = None if needs.memory is None else needs.memory / units.GIB
    parts = [(needs.cpu, price.cpu_hour), (memory, price.memory_gib_hour), (needs.gpu or 0.0, price.gpu_hour)]
    billed = [(amount, rate) for amount, rate in parts if rate is not None]
    if not billed or any(amount is None and rate for amount, rate in billed):
        return None
    return max(sum((amount or 0.0) * rate for amount, rate in billed), FREE_USD_PER_HOUR)


def _egress_usd(workload: workloads.Workload, state: workloads.RuntimeState, market: workloads.Market) -> float:
    source, target = workload.data_location, state.location
    if not source or not target or source == target or workload.data_size is None:
        return 0.0
    return workload.data_size / units.GIB * market.egress_usd_per_gib.get(source, 0)
