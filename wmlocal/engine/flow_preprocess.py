"""Runs a flow's preprocessor, before its first step: what it returns becomes the flow's arguments.

A server does so where the flow is started by its path, with the whole request as `event`; not in a preview, not for a
subflow, and not with `skip_preprocessor`. A failure is retried as the module says, then the failure module runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wmlocal.engine import flow_plan
from wmlocal.engine.flow_state import ModuleState, has_attempts

if TYPE_CHECKING:
    from wmlocal.engine.flow import Ended, FlowRun


def preprocess(run: FlowRun, module: dict[str, Any]) -> Ended | None:
    """None when the arguments are made; else the end of the preprocessor, or of the failure module that followed."""
    event = run.job.args
    while True:
        state = ModuleState(module["id"], failed_retries=list(run.state.failed_jobs))
        plan = flow_plan.plan_preprocessor(run, module, event)
        ended = run.run_preprocessor(plan, module, state, event)
        if ended.success:
            run.state.forget_retries()
            run.replace_arguments(_as_arguments(ended.result))
            return None
        wait = run.retry_wait(module, ended.result)
        if wait is None:
            break
        run.state.failed_jobs.append(ended.job)
        run.state.fail_count += 1
        run.wait(wait)
    if run.failure_module is None:
        return ended
    if has_attempts(run.failure_module.get("retry")):
        run.state.forget_retries()
    return run.run_failure_module(module["id"], ended.result)


def _as_arguments(result: Any) -> dict[str, Any]:
    """As a server takes them: an object as it is, null as none, anything else as `value`."""
    return result if isinstance(result, dict) else {} if result is None else {"value": result}
