# requirements: flexcore_base
"""What a step does next, decided from the attempts that its execution has had. Pure.

    last attempt                                next
    none, or it ended without doing the work    Create the next one
    running                                     Attach
    succeeded                                   Return its result
    failed, and would fail the same way again   Raise its error
    failed, in this very call                   Raise its error
    failed, in an earlier call                  Create the next one; this call is a retry

A call is one Windmill job: a worker that died has its job run again under the same id, a retry gets a new one.

Who repeats what: a step is retried by its flow (`retry` in flow.yaml), so far as this table lets it; a request to
Kubernetes by kubernetes/client; a data pipeline's work goes to the next candidate by pipeline/attempts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from f.flexcore.lib.core import contracts, errors

State = Literal["running", "succeeded", "failed", "abandoned"]
# Retries are the flow's to count; an execution beyond this has a retry that was never meant to end.
MAX_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt as its record or its runtime knows it.

    state abandoned: it ended without doing the work (its worker died, or it found out what the next one needs).
    call: the Windmill job that made it, "" when unknown. result and error: of an attempt whose end is recorded; one
    that only its runtime knows has a remote instead. findings: what an abandoned attempt leaves to the next one.
    """

    number: int
    state: State
    remote: contracts.Remote | None = None
    call: str = ""
    is_deterministic: bool = False
    result: contracts.StepResult | None = None
    error: errors.FlexcoreError | None = None
    findings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Create:
    number: int


@dataclass(frozen=True, slots=True)
class Attach:
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Return:
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Raise:
    attempt: Attempt


Action = Create | Attach | Return | Raise


def next_action(attempts: Sequence[Attempt], call: str) -> Action:
    """The step's next action. attempts: all of its execution, the oldest first. Raises ExecutionFailed when another
    attempt is due and MAX_ATTEMPTS were made."""
    last = attempts[-1] if attempts else None
    if last is not None and last.state == "running":
        return Attach(last)
    if last is not None and last.state == "succeeded":
        return Return(last)
    if last is not None and last.state == "failed" and (last.is_deterministic or (call and last.call == call)):
        return Raise(last)
    number = last.number + 1 if last else 1
    if number > MAX_ATTEMPTS:
        raise errors.ExecutionFailed(
            f"{MAX_ATTEMPTS} attempts have failed",
            category="attempts_spent",
            remedy="Read why in the earlier attempts, then start a new run.",
        )
    return Create(number)


def would_repeat(error: errors.FlexcoreError) -> bool:
    """Whether another attempt would end in the same way: the request or the data is wrong."""
    return isinstance(error, errors.UserError | errors.DataError)
