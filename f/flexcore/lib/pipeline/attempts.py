# requirements: flexcore_base
"""The attempts of the data pipeline, one for each runtime whose turn it was.

A runtime that could not begin the work hands it to the next candidate. Work that has begun and failed is not handed on:
it would fail again, or be done twice.

    ended well                         the loop ends at once; its item is the StepResult
    ended badly, or could not begin    judge_attempt evaluates it; its item is {final, attempt}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from f.flexcore.lib.core import contracts, errors, pipeline_result
from f.flexcore.lib.windmill import client

# Errors of a runtime's own check: nothing was begun yet, and the request is not at fault.
REFUSALS = {"Unreachable", "Unavailable", "Forbidden"}
CHECK = "check"
# Categories by which a runtime says that work was accepted and never began.
NEVER_BEGAN = {
    "unschedulable",
    "suspended",
    "queue_silent",
    "queue_stopped",
    "queue_deactivated",
    "quota_exceeded",
    "admission_unreachable",
    "image_unreachable",
    "sandbox_failed",
    "start_timeout",
    "busy",
    "install_failed",
}
# Ids in the flow: the loop over the runtimes, and the work in it.
LOOP, STEP = "attempts", "attempt"


def could_not_begin(error: Mapping[str, Any]) -> bool:
    """Whether the runtime never began the work: it did not answer or refused before, or could not place it.

    error: Windmill's {name, message, step_id, extra}; extra holds a FlexcoreError's attributes.
    """
    extra = error.get("extra") or {}
    details = extra.get("details") or {}
    if error.get("step_id") == CHECK:
        return error.get("name") in REFUSALS
    # What could not be taken away again may begin after all.
    return extra.get("category") in NEVER_BEGAN and details.get("deleted") is not False


def evaluate_attempt(runtime: str, result: Any, duration_s: float | None) -> pipeline_result.Attempt:
    """result: of an execute flow, or the error that it ended with."""
    runtime = errors.check_value(str, runtime, "runtime")
    error = result.get("error") if isinstance(result, dict) else {"name": "NoResult", "message": "it has no result"}
    if error:
        kept = {name: error.get(name) for name in ("name", "message", "step_id", "extra")}
        started = not could_not_begin(error)
        return pipeline_result.Attempt(
            runtime=runtime, started=started, success=False, duration_s=duration_s, error=kept
        )
    step = errors.validate(contracts.StepResult, result, "result")
    return pipeline_result.Attempt(
        runtime=runtime, started=True, success=step.success, duration_s=duration_s, result=step
    )


def collect(choice: Any, items: Any, windmill: client.Client, flow_job: str) -> list[pipeline_result.Attempt]:
    """The attempts of a run. items: the loop's; flow_job: the data pipeline's."""
    attempts = parse_attempts(items, choice)
    if attempts and attempts[-1].duration_s is None:
        duration_s = read_last_duration_s(windmill, flow_job)
        attempts[-1] = attempts[-1].model_copy(update={"duration_s": duration_s})
    return attempts


def parse_attempts(items: Any, choice: Any) -> list[pipeline_result.Attempt]:
    """The loop's items as attempts, in the order of the choice; a loop that failed leaves other things, too."""
    order = choice.get("order") or [] if isinstance(choice, Mapping) else []
    attempts = []
    for item, runtime in zip(items if isinstance(items, list) else [], order, strict=False):
        try:
            if isinstance(item, dict) and "final" in item:
                attempts.append(pipeline_result.Attempt.model_validate(item["attempt"]))
            else:
                step = contracts.StepResult.model_validate(item)
                attempts.append(
                    pipeline_result.Attempt(runtime=runtime, started=True, success=step.success, result=step)
                )
        except ValidationError:
            continue
    return attempts


def read_last_duration_s(windmill: client.Client, flow_job: str) -> float | None:
    """How long the work of the last turn took. flow_job: the data pipeline's; None when Windmill does not say."""
    try:
        turns = client.find_module(windmill.job(flow_job), LOOP).get("flow_jobs") or []
    except errors.FlexcoreError:
        return None
    return client.read_step_duration_s(windmill, turns[-1], STEP) if turns else None
