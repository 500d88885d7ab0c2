# requirements: flexcore_kubernetes
"""What a canary is allowed to do next: the shares of each step, and what the checks of a step say. Pure.

candidate has no ready endpoint                          bad; inconclusive when the stable version has none either
errors surely above what is allowed                      bad, as soon as they are; inconclusive when stable fails, too
fewer requests than min_requests, or none measured       inconclusive
errors above what is allowed, but too few to be sure     inconclusive
latency above max_latency_ratio times the baseline's     bad
all that was asked for is measured and within limits     good

Good alone promotes: what was not measured is null, and null is never good. The baseline is the stable version at the
same time; at 100 %, where nobody asks it any more, its errors count as none and its last known latency stands for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Answer = Literal["good", "bad", "inconclusive"]
Shares = dict[str, int]

# One-sided 95 %: the share of errors that the candidate has at least.
CONFIDENCE_Z = 1.645
# One or two failed requests are no pattern, whatever their share.
MIN_ERRORS = 3
# Below that a ratio of latencies is noise of the network, not of the model.
MIN_LATENCY_DIFFERENCE_S = 0.01
WHOLE = 100


@dataclass(frozen=True, slots=True)
class Limits:
    """max_error_rate: 0..1; max_latency_ratio: 0 means that latency is not compared."""

    min_requests: int
    max_error_rate: float
    max_latency_ratio: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One version within one window; None is not measured. ready: its endpoints that take requests; latency_s: in the
    statistic of whoever measured, the same for both versions; latency_low_s: its lower bound at 95 % confidence."""

    requests: int | None = None
    errors: int | None = None
    latency_s: float | None = None
    latency_low_s: float | None = None
    ready: int | None = None

    @property
    def error_rate(self) -> float | None:
        if not self.requests or self.errors is None:
            return None
        return min(self.errors / self.requests, 1.0)


@dataclass(frozen=True, slots=True)
class Judgement:
    answer: Answer
    reason: str


def judge(
    candidate: Sample,
    baseline: Sample,
    limits: Limits,
    earlier_latency_s: float | None = None,
    *,
    is_over: bool = True,
) -> Judgement:
    """What the checks of one step say. earlier_latency_s: the baseline's, from when it last had requests; is_over:
    whether the pause is: a slow beginning is no verdict yet, errors are."""
    return (
        _judge_readiness(candidate, baseline)
        or _judge_errors(candidate, baseline, limits)
        or _judge_latency(candidate, baseline.latency_s or earlier_latency_s, limits, is_over)
        or Judgement("good", _describe(candidate))
    )


def _judge_readiness(candidate: Sample, baseline: Sample) -> Judgement | None:
    if candidate.ready is None:
        return Judgement("inconclusive", "The candidate's endpoints could not be read")
    if candidate.ready:
        return None
    if baseline.ready == 0:
        return Judgement("inconclusive", "Neither version has a ready endpoint")
    return Judgement("bad", "The candidate has no ready endpoint")


def _judge_errors(candidate: Sample, baseline: Sample, limits: Limits) -> Judgement | None:
    requests, errors = candidate.requests, candidate.errors
    if requests is None or errors is None:
        return Judgement("inconclusive", "The candidate's requests were not measured")
    rate, usual = candidate.error_rate or 0.0, baseline.error_rate or 0.0
    allowed = max(limits.max_error_rate, usual)
    if errors >= MIN_ERRORS and lower_bound(errors, requests) > allowed:
        return Judgement("bad", f"{_share(candidate)} failed, allowed are {allowed:.2%}{_beside(baseline)}")
    if requests < limits.min_requests:
        return Judgement("inconclusive", f"The candidate got {requests} of the {limits.min_requests} requests it needs")
    if rate > allowed:
        return Judgement(
            "inconclusive", f"{_share(candidate)} failed{_beside(baseline)}: too few to be sure, too many to go on"
        )
    if rate > limits.max_error_rate:
        return Judgement("inconclusive", f"Both versions fail: {_share(candidate)} failed{_beside(baseline)}")
    return None


def _judge_latency(candidate: Sample, reference_s: float | None, limits: Limits, is_over: bool) -> Judgement | None:
    if not limits.max_latency_ratio:
        return None
    if candidate.latency_s is None or reference_s is None:
        whose = "candidate's" if candidate.latency_s is None else "stable version's"
        return Judgement("inconclusive", f"The {whose} latency was not measured (max_latency_ratio 0 does without it)")
    allowed_s = max(limits.max_latency_ratio * reference_s, reference_s + MIN_LATENCY_DIFFERENCE_S)
    if candidate.latency_s <= allowed_s:
        return None
    text = f"It takes {_milliseconds(candidate.latency_s)}, the stable version {_milliseconds(reference_s)}"
    surely_s = candidate.latency_s if candidate.latency_low_s is None else candidate.latency_low_s
    if is_over and surely_s > allowed_s:
        return Judgement("bad", f"{text}: more than {limits.max_latency_ratio:g} times as long")
    return Judgement("inconclusive", f"{text}: too few to be sure that it is slower, too slow to go on")


def find_remedy(candidate: Sample, baseline: Sample) -> str:
    """What to do about checks that were inconclusive, by what is known of both versions."""
    if candidate.ready is None:
        return "Let the endpoints be read (list endpointslices, as in resources/kubernetes/rbac.yaml)"
    if not candidate.ready:
        return "See why the pods of neither version are ready"
    if candidate.requests is None or candidate.errors is None:
        return "Check that what measures them answers (prometheus_url), or use measure probes"
    if candidate.errors >= MIN_ERRORS and baseline.errors:
        return "See why the stable version fails, too, or raise max_error_rate"
    return "Send requests, raise pause_s, or lower min_requests"


def lower_bound(errors: int, requests: int) -> float:
    """The share of errors that there is at least, at 95 % confidence: Wilson's score interval (Wilson 1927)."""
    if requests <= 0:
        return 0.0
    rate, square = min(errors / requests, 1.0), CONFIDENCE_Z**2
    center = rate + square / (2 * requests)
    width = CONFIDENCE_Z * math.sqrt(rate * (1 - rate) / requests + square / (4 * requests**2))
    return max(0.0, (center - width) / (1 + square / requests))


def median_lower_bound(ordered: Sequence[float]) -> float | None:
    """What the median of such values is at least, at 95 % confidence: an order statistic. None without values."""
    count = len(ordered)
    if not count:
        return None
    rank = math.floor(count / 2 - CONFIDENCE_Z * math.sqrt(count) / 2)
    return ordered[max(0, rank)]


def _share(sample: Sample) -> str:
    return f"{sample.errors} of {sample.requests} requests to it"


def _beside(baseline: Sample) -> str:
    if baseline.error_rate is None:
        return ""
    return f" (stable version at the same time: {baseline.errors} of {baseline.requests})"


def _describe(candidate: Sample) -> str:
    latency = "" if candidate.latency_s is None else f", {_milliseconds(candidate.latency_s)}"
    return f"{candidate.requests} requests, {candidate.errors} failed{latency}"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


# --- shares


def split_weights(stable: str, candidate: str, weight: int) -> Shares:
    """Of a route: percents, which add up to 100."""
    return {stable: WHOLE - weight, candidate: weight}


def split_replicas(stable: str, candidate: str, weight: int, total: int) -> Shares:
    """Of two Deployments behind one Service: as near to the weight as `total` replicas allow, and at least one each
    while both are meant to answer, so that few replicas give the candidate more than was asked for."""
    if weight in (0, WHOLE):
        return {stable: 0 if weight else total, candidate: total if weight else 0}
    ours = max(1, round(total * weight / WHOLE))
    return {stable: max(1, total - ours), candidate: ours}


def find_other_shares(shares: Mapping[str, int], stable: str, candidate: str) -> dict[str, int]:
    """Those of further versions that get requests: two are moved, not three."""
    return {name: share for name, share in shares.items() if share and name not in (stable, candidate)}
