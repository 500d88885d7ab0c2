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
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from wmlocal.engine import flow_judge, flow_plan
from wmlocal.engine.errors import WindmillError
from wmlocal.engine.expressions import Scope, evaluate, is_true
from wmlocal.engine.flow_plan import Child, Plan
from wmlocal.engine.flow_preprocess import preprocess
from wmlocal.engine.flow_state import NO_JOB, FlowState, ModuleState, has_attempts, retry_wait
from wmlocal.engine.jobs import Job, LeafJobs
from wmlocal.engine.stored import as_stored
from wmlocal.engine.suspend import wait_for_resume

if TYPE_CHECKING:
    from wmlocal.engine.runtime import Runtime

# "No result was handed over", which is not the same as the result null.
NOTHING: Any = object()
# Windmill's stand-in for a missing previous result: the text, not an object.
EMPTY = "{}"
# What a server's field for a time-out can hold.
I32_MAX = 2**31 - 1
# Threads of one parallel step; the processes are limited by the runtime, whatever the number of threads.
MAX_THREADS = 64

Value = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a job ended, as the flow above sees it.

    `success` can differ from what is stored: a flow that its failure module recovered is stored as a success, and is
    a failure for the flow above. `stopped` is None unless the job stopped early; then it says whether that is a skip.
    """

    job: str
    success: bool
    result: Any
    stopped: bool | None = None
    error_handled: bool = False
    stored_success: bool | None = None
    identity: bool = False
    # Such an end may lead to the failure module, but to no retry, and is not passed over by continue_on_error.
    unrecoverable: bool = False

    @property
    def counts_as_success(self) -> bool:
        return self.success if self.stored_success is None else self.stored_success


class FlowCanceled(Exception):
    """The flow's own job was canceled while it waited."""


class FlowRun:
    def __init__(self, runtime: Runtime, job: Job, value: Value) -> None:
        self.runtime, self.job, self.value = runtime, job, value
        self.modules: list[Value] = with_virtual_module(value.get("modules") or [])
        self.failure_module: Value | None = value.get("failure_module")
        self.state = FlowState([ModuleState(module["id"]) for module in self.modules])
        self.children: dict[str, Ended] = {}
        self._args_of: dict[str, dict[str, Any]] = {}
        # Resume messages of the approval just passed, and what they are called in expressions.
        self.approval: dict[str, Any] = {"resume": None, "resumes": [], "approvers": []}
        # A flow that slept or waited is taken up anew by a worker, which changes how its errors are reported.
        self.taken_up_anew = True
        # The result that the current push starts from.
        self.last: Any = NOTHING

    # The loop

    def run(self) -> Ended:
        job = self.job
        job.leaf_jobs = job.leaf_jobs if job.innermost and job.parent else LeafJobs(_enclosing(job))
        self._resolve_env()
        self.save()
        if self.value.get("preprocessor_module"):
            finished = self._preprocessed(self.value["preprocessor_module"])
            if finished:
                return finished
        unrecoverable = False
        while True:
            try:
                ended = self._push(self.last, unrecoverable)
            except FlowCanceled:
                return self.finish_canceled()
            except WindmillError as error:
                if not self.taken_up_anew:
                    return flow_judge.fail_between_steps(self, error)
                result = {"error": {"message": str(error), "name": "Anyhow"}}
                if job.parent:
                    return self.finish(False, result)
                ended = self.without_job(False, result)
            self.taken_up_anew = False
            try:
                verdict, unrecoverable = flow_judge.judge(self, ended)
            except WindmillError as error:
                return flow_judge.fail_between_steps(self, error)
            if verdict.finished:
                return verdict.finished
            self.last = verdict.result

    # The preprocessor

    def _preprocessed(self, module: Value) -> Ended | None:
        """The flow's end, or None when its steps, or a retry of its failure module, are to run."""
        try:
            ended = preprocess(self, module)
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

    def run_preprocessor(self, child: Child, module: Value, state: ModuleState, event: dict[str, Any]) -> Ended:
        job = self._job_for(child, module, self._timeout(module, event), 0.0)
        self.runtime.add(job, None)
        self.state.preprocessor = replace(state, type="WaitingForExecutor", job=job.id)
        self.save()
        ended = self._run_child(job, child)
        kind: Any = "Success" if ended.success else "Failure"
        self.state.preprocessor = replace(state, type=kind, job=job.id)
        self.save()
        return ended

    def replace_arguments(self, args: dict[str, Any]) -> None:
        self.job.args = as_stored(args)
        self.runtime.keep_arguments(self.job)

    def wait(self, seconds: float) -> None:
        if seconds and self.job.cancel.event.wait(seconds):
            raise FlowCanceled

    def run_failure_module(self, failed_step: str, result: Any) -> Ended:
        """For a failure that came before the first step."""
        self.state.failure_parent = failed_step
        module = self._failure()
        plan = flow_plan.plan(self, module, self.state.failure, result, failed_step, True, None)
        return plan if isinstance(plan, Ended) else self._start(plan, module, True, result, 0.0)

    def without_job(self, success: bool, result: Any, *, stopped: bool | None = None, final: bool = False) -> Ended:
        return Ended(NO_JOB, success, result, stopped, unrecoverable=final)

    def _resolve_env(self) -> None:
        own = self.value.get("flow_env")
        inherited = self.job.parent.flow_env if self.job.parent else None
        self.job.flow_env = inherited
        if own is not None:
            try:
                self.job.flow_env = as_stored(self.runtime.items.interpolated(own, "flow_env"))
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
            previous = self._previous(state, NOTHING) if self.taken_up_anew else previous
        return self._push_module(state, previous, unrecoverable)

    def nothing_to_run(self, state: ModuleState, last: Any) -> Ended:
        if not self.modules:
            return self.without_job(True, self.job.args, final=True)
        if state.branch_chosen is not None:
            return self.without_job(True, EMPTY if last is NOTHING else last, final=True)
        return self.without_job(True, [], final=True)

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

    def retry_wait(self, module: Value, result: Any) -> float | None:
        retry = module.get("retry") or {}
        condition = (retry.get("retry_if") or {}).get("expr")
        if condition is not None and not is_true(condition, self.result_scope(result)):
            return None
        return retry_wait(retry, self.state.fail_count)

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
        delay = self.runtime.earlier.delay(jobs[0], delay)
        if delay and jobs[0].cancel.event.wait(delay):
            self.runtime.finish_unstarted(jobs[0], jobs[0].cancel.as_error())
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
            id=self.runtime.earlier.id_of(self.job.id, module["id"], child.kind, child.path),
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
            return self.runtime.finish_unstarted(job, child.error.as_result())
        if child.kind == "identity":
            return self.runtime.finish_identity(job)
        if child.value is not None:
            self.runtime.start(job)
            return FlowRun(self.runtime, job, child.value).run()
        assert child.run is not None
        return child.run(job)

    # Expressions

    def scope(
        self, names: dict[str, Any], results: FlowResults | None = None, flow_input: dict[str, Any] | None = None
    ) -> Scope:
        given = self.job.args if flow_input is None else flow_input
        return Scope(given, self.job.flow_env, self.runtime.items, results, names)

    def result_scope(self, result: Any, **names: Any) -> Scope:
        return self.scope({"result": result, "previous_result": result, **names})

    def results(self, previous_id: str) -> FlowResults:
        return FlowResults(self, previous_id)

    def transform(self, transform: Any, scope: Scope) -> Any:
        """The value of an input transform where one number is wanted; the bare number is one as well."""
        if not isinstance(transform, dict):
            return transform
        if transform.get("type") == "javascript":
            expression = transform.get("expr", "")
            try:
                return evaluate(expression, scope)
            except WindmillError as error:
                raise WindmillError(f"Error during evaluation of expression `{expression}`:\n{error}") from None
        return transform.get("value")

    def args_of(self, job: str | None) -> dict[str, Any]:
        return self._args_of.get(job or "", {})

    # Ends

    def save(self) -> None:
        self.runtime.save_flow(self.job, self.state)

    def finish(self, success: bool, result: Any, skipped: bool = False) -> Ended:
        """Stores the flow's own end."""
        self.runtime.finish_flow(self.job, success, result, skipped, self.value)
        return Ended(self.job.id, success, result, stored_success=success or skipped)

    def finish_canceled(self) -> Ended:
        return self.finish(False, {"error": self.job.cancel.as_error()})


class FlowResults:
    """`results.<id>` for one flow: its own modules first, then whatever ran under that id around it."""

    def __init__(self, run: FlowRun, previous_id: str) -> None:
        self.run, self.previous_id = run, previous_id

    def of_step(self, step: str) -> Any:
        own = next((m.jobs for m in self.run.state.modules if m.id == step and m.jobs is not None), None)
        if own == NO_JOB:
            raise WindmillError(f"Failed to fetch result for step '{step}': Not found: job {own}")
        jobs = own if own is not None else self.run.job.leaf_jobs.find(step)
        return None if jobs is None else self.run.runtime.result_of(jobs)

    def at_path(self, step: str, path: list[str]) -> Any:
        jobs = self.run.job.leaf_jobs.find(step)
        if jobs is None:
            return None
        if isinstance(jobs, list) and path:
            index, *path = path
            if not index.isdigit() or int(index) >= len(jobs):
                return None
            jobs = jobs[int(index)]
        return _at(self.run.runtime.result_of(jobs), path)

    def user_state(self, key: str) -> Any:
        return self.run.runtime.store.state(self.run.job.root, key)


def _at(value: Any, path: list[str]) -> Any:
    """A path as PostgreSQL follows it: what is not there is null."""
    for part in path:
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def with_virtual_module(modules: list[Value]) -> list[Value]:
    """A sleep or an approval takes effect before the next module; after the last one there must be one as well."""
    if modules and (modules[-1].get("sleep") is not None or modules[-1].get("suspend") is not None):
        return [*modules, {"id": f"{modules[-1]['id']}-v", "value": {"type": "identity"}}]
    return modules


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
