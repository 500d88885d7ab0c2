"""Judges the end of a job within its flow: does the loop go on, is the module a success, what runs next.

One rule follows another in the order in which Windmill's status update applies them. The result of the judgement is
either that the flow is finished, or the result that the next push starts from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from wmlocal.engine.errors import WindmillError
from wmlocal.engine.expressions import is_true
from wmlocal.engine.flow_context import FlowContext, Value
from wmlocal.engine.flow_state import ModuleState
from wmlocal.engine.jobs import Ended


@dataclass
class Stop:
    """What a stop condition decided."""

    early: bool = False
    skip: bool = False
    message: str | None = None
    include_result: bool = False

    @property
    def is_error(self) -> bool:
        return self.early and self.message is not None and not self.skip


@dataclass(frozen=True)
class Verdict:
    finished: Ended | None
    result: Any = None


def judge(run: FlowContext, ended: Ended) -> tuple[Verdict, bool]:
    """The verdict, and whether the failure is one that must not be retried.

    A condition that throws fails the step with the bare text as its error; only the failure module may follow.
    """
    if run.job.cancel.requested:
        return Verdict(run.finish_canceled()), False
    try:
        return _judge(run, ended, ended.unrecoverable), ended.unrecoverable
    except WindmillError as error:
        broken = replace(ended, success=False, result={"error": str(error)}, stored_success=None)
        return _judge(run, broken, unrecoverable=True), True


def _judge(run: FlowContext, ended: Ended, unrecoverable: bool) -> Verdict:
    flow = run.state
    module = None if flow.at_failure_step else run.modules[flow.step]
    state = flow.current
    kind = module["value"]["type"] if module else ""
    is_failure_step = flow.at_failure_step and bool(run.modules)
    handled = ended.error_handled and kind != "flow"
    skips_failures = state.is_loop and _skips_failures(module)
    skips_branch = _skips_branch(module, state)
    was_identity = bool(module and module.get("skip_if")) and ended.identity
    stop = _stop_after_if(run, module, state, ended, was_identity)
    tolerated = bool(module and module.get("continue_on_error"))
    if stop.early and ended.stopped is not None and not _own_stop_counts(module, state):
        tolerated = False

    success = ended.success
    if _goes_on(state, module, success or skips_failures or skips_branch, stop):
        _mark(state, ended.job, success)
        run.save()
        return Verdict(None, ended.result)

    results: Any = None
    if state.parallel:
        stop = _stop_after_all(run, module, state) or stop
        success = not stop.is_error and (skips_failures or _all_succeeded(run, module, state))
        handled = not success and run.failure_module is not None
    else:
        stop = _after_sequence(run, module, state, stop)
        _mark(state, ended.job, success)
        excused = state.flow_jobs is not None and (skips_failures or skips_branch)
        success = (success or excused) and not stop.is_error
    if state.flow_jobs is not None:
        results = run.runtime.result_of(state.flow_jobs)

    step_done = success
    if not success and not unrecoverable and tolerated and not state.parallel:
        step_done = run.retry_wait(module or {}, ended.result) is None
    result = ended.result if state.flow_jobs is None else results
    if stop.early and stop.message is not None:
        result = _early_stop_error(stop, result)
    _close(run, state, ended.job, success, stop, was_identity)
    if success:
        flow.forget_retries()
    if step_done:
        flow.step += 1
    is_last = flow.step >= len(run.modules)
    run.save()

    excused_end = not success and is_last and not unrecoverable and (skips_branch or skips_failures or tolerated)
    goes_on = _continues(
        run,
        success,
        stop,
        is_last,
        unrecoverable,
        is_failure_step,
        handled,
        skips_branch or skips_failures or tolerated,
        module,
        ended,
    )
    if goes_on:
        return Verdict(None, result)
    return Verdict(_finish(run, success or excused_end, result, stop, is_failure_step, handled))


def _skips_failures(module: Value | None) -> bool:
    return bool(module and module["value"].get("skip_failures"))


def _skips_branch(module: Value | None, state: ModuleState) -> bool:
    """For branches that run one after another; Windmill's default for `skip_failure` is to not skip."""
    if not module or not state.is_branchall or state.parallel:
        return False
    return bool(module["value"]["branches"][state.branch or 0].get("skip_failure", False))


def _own_stop_counts(module: Value | None, state: ModuleState) -> bool:
    """A stop inside a subflow or a parallel module does not stop this flow; its own condition is asked instead."""
    return state.parallel or bool(module and module["value"]["type"] == "flow")


def _stop_after_if(
    run: FlowContext, module: Value | None, state: ModuleState, ended: Ended, was_identity: bool
) -> Stop:
    if ended.stopped is not None and not _own_stop_counts(module, state):
        return Stop(True, skip=ended.stopped)
    condition = (module or {}).get("stop_after_if")
    if not module or not condition or not ended.success or was_identity:
        return Stop()
    if state.is_branchall or (state.is_loop and state.parallel):
        return Stop()
    names: dict[str, Any] = {}
    if state.flow_jobs is not None and "all_iters" in condition["expr"]:
        names["all_iters"] = run.runtime.result_of(state.flow_jobs)
    return _evaluate_stop(run, condition, ended.result, names)


def _evaluate_stop(run: FlowContext, condition: Value, result: Any, names: dict[str, Any]) -> Stop:
    expression = condition["expr"]
    scope = run.result_scope(result, **names)
    if any(text in expression for text in ("results.", "results[", "results?.")):
        scope = replace(scope, results=run.results(""))
    if not is_true(expression, scope):
        return Stop()
    if condition.get("skip_if_stopped"):
        return Stop(True, skip=True)
    message = condition.get("error_message")
    if message == "":
        message = f"stop after if: {expression}"
    return Stop(True, False, message, bool(condition.get("error_include_result")))


def _goes_on(state: ModuleState, module: Value | None, passed: bool, stop: Stop) -> bool:
    """Whether a sequence of iterations or branches has another one to run."""
    if state.parallel or not passed or stop.early or not module:
        return False
    if state.is_loop:
        return state.items is None or (state.index or 0) + 1 < len(state.items)
    return state.is_branchall and (state.branch or 0) < state.branches - 1


def _mark(state: ModuleState, job: str, success: bool) -> None:
    if state.flow_jobs is not None and state.flow_jobs_success is not None and job in state.flow_jobs:
        state.flow_jobs_success[state.flow_jobs.index(job)] = success


def _after_sequence(run: FlowContext, module: Value | None, state: ModuleState, stop: Stop) -> Stop:
    """A stop inside a loop ends the loop only; then the condition on all iterations is asked."""
    if stop.early and state.is_loop:
        stop = Stop()
    if state.is_loop or (state.is_branchall and not stop.early):
        return _stop_after_all(run, module, state) or stop
    return stop


def _stop_after_all(run: FlowContext, module: Value | None, state: ModuleState) -> Stop | None:
    condition = (module or {}).get("stop_after_all_iters_if")
    if not condition:
        return None
    try:
        stop = _evaluate_stop(run, condition, run.runtime.result_of(state.flow_jobs or []), {})
    except WindmillError as error:
        return Stop(True, False, f"Error evaluating stop_after_all_iters_if expression `{condition['expr']}`: {error}")
    return stop if stop.early else None


def _all_succeeded(run: FlowContext, module: Value | None, state: ModuleState) -> bool:
    jobs = state.flow_jobs or []
    if state.is_branchall and module:
        branches = module["value"]["branches"]
        jobs = [job for job, branch in zip(jobs, branches, strict=False) if not branch.get("skip_failure", False)]
    return all(run.children[job].counts_as_success for job in jobs)


def _early_stop_error(stop: Stop, result: Any) -> Value:
    error: Value = {"name": "EarlyStopError", "message": stop.message}
    if stop.include_result:
        error["result"] = result
    return {"error": error}


def _close(run: FlowContext, state: ModuleState, job: str, success: bool, stop: Stop, was_identity: bool) -> None:
    closed = ModuleState(
        state.id,
        "Success" if success else "Failure",
        job,
        state.flow_jobs,
        state.flow_jobs_success,
        state.branch_chosen,
        skipped=success and ((stop.early and stop.skip) or was_identity),
        failed_retries=[] if state.parallel else list(run.state.failed_jobs),
    )
    run.state.set_current(closed)
    if not run.state.at_failure_step:
        jobs = closed.jobs
        if jobs is not None:
            run.job.leaf_jobs.of_step[closed.id] = jobs


def _continues(
    run: FlowContext,
    success: bool,
    stop: Stop,
    is_last: bool,
    unrecoverable: bool,
    is_failure_step: bool,
    handled: bool,
    excused: bool,
    module: Value | None,
    ended: Ended,
) -> bool:
    can_handle = run.failure_module is not None
    if stop.early:
        return stop.message is not None and can_handle
    if success:
        return not is_last
    if unrecoverable:
        return not is_failure_step and not handled and can_handle
    if excused:
        return not is_last
    if _retries(run, module, ended, is_failure_step):
        return True
    return not is_failure_step and not handled and can_handle


def _retries(run: FlowContext, module: Value | None, ended: Ended, is_failure_step: bool) -> bool:
    asked = run.failure_module if is_failure_step else module
    return asked is not None and run.retry_wait(asked, ended.result) is not None


def _finish(run: FlowContext, success: bool, result: Any, stop: Stop, is_failure_step: bool, handled: bool) -> Ended:
    recovered = isinstance(result, dict) and result.get("recover") is True
    ended = run.finish(success and (not is_failure_step or recovered), result, skipped=stop.early and stop.skip)
    return replace(
        ended,
        success=success and not is_failure_step,
        error_handled=handled or is_failure_step,
        stopped=stop.skip if stop.early else None,
    )


def fail_between_steps(run: FlowContext, error: WindmillError) -> Ended:
    """An error of the flow itself between two steps ends it; its failure module is not asked.

    The flow above is given the result of the step before, as on a server, and not the error.
    """
    ended = run.finish(False, {"error": {"message": str(error), "name": "InternalError"}})
    return replace(ended, result=run.last) if run.job.parent else ended
