"""Executes one flow job, module by module, as Windmill's flow worker does.

    push   decide what the current module asks for, start it, wait for it       (this file, flow_plan.py)
    judge  decide what its end means: next iteration, next module, the end      (flow_judge.py)

Flows inside flows (branches, iterations, subflows) are jobs of their own, run by a FlowRun of their own. The order of
the rules is Windmill's, because it shows: which of two conditions is asked first decides what a flow returns.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from wmlocal.engine import flow_judge, flow_plan
from wmlocal.engine.errors import WindmillError
from wmlocal.engine.expressions import is_true
from wmlocal.engine.flow_context import EMPTY, NOTHING, FlowCanceled, FlowContext, Value
from wmlocal.engine.flow_plan import Plan
from wmlocal.engine.flow_state import NO_JOB, ModuleState, has_attempts
from wmlocal.engine.jobs import Child, Ended, Job, LeafJobs
from wmlocal.engine.jsonb import as_jsonb
from wmlocal.engine.suspend import wait_for_resume

# What a server's field for a time-out can hold.
I32_MAX = 2**31 - 1
# Threads of one parallel step; the processes are limited by the runtime, whatever the number of threads.
MAX_THREADS = 64


class FlowRun(FlowContext):
    """Goes through the modules of one flow job."""

    # The loop

    def run(self) -> Ended:
        job = self.job
        job.leaf_jobs = job.leaf_jobs if job.innermost and job.parent else LeafJobs(_enclosing(job))
        self._resolve_env()
        self.save()
        if self.value.get("preprocessor_module"):
            finished = self._preprocess(self.value["preprocessor_module"])
            if finished:
                return finished
        unrecoverable = False
        while True:
            try:
                ended = self._push(self.last, unrecoverable)
            except FlowCanceled:
                return self.finish_canceled()
            except WindmillError as error:
                if not self.requeued:
                    return flow_judge.fail_between_steps(self, error)
                result = {"error": {"message": str(error), "name": "Anyhow"}}
                if job.parent:
                    return self.finish(False, result)
                ended = self.without_job(False, result)
            self.requeued = False
            try:
                verdict, unrecoverable = flow_judge.judge(self, ended)
            except WindmillError as error:
                return flow_judge.fail_between_steps(self, error)
            if verdict.finished:
                return verdict.finished
            self.last = verdict.result

    # The preprocessor

    def _preprocess(self, module: Value) -> Ended | None:
        """The flow's end, or None when its steps, or a retry of its failure module, are to run."""
        try:
            ended = self._run_preprocessor(module)
        except FlowCanceled:
            return self.finish_canceled()
        except WindmillError as error:
            return self.finish(False, {"error": {"message": str(error), "name": "Anyhow"}})
        if ended is None:
            return None
        if self.job.cancel.requested:
            return self.finish_canceled()
        if not self.state.at_failure_step:
            return self.finish(False, ended.result)
        verdict, _ = flow_judge.judge(self, ended)
        self.last = verdict.result
        return verdict.finished

    def _run_preprocessor(self, module: Value) -> Ended | None:
        """None when the arguments are made; else the end of the preprocessor, or of the failure module that followed.

        A server runs it where the flow is started by its path, with the whole request as `event`; not in a preview, not
        for a subflow, and not with `skip_preprocessor`. A failure is retried as the module says.
        """
        event = self.job.args
        while True:
            state = ModuleState(module["id"], failed_retries=list(self.state.failed_jobs))
            ended = self._attempt_preprocessor(module, state, event)
            if ended.success:
                self.state.forget_retries()
                self.replace_arguments(_as_arguments(ended.result))
                return None
            wait = self.retry_wait(module, ended.result)
            if wait is None:
                break
            self.state.failed_jobs.append(ended.job)
            self.state.fail_count += 1
            self.wait(wait)
        if self.failure_module is None:
            return ended
        if has_attempts(self.failure_module.get("retry")):
            self.state.forget_retries()
        return self._run_failure_module(module["id"], ended.result)

    def _attempt_preprocessor(self, module: Value, state: ModuleState, event: dict[str, Any]) -> Ended:
        child = flow_plan.plan_preprocessor(self, module, event)
        job = self._job_for(child, module, self._timeout(module, event), 0.0)
        self.runtime.add(job, None)
        self.state.preprocessor = replace(state, type="WaitingForExecutor", job=job.id)
        self.save()
        ended = self._run_child(job, child)
        kind: Any = "Success" if ended.success else "Failure"
        self.state.preprocessor = replace(state, type=kind, job=job.id)
        self.save()
        return ended

    def _run_failure_module(self, failed_step: str, result: Any) -> Ended:
        """For a failure that came before the first step."""
        self.state.failure_parent = failed_step
        module = self._failure()
        plan = flow_plan.plan(self, module, self.state.failure, result, failed_step, True, None)
        return plan if isinstance(plan, Ended) else self._start(plan, module, True, result, 0.0)

    def _resolve_env(self) -> None:
        own = self.value.get("flow_env")
        inherited = self.job.parent.flow_env if self.job.parent else None
        self.job.flow_env = inherited
        if own is not None:
            try:
                self.job.flow_env = as_jsonb(self.runtime.variables.interpolate(own, "flow_env"))
            except Exception:  # as on a server: an unresolvable reference stays as it is written
                self.job.flow_env = own

    # Push: from the state to a child that has ended

    def _push(self, last: Any, unrecoverable: bool) -> Ended:
        state = self.state.current
        if not self.modules or state.type == "Success":
            return self.nothing_to_run(state, last)
        first = self.state.step == 0
        if first and self.value.get("skip_expr"):
            names = {"result": EMPTY, "previous_result": EMPTY, "WM_SCHEDULED_FOR": _utc(self.job)}
            if is_true(self.value["skip_expr"], self.scope(names)):
                return self.without_job(True, "stopped early", stopped=True, final=True)
        previous = self._previous(state, last)
        self.approval = {"resume": None, "resumes": [], "approvers": []}
        suspend = self._needed_resume(state)
        if suspend:
            refusal = wait_for_resume(self, suspend, state)
            if refusal:
                return refusal
            state = self.state.current
            previous = self._previous(state, NOTHING) if self.requeued else previous
        return self._push_module(state, previous, unrecoverable)

    def _previous(self, state: ModuleState, last: Any) -> Any:
        if state.type == "Failure":
            return EMPTY if last is NOTHING else last
        if self.state.step == 0:
            return self.job.args
        return self._result_before() if last is NOTHING else last

    def _result_before(self) -> Any:
        if self.state.step == 0:
            return self.job.args
        before = self.state.modules[min(self.state.step, len(self.modules)) - 1]
        if before.type != "Success" or (before.flow_jobs is None and before.job == NO_JOB):
            return EMPTY
        return self.runtime.result_of(before.jobs)

    def _needed_resume(self, state: ModuleState) -> Value | None:
        if state.type not in ("WaitingForPriorSteps", "WaitingForEvents") or self.state.step == 0:
            return None
        if self.state.at_failure_step:
            return None
        suspend: Value | None = self.modules[self.state.step - 1].get("suspend")
        before = self.state.modules[self.state.step - 1]
        needed = bool(suspend and (suspend.get("required_events") or 0))
        return suspend if needed and before.type == "Success" and not before.skipped else None

    def _push_module(self, state: ModuleState, previous: Any, unrecoverable: bool) -> Ended:
        failing = self.state.at_failure_step
        module = self._failure() if failing else self.modules[self.state.step]
        previous_id = self.modules[self.state.step - 1]["id"] if 0 < self.state.step < len(self.modules) else ""
        delay = self._sleep_before(state, previous)
        reused: str | None = None
        if state.type == "Failure":
            wait = None if unrecoverable else self.retry_wait(module, previous)
            if wait is not None:
                delay, reused = wait, state.job
                state, previous = self._begin_retry(state, failing, previous)
            elif not module.get("continue_on_error") or unrecoverable:
                previous_id, module, failing = module["id"], self._failure(), True
                self.state.failure_parent = previous_id
                state = self.state.failure
                if has_attempts(module.get("retry")):
                    self.state.forget_retries()
        plan = flow_plan.plan(self, module, state, previous, previous_id, failing, reused)
        if isinstance(plan, Ended):
            return plan
        return self._start(plan, module, failing, previous, delay)

    def _failure(self) -> Value:
        if self.failure_module is None:
            raise WindmillError("missing failure module", "InternalErr")
        return self.failure_module

    def _begin_retry(self, state: ModuleState, failing: bool, previous: Any) -> tuple[ModuleState, Any]:
        """The failed attempt's error is used up: what is evaluated again sees the result of the step before."""
        self.state.failed_jobs.append(state.job or NO_JOB)
        self.state.fail_count += 1
        self.runtime.emit("retrying", self.job, step_id=state.id, message=f"attempt {self.state.fail_count + 1}")
        fresh = ModuleState(state.id, failed_retries=list(self.state.failed_jobs))
        return fresh, previous if failing else self._result_before()

    def _sleep_before(self, state: ModuleState, previous: Any) -> float:
        if state.type not in ("WaitingForPriorSteps", "WaitingForEvents") or not 0 < self.state.step < len(
            self.modules
        ):
            return 0.0
        sleep = self.modules[self.state.step - 1].get("sleep")
        if sleep is None:
            return 0.0
        try:
            seconds = self.transform(sleep, self.scope({"result": previous, "previous_result": previous}))
        except WindmillError as error:
            raise WindmillError(f"Expected a number value, had error instead: {error}") from None
        if (
            isinstance(seconds, bool)
            or not isinstance(seconds, int | float)
            or (isinstance(seconds, int) and seconds < 0)
        ):
            raise WindmillError(f"Expected an integer, found: {_rust(seconds)}")
        return max(0.0, float(seconds))

    # Children

    def _start(self, plan: Plan, module: Value, failing: bool, previous: Any, delay: float) -> Ended:
        timeout = self._timeout(module, previous)
        at_once = self._parallelism(module, previous, len(plan.children)) if plan.parallel else 1
        jobs = [
            self._job_for(child, module, timeout if timeout is not None else child.timeout, delay)
            for child in plan.children
        ]
        if self.value.get("same_worker") and len(jobs) != 1:
            raise WindmillError(
                "Bad request: Cannot continue on same worker with multiple jobs, parallel cannot be used in"
                " conjunction with same_worker",
                "BadRequest",
            )
        for job, child in zip(jobs, plan.children, strict=True):
            if module.get("retry"):
                self._args_of[job.id] = job.args
            self.runtime.add(job, child.value)
        self.runtime.mark_for_deletion(self.job.root, [job.id for job in jobs], module)
        self._enter(plan.entered([job.id for job in jobs]), failing)
        if plan.parallel:
            return self._run_parallel(plan, jobs, at_once)
        delay = self.runtime.recovered.delay(jobs[0], delay)
        if delay and jobs[0].cancel.event.wait(delay):
            self.runtime.fail_unstarted(jobs[0], jobs[0].cancel.as_error())
            raise FlowCanceled
        ended = self._run_child(jobs[0], plan.children[0])
        self.children[ended.job] = ended
        return ended

    def _enter(self, state: ModuleState, failing: bool) -> None:
        if failing:
            self.state.step = len(self.modules)
        self.state.set_current(state)
        self.save()

    def _job_for(self, child: Child, module: Value, timeout: float | None, delay: float) -> Job:
        own_scope = module["value"]["type"] == "flow" or (
            module["value"]["type"] == "forloopflow" and bool(module["value"].get("parallel"))
        )
        waits = module.get("suspend") is not None or module.get("sleep") is not None
        keeps_worker = bool(self.value.get("same_worker")) and not waits
        job = Job(
            child.kind,
            child.path,
            child.args,
            module["id"],
            self.job,
            same_worker=keeps_worker,
            timeout=timeout,
            innermost=None if own_scope else self.job.innermost or self.job.id,
            id=self.runtime.recovered.id_of(self.job.id, module["id"], child.kind, child.path),
        )
        job.scheduled = time.time() + delay if delay else None
        job.leaf_jobs = self.job.leaf_jobs
        return job

    def _timeout(self, module: Value, previous: Any) -> float | None:
        if module.get("timeout") is None:
            return None
        scope = self.scope({"result": previous, "previous_result": previous}, self.results(""))
        seconds = self.transform(module["timeout"], scope)
        if seconds is None or (isinstance(seconds, int) and seconds > I32_MAX):
            raise WindmillError(_no_i32(seconds, module["timeout"]))
        if isinstance(seconds, bool) or not isinstance(seconds, int):
            raise WindmillError(f"Error parsing result as i32: invalid type: {_rust(seconds)}, expected i32")
        if seconds < 0:
            raise WindmillError("Timeout value cannot be negative")
        return float(seconds)

    def _parallelism(self, module: Value, previous: Any, jobs: int) -> int:
        given = module["value"].get("parallelism")
        if given is None or module["value"]["type"] != "forloopflow":
            return jobs
        number = self.transform(given, self.scope({"result": previous, "previous_result": previous}, self.results("")))
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise WindmillError(f"Error parsing result as u16: invalid type: {_rust(number)}, expected u16")
        return max(1, number)

    def _run_parallel(self, plan: Plan, jobs: list[Job], at_once: int) -> Ended:
        state = self.state.current

        def run(position: int) -> Ended:
            ended = self._run_child(jobs[position], plan.children[position])
            self.children[ended.job] = ended
            if state.flow_jobs_success is not None:
                state.flow_jobs_success[position] = ended.success
            return ended

        with ThreadPoolExecutor(min(at_once, len(jobs), MAX_THREADS)) as pool:
            ended = list(pool.map(run, range(len(jobs))))
        failed = next((item for item in ended if not item.success), ended[-1])
        # A stop inside one of several parallel jobs stops that job only.
        return replace(failed, stopped=None)

    def _run_child(self, job: Job, child: Child) -> Ended:
        if child.error is not None:
            return self.runtime.fail_unstarted(job, child.error.as_result())
        if child.kind == "identity":
            return self.runtime.finish_identity(job)
        if child.value is not None:
            self.runtime.start(job)
            return FlowRun(self.runtime, job, child.value).run()
        assert child.run is not None
        return child.run(job)


def _enclosing(job: Job) -> LeafJobs | None:
    return job.parent.leaf_jobs if job.parent else None


def _utc(job: Job) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(job.scheduled or job.created))


def _no_i32(number: int | None, transform: Value) -> str:
    """What a server says of a time-out that its 32-bit field cannot take."""
    text = json.dumps(number)
    found = "type: null" if number is None else f"value: integer `{number}`"
    static = transform.get("type") == "static"
    where = f"invalid {found}, expected i32 at line 1 column {len(text)}{'' if static else f'. Value was: {text}'}"
    return f"Error parsing {'static value' if static else 'result'} as i32: {where}"


def _rust(value: Any) -> str:
    """A JSON value as Windmill's messages show it."""
    if isinstance(value, bool):
        return f"Bool({str(value).lower()})"
    if isinstance(value, str):
        return f'String("{value}")'
    if isinstance(value, int | float):
        return f"Number({value})" if isinstance(value, float) else str(value)
    return {type(None): "Null", list: f"Array {value}", dict: f"Object {value}"}.get(type(value), str(value))


def _as_arguments(result: Any) -> dict[str, Any]:
    """As a server takes what a preprocessor returned: an object as it is, null as none, anything else as `value`."""
    return result if isinstance(result, dict) else {} if result is None else {"value": result}
