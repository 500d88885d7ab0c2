"""Holds a flow back until its approvals have come, someone refuses, or the time is up."""

from __future__ import annotations

import time
from typing import Any

from wmlocal.engine.flow_context import FlowCanceled, FlowContext
from wmlocal.engine.flow_state import ModuleState
from wmlocal.engine.jobs import Ended

# Windmill's default, in seconds.
DEFAULT_TIMEOUT_S = 30 * 60
# Messages of this engine's API wake the flow at once; one that another engine wrote is seen this late.
POLL_INTERVAL_S = 1.0


def wait_for_resume(run: FlowContext, suspend: dict[str, Any], state: ModuleState) -> Ended | None:
    """None when the flow may go on, its messages being in `run.approval`; else the failure."""
    needed = int(suspend["required_events"])
    tolerant = bool(suspend.get("continue_on_disapprove_timeout"))
    before = run.state.modules[run.state.step - 1]
    messages = run.runtime.store.resumes(before.job or "", run.job.id)
    if not _is_decided(messages, needed):
        messages = _park(run, suspend, state, before, needed)
    refused = next((message for message in messages if not message["approved"]), None)
    if refused is None and len(messages) >= needed:
        _take(run, before, messages, [message["value"] for message in messages])
        return None
    error = (
        {"message": f"Disapproved by {refused['approver'] or 'unknown'}", "name": "SuspendedDisapproved"}
        if refused
        else {"message": "Timed out waiting to be resumed", "name": "SuspendedTimedOut"}
    )
    if tolerant:
        _take(run, before, messages, [message["value"] for message in messages] + [{"error": error}])
        return None
    run.runtime.add_log(run.job, error["message"])
    return run.without_job(False, {"error": error}, final=True)


def _is_decided(messages: list[dict[str, Any]], needed: int) -> bool:
    return len(messages) >= needed or any(not message["approved"] for message in messages)


def _park(run: FlowContext, suspend: dict[str, Any], state: ModuleState, before: ModuleState, needed: int) -> list[Any]:
    run.state.set_current(ModuleState(state.id, "WaitingForEvents", before.job, count=needed))
    limit = suspend.get("timeout")
    over = run.runtime.recovered.went_past(run.job.id, state.id)
    deadline = time.monotonic() + (0 if over else DEFAULT_TIMEOUT_S if limit is None else limit)
    run.runtime.suspended(run.job, run.state)
    run.requeued = True
    with run.runtime.resume_signal(run.job) as signal:
        while True:
            signal.clear()
            messages = run.runtime.store.resumes(before.job or "", run.job.id)
            left = deadline - time.monotonic()
            if run.job.cancel.requested:
                raise FlowCanceled
            if _is_decided(messages, needed) or left <= 0:
                run.runtime.resumed(run.job)
                return messages
            signal.wait(min(left, POLL_INTERVAL_S))


def _take(run: FlowContext, before: ModuleState, messages: list[Any], values: list[Any]) -> None:
    names = [message["approver"] or "anonymous" for message in messages]
    run.approval = {"resume": values[-1] if values else None, "resumes": values, "approvers": names}
    before.approvers = [
        {"resume_id": message["resume_id"], "approver": message["approver"] or "unknown"} for message in messages
    ]
