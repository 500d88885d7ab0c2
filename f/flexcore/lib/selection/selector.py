# requirements: flexcore_base
"""Which runtime a workload gets, and why: pin → candidates → rules or history → CHOSEN. Pure.

candidates   described by the pipeline, known, enabled, and not measured as unhealthy (candidate_score.py)
rules        the first candidate in the order of the base rules (rules.py), then by the settings' priority
learned      when the rules' pick and another have a trusted forecast: the best expected outcome. Every other than the
             rules' pick is taken at its expectation plus CAUTION standard deviations of what is not known of it;
             BORROWED_CAUTION when its forecast is borrowed from other types of workflow

`balanced` takes the least product of expected cost and expected time, so a tenth less of one is worth a tenth more of
the other. With a deadline only those compete that meet it with MIN_DEADLINE_PROBABILITY; when none does, the likeliest
(those within DEADLINE_TIE of it). docs/learning.md has the formulas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from f.flexcore.lib.core import workloads
from f.flexcore.lib.selection import candidate_score, rules

NAMESPACE = rules.NAMESPACE
NONE_SUITABLE = "No suitable runtime available"
CAUTION, BORROWED_CAUTION = 0.75, 1.5
MIN_DEADLINE_PROBABILITY, DEADLINE_TIE = 0.9, 0.05
# The least score that has a logarithm.
MIN_SCORE = 1e-300

Measure = Literal["expected cost", "expected time", "expected cost times expected time"]


def select(
    workload: workloads.Workload,
    model: candidate_score.Forecaster | None,
    market: workloads.Market,
    missing: str = "",
) -> workloads.Selection:
    """Return the runtime for `workload`. model: the fitted history, None when there is none: the rules then decide,
    and the answer says why there is none (`missing`)."""
    scores = candidate_score.score_candidates(workload, model, market)
    if workload.pin:
        return _select_pinned(workload.pin, scores)
    order = _order_by_rules(workload, [item for item in scores if not item.ineligible_reason])
    if not order:
        why = "; ".join(f"{item.runtime}: {item.ineligible_reason}" for item in scores)
        return _build_selection(None, "rules", f"{NONE_SUITABLE}: {why}", scores, {}, error=NONE_SUITABLE)
    why_rules = missing if model is None and missing else _why_rules_decide(order, workload, market)
    if why_rules:
        return _select_by_rules(order, scores, why_rules)
    return _select_by_history(workload, order, scores, market)


def _select_pinned(pin: str, scores: list[candidate_score.CandidateScore]) -> workloads.Selection:
    chosen = next((item for item in scores if item.runtime == pin), None)
    why_not = chosen.ineligible_reason if chosen else "unknown runtime"
    reasons = {
        item.runtime: f"not chosen: {pin} is pinned{_format_outlook(item)}"
        for item in scores
        if not item.ineligible_reason
    }
    if chosen is None or why_not:
        error = f"The pinned runtime {pin} cannot be used: {why_not}. Remove the pin, or make {pin} usable."
        return _build_selection(None, "pinned", error, scores, reasons, error=error)
    outlook = _format_outlook(chosen)
    reasons[pin] = f"CHOSEN: it is pinned{outlook}"
    return _build_selection(chosen, "pinned", f"{pin} is pinned{outlook}", _put_first([chosen], scores), reasons)


def _order_by_rules(
    workload: workloads.Workload, candidates: list[candidate_score.CandidateScore]
) -> list[candidate_score.CandidateScore]:
    """The candidates in the order of the rules; those that no rule names follow by priority, then as the workload has
    them."""
    ranked = rules.rank_runtimes(workload)
    names = list(dict.fromkeys([*ranked, *workload.runtimes]))
    return sorted(
        (replace(item, rule=ranked.get(item.runtime, "")) for item in candidates),
        key=lambda item: (0 if item.runtime in ranked else _priority(item), names.index(item.runtime)),
    )


def _priority(item: candidate_score.CandidateScore) -> float:
    """A runtime without a priority comes after all that have one."""
    return item.state.priority or math.inf


def _why_rules_decide(
    order: list[candidate_score.CandidateScore], workload: workloads.Workload, market: workloads.Market
) -> str:
    """Why history does not decide; "" when it does."""
    kind = workload.workflow_type
    first, others = order[0], [item for item in order[1:] if item.is_trusted]
    if len(order) == 1:
        return "it is the only candidate"
    if not any(item.estimate.samples + item.estimate.failures for item in order):
        return f"there is no history of {kind}"
    if not first.is_trusted and not (others and _is_unreliable(first, market)):
        return f"little history: {_format_runs(first)} of {kind}, {market.min_samples} are needed"
    if not others:
        return f"little history: no other candidate has {market.min_samples} successful runs of {kind}"
    if workload.objective == "cost" and first.is_trusted and first.cost_usd is None:
        return f"the cost of {first.runtime} is not known: history holds no cost of it and the settings no price"
    return ""


def _is_unreliable(item: candidate_score.CandidateScore, market: workloads.Market) -> bool:
    """Whether it failed more often than not, in as many runs as make a forecast trusted."""
    failures, samples = item.estimate.failures, item.estimate.samples
    return samples + failures >= market.min_samples and failures > samples


def _select_by_rules(
    order: list[candidate_score.CandidateScore], scores: list[candidate_score.CandidateScore], why_rules: str
) -> workloads.Selection:
    first = order[0]
    priority = f" by its priority {first.state.priority}" if first.state.priority else ""
    why = f"by the rules, {first.rule or f'it is the next usable runtime{priority}'} ({why_rules})"
    reasons = {first.runtime: f"CHOSEN {why}"}
    for item in order[1:]:
        reasons[item.runtime] = f"not chosen: the rules prefer {first.runtime}{_format_outlook(item)}"
    return _build_selection(first, "rules", f"{first.runtime} {why}", _put_first(order, scores), reasons)


@dataclass(frozen=True, slots=True)
class _Ranking:
    """The candidates that compete by history, the best first; punctual: those that may win under the deadline."""

    measure: Measure
    ranked: list[candidate_score.CandidateScore]
    punctual: list[candidate_score.CandidateScore]

    @property
    def best(self) -> candidate_score.CandidateScore:
        return self.ranked[0]

    def explain(self, item: candidate_score.CandidateScore, min_samples: int) -> str:
        """Why `item` is not the best."""
        outlook, best = _format_outlook(item), self.best
        if not item.is_trusted:
            return f"{_format_runs(item)}, {min_samples} are needed before its forecast is trusted{outlook}"
        if item not in self.ranked:
            return f"its cost is not known{outlook}"
        if item not in self.punctual and best in self.punctual:
            ours, theirs = item.deadline_probability or 0, best.deadline_probability or 0
            return f"it would meet the deadline with {ours:.0%}, {best.runtime} with {theirs:.0%}"
        ratio = _score(item, self.measure) / max(_score(best, self.measure), MIN_SCORE)
        doubt = ", too little to be sure" if ratio < 1 else ""
        return f"{self.measure} {ratio:.3g} times that of {best.runtime}{doubt}{outlook}"


def _select_by_history(
    workload: workloads.Workload,
    order: list[candidate_score.CandidateScore],
    scores: list[candidate_score.CandidateScore],
    market: workloads.Market,
) -> workloads.Selection:
    ranking = _rank_by_history(order, workload)
    best = ranking.best
    names = {item.runtime for item in ranking.ranked}
    rest = [item for item in order if item.runtime not in names]
    others = [*ranking.ranked[1:], *rest]
    reasons = {item.runtime: f"not chosen: {ranking.explain(item, market.min_samples)}" for item in others}
    why_not = "; ".join(f"{item.runtime} {reasons[item.runtime]}" for item in others)
    outlook = _format_outlook(best)
    why = f"{best.runtime} by its history{outlook} (least {ranking.measure}); {why_not}"
    reasons[best.runtime] = f"CHOSEN by its history{outlook}"
    return _build_selection(best, "learned", why, _put_first([best, *others], scores), reasons)


def _rank_by_history(order: list[candidate_score.CandidateScore], workload: workloads.Workload) -> _Ranking:
    comparable, measure = _comparable_candidates([item for item in order if item.is_trusted], workload)
    punctual = _punctual_candidates(comparable)
    ranked = sorted(
        comparable,
        key=lambda item: (item not in punctual, _cautious_score(item, measure, order[0].runtime), _priority(item)),
    )
    return _Ranking(measure, ranked, punctual)


def _comparable_candidates(
    trusted: list[candidate_score.CandidateScore], workload: workloads.Workload
) -> tuple[list[candidate_score.CandidateScore], Measure]:
    """Those that can be compared, and the measure they are compared by."""
    priced = [item for item in trusted if item.cost_usd is not None]
    if workload.objective == "time" or not priced:
        return trusted, "expected time"
    if workload.objective == "cost":
        return priced, "expected cost"
    return (trusted, "expected time") if len(priced) < len(trusted) else (trusted, "expected cost times expected time")


def _punctual_candidates(
    comparable: list[candidate_score.CandidateScore],
) -> list[candidate_score.CandidateScore]:
    likeliest = max((item.deadline_probability or 0.0) for item in comparable)
    least = MIN_DEADLINE_PROBABILITY if likeliest >= MIN_DEADLINE_PROBABILITY else likeliest - DEADLINE_TIE
    return [item for item in comparable if (item.deadline_probability or 0.0) >= least]


def _score(item: candidate_score.CandidateScore, measure: Measure) -> float:
    cost, time = item.cost_usd or 0.0, item.time_s or 0.0
    if measure == "expected cost":
        return cost
    return time if measure == "expected time" else cost * time


def _cautious_score(item: candidate_score.CandidateScore, measure: Measure, rules_pick: str) -> float:
    """Log of the score with its uncertainty counted against it; the rules' pick has the benefit of the doubt."""
    cost, time = item.estimate.cost, item.estimate.duration
    parts = [cost] if measure == "expected cost" else [time] if measure == "expected time" else [cost, time]
    uncertainty = math.hypot(sum(part.uncertainty for part in parts if part), item.waste_deviation * len(parts))
    caution = BORROWED_CAUTION if item.is_borrowed else CAUTION
    caution = 0.0 if item.runtime == rules_pick else caution
    return math.log(max(_score(item, measure), MIN_SCORE)) + caution * uncertainty


def _put_first(
    first: list[candidate_score.CandidateScore], scores: list[candidate_score.CandidateScore]
) -> list[candidate_score.CandidateScore]:
    """`first`, then the other eligible ones, then the ineligible."""
    names = {item.runtime for item in first}
    rest = [item for item in scores if item.runtime not in names]
    return [*first, *sorted(rest, key=lambda item: bool(item.ineligible_reason))]


def _build_selection(
    chosen: candidate_score.CandidateScore | None,
    mode: workloads.Mode,
    why: str,
    scores: list[candidate_score.CandidateScore],
    reasons: dict[str, str],
    error: str | None = None,
) -> workloads.Selection:
    namespace = _namespace(chosen, mode) if chosen else None
    return workloads.Selection(
        runtime=chosen.runtime if chosen else None,
        mode=mode,
        reason=f"{why}; namespace {namespace}" if namespace else why,
        error=error,
        namespace=namespace,
        candidates=[_build_candidate(item, reasons.get(item.runtime, "")) for item in scores],
    )


def _namespace(chosen: candidate_score.CandidateScore, mode: workloads.Mode) -> str | None:
    """The caller's for this runtime; where nobody names one, the default of the rules, which history does not have."""
    default = None if mode == "learned" else rules.DEFAULT_NAMESPACES.get(chosen.runtime)
    return chosen.state.namespace or default


def _build_candidate(item: candidate_score.CandidateScore, reason: str) -> workloads.Candidate:
    estimate = item.estimate
    unmeasured = "" if item.ineligible_reason or item.state.healthy else "; its health was not measured"
    why = f"not eligible: {item.ineligible_reason}" if item.ineligible_reason else f"{reason}{unmeasured}"
    return workloads.Candidate(
        runtime=item.runtime,
        eligible=not item.ineligible_reason,
        samples=estimate.samples,
        duration_s=estimate.duration and estimate.duration.interval(),
        cost_usd=estimate.cost and estimate.cost.interval(),
        success_probability=estimate.success,
        deadline_probability=item.deadline_probability,
        reason="; ".join([why, *estimate.notes]),
    )


def _format_runs(item: candidate_score.CandidateScore) -> str:
    failures = item.estimate.failures
    return (
        f"{item.runtime} has {item.estimate.samples} successful runs{f' ({failures} more failed)' if failures else ''}"
    )


def _format_outlook(item: candidate_score.CandidateScore) -> str:
    """The expectation as `: about $1.20 and 80 s for each success, from 12 runs`; "" when there is none."""
    parts = []
    if item.cost_usd is not None:
        parts.append(f"${item.cost_usd:.3g}")
    if item.time_s is not None:
        parts.append(f"{item.time_s:.3g} s")
    if not parts:
        return ""
    chance = "" if item.deadline_probability is None else f", {item.deadline_probability:.0%} to meet the deadline"
    return f": about {' and '.join(parts)} for each success, from {item.estimate.samples} runs{chance}"
