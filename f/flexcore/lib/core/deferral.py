# requirements: flexcore_base
"""Work that is waited for without a worker: one step submits, its flow is suspended, another step collects.

submit (wait: defer) ──→ suspended ──`operations/reconcile` sees the end──→ collect (deferred: what submit said)
Both steps name the same execution, so that the second attaches to what the first has started and finds out for itself
how it ended, whoever resumed the flow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import Field

from f.flexcore.lib.core import contracts, errors, identity, remote_objects, resources

BLOCK, DEFER = "block", "defer"


class Deferred(resources.Form):
    """What the submitting step hands to the collecting one: its execution key, and the Windmill job that it was."""

    execution_key: str = Field(pattern=r"^fc-[0-9a-f]{20}$")
    call: str = ""


def read_key_and_call(env: Mapping[str, str], deferred: Any) -> tuple[identity.ExecutionKey, str]:
    """This step's own key and job, or those of the step that has submitted. Raises InvalidInput."""
    key, call = identity.execution_key(env), env.get("WM_JOB_ID", "")
    if not deferred:
        return key, call
    given = errors.validate(Deferred, deferred, "deferred")
    return replace(key, value=given.execution_key), given.call


def is_deferred(wait: str | None, deferred: Any) -> bool:
    """Whether to return as soon as the work is submitted. Raises InvalidInput for an unknown word."""
    if wait not in (None, "", BLOCK, DEFER):
        raise errors.InvalidInput(
            f"wait: {wait!r} is neither {BLOCK} nor {DEFER}", subject="wait", remedy="Use one of them."
        )
    return wait == DEFER and not deferred


def deferral_labels(deferred: bool) -> dict[str, str]:
    return {remote_objects.DEFERRED: "true"} if deferred else {}


def report_submission(
    runtime: str, key: identity.ExecutionKey, call: str, attempt: int, remote: contracts.Remote
) -> dict[str, Any]:
    """Report that the work was submitted, and return the result of the step that did so.

    A StepResult, and `description`, which Windmill shows beside the suspended flow's buttons."""
    print("The flow now waits without a worker; operations/reconcile resumes it when the work has ended", flush=True)
    given = Deferred(execution_key=key.value, call=call)
    result = contracts.StepResult(
        success=True,
        runtime=runtime,
        execution_key=key.value,
        attempt=attempt,
        data={"deferred": given.model_dump(mode="json")},
        remote=remote,
    )
    return result.plain() | {"description": {"markdown": _describe_wait(runtime, remote)}}


def _describe_wait(runtime: str, remote: contracts.Remote) -> str:
    what = f"[`{remote.name}`]({remote.url})" if remote.url else f"`{remote.name}`"
    return (
        f"The {remote.kind.replace('_', ' ')} {what} works on {runtime}; this flow holds no worker meanwhile. There is "
        "nothing to approve: the schedule `f/flexcore/operations/reconcile` resumes the flow when the work has ended. "
        "*Resume* goes on at once, and waits for the end with a worker; *Cancel* ends the flow, and the next pass of "
        "the schedule stops the work."
    )
