# requirements: flexcore_kubernetes
"""What a shift of traffic hands on: each step with what was measured, how it ended, and the error of one that went
back. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from f.flexcore.lib.core import contracts, errors
from f.flexcore.lib.kubernetes import (
    traffic_decision,
    traffic_measure,
    traffic_opening,
    traffic_record,
    traffic_session,
)

Object = dict[str, Any]


def make_step(
    weight: int,
    judgement: traffic_decision.Judgement,
    found: traffic_measure.Measurement,
    window_s: float,
    source: str,
) -> Object:
    return {
        "weight": weight,
        "answer": judgement.answer,
        "reason": judgement.reason,
        "candidate": asdict(found.candidate),
        "baseline": asdict(found.baseline),
        "seconds": round(window_s, 1),
        "measured_by": source,
    }


def describe_shift(opened: traffic_opening.Opened, last: traffic_record.LastShift, steps: Sequence[Object]) -> Object:
    return {
        "route": opened.target.what,
        "mode": opened.mode,
        "namespace": opened.namespace,
        "outcome": last.outcome,
        "shares": last.shares,
        "measured_by": opened.source.name,
        "steps": list(steps),
    }


def make_result(
    opened: traffic_opening.Opened,
    last: traffic_record.LastShift,
    steps: Sequence[Object],
    key: str,
    attempt: int,
    remote: contracts.Remote,
) -> contracts.StepResult:
    """Of a shift that ended as it was asked to."""
    counts = [step["candidate"]["requests"] for step in steps]
    requests = None if None in counts or not counts else sum(counts)
    return contracts.StepResult(
        success=True,
        runtime="kubernetes",
        execution_key=key,
        attempt=attempt,
        data=describe_shift(opened, last, steps),
        metrics={"candidate_requests": requests},
        remote=remote,
    )


def make_error(
    opened: traffic_opening.Opened, last: traffic_record.LastShift, steps: Sequence[Object]
) -> errors.FlexcoreError:
    """Of a shift that went back by itself."""
    stable, candidate = opened.names
    what = {
        "canary_bad": f"{candidate} is worse than {stable}",
        "canary_inconclusive": f"{candidate} is not promoted: the checks are inconclusive",
    }.get(last.category, f"{candidate} gets no requests")
    return errors.ExecutionFailed(
        f"{what}: {last.reason}. {opened.target.what} is back at {traffic_session.describe(last.shares)}",
        subject="candidate",
        category=last.category,
        remedy=f"{choose_remedy(last.category, steps)}; then start a new canary.",
        traffic=describe_shift(opened, last, steps),
    )


def choose_remedy(category: str, steps: Sequence[Object]) -> str:
    """Without its end: what comes before a new canary."""
    if category == "canary_bad":
        return "Correct the candidate and deploy it again"
    if category == "canary_inconclusive" and steps:
        candidate, baseline = (read_sample(steps[-1][name]) for name in ("candidate", "baseline"))
        return traffic_decision.find_remedy(candidate, baseline)
    return "Correct what is named"


def read_sample(stored: Object) -> traffic_decision.Sample:
    """Of a step as `make_step` has written it."""
    fields = traffic_decision.Sample.__dataclass_fields__
    return traffic_decision.Sample(**{name: value for name, value in stored.items() if name in fields})
