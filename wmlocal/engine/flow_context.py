"""What every rule of a running flow may ask and change: its state, its scopes for expressions, and its end."""

from __future__ import annotations

from typing import Any

from wmlocal.engine.errors import WindmillError
from wmlocal.engine.expressions import Scope, evaluate, is_true
from wmlocal.engine.flow_state import NO_JOB, FlowState, ModuleState, retry_wait
from wmlocal.engine.jobs import Ended, Job
from wmlocal.engine.jsonb import as_jsonb
from wmlocal.engine.runtime import Runtime

# "No result was handed over", which is not the same as the result null.
NOTHING: Any = object()
# Windmill's stand-in for a missing previous result: the text, not an object.
EMPTY = "{}"

Value = dict[str, Any]


class FlowCanceled(Exception):
    """The flow's own job was canceled while it waited."""


class FlowContext:
    """One flow job and the state that it is in; FlowRun (flow.py) goes through its modules."""

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
        self.requeued = True
        # The result that the current push starts from.
        self.last: Any = NOTHING

    def save(self) -> None:
        self.runtime.save_flow(self.job, self.state)

    def wait(self, seconds: float) -> None:
        if seconds and self.job.cancel.event.wait(seconds):
            raise FlowCanceled

    def replace_arguments(self, args: dict[str, Any]) -> None:
        self.job.args = as_jsonb(args)
        self.runtime.keep_arguments(self.job)

    def retry_wait(self, module: Value, result: Any) -> float | None:
        retry = module.get("retry") or {}
        condition = (retry.get("retry_if") or {}).get("expr")
        if condition is not None and not is_true(condition, self.result_scope(result)):
            return None
        return retry_wait(retry, self.state.fail_count)

    # Expressions

    def scope(
        self, names: dict[str, Any], results: FlowResults | None = None, flow_input: dict[str, Any] | None = None
    ) -> Scope:
        given = self.job.args if flow_input is None else flow_input
        return Scope(given, self.job.flow_env, self.runtime.variables, results, names)

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

    def without_job(self, success: bool, result: Any, *, stopped: bool | None = None, final: bool = False) -> Ended:
        return Ended(NO_JOB, success, result, stopped, unrecoverable=final)

    def nothing_to_run(self, state: ModuleState, last: Any) -> Ended:
        if not self.modules:
            return self.without_job(True, self.job.args, final=True)
        if state.branch_chosen is not None:
            return self.without_job(True, EMPTY if last is NOTHING else last, final=True)
        return self.without_job(True, [], final=True)

    def finish(self, success: bool, result: Any, skipped: bool = False) -> Ended:
        """Stores the flow's own end."""
        self.runtime.finish_flow(self.job, success, result, skipped, self.value)
        return Ended(self.job.id, success, result, stored_success=success or skipped)

    def finish_canceled(self) -> Ended:
        return self.finish(False, {"error": self.job.cancel.as_error()})


class FlowResults:
    """`results.<id>` for one flow: its own modules first, then whatever ran under that id around it."""

    def __init__(self, run: FlowContext, previous_id: str) -> None:
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
