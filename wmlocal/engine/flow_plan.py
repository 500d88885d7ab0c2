"""Turns a module into the child jobs it asks for: one script, one flow, the next iteration, all branches at once, …

Nothing is started here. Arguments are evaluated here; an expression of a step that throws becomes the error of that
step's job, so that its retry and the failure module apply.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from wmlocal.engine.errors import WindmillError
from wmlocal.engine.expressions import Scope, evaluate, is_true
from wmlocal.engine.flow_context import FlowContext
from wmlocal.engine.flow_state import NO_JOB, WAITING, ModuleState
from wmlocal.engine.jobs import Child, Ended

Value = dict[str, Any]
LEAVES = ("script", "rawscript", "flow")


@dataclass(frozen=True)
class Plan:
    children: list[Child]
    # The state of the module once these jobs are started.
    entered: Callable[[list[str]], ModuleState]
    parallel: bool = False


def plan(
    run: FlowContext,
    module: Value,
    state: ModuleState,
    previous: Any,
    previous_id: str,
    failing: bool,
    reused: str | None,
) -> Plan | Ended:
    skipped = "skip_if" in module and _is_skipped(run, module, previous, previous_id)
    args, error = _arguments(run, module, previous, previous_id, failing, reused, skipped)
    mock = module.get("mock") or {}
    if mock.get("enabled") or skipped or module["value"]["type"] == "identity":
        return _plan_one(Child("identity", None, args, error=error), state)
    value = module["value"]
    match value["type"]:
        case "flow":
            path, flow = run.runtime.flow_value(value["path"])
            return _plan_one(Child("flow", path, args, flow, error=error), state)
        case "script" | "rawscript":
            return _plan_one(run.runtime.script_child(run.job, module, args, error), state)
        case "forloopflow":
            return _for_loop(run, module, state, previous, previous_id, args)
        case "whileloopflow":
            position = len(state.flow_jobs or ()) if state.type == "InProgress" else 0
            if _is_simple(run, module["value"].get("modules") or []):
                return _simple_iteration(run, module, state, args, position)
            return _iteration(run, module, state, args, position, position, None)
        case "branchone":
            return _branch_one(run, module, state, previous, previous_id, args)
        case "branchall":
            return _branch_all(run, module, state, args)
    raise WindmillError(f"module {module['id']} has the unknown type {value['type']}", "InternalErr")


def plan_preprocessor(run: FlowContext, module: Value, event: dict[str, Any]) -> Child:
    """The job of a flow's preprocessor, whose arguments are the flow's own."""
    mock = module.get("mock") or {}
    if mock.get("enabled"):
        return Child("identity", None, {"previous_result": mock.get("return_value")})
    return run.runtime.script_child(run.job, module, dict(event), None, entrypoint="preprocessor")


def _is_skipped(run: FlowContext, module: Value, previous: Any, previous_id: str) -> bool:
    names = {"result": previous, "previous_result": previous, **run.approval}
    return is_true(module["skip_if"]["expr"], run.scope(names, run.results(previous_id)))


def _plan_one(child: Child, state: ModuleState) -> Plan:
    def entered(jobs: list[str]) -> ModuleState:
        return ModuleState(state.id, "WaitingForExecutor", jobs[0])

    return Plan([child], entered)


def _arguments(
    run: FlowContext, module: Value, previous: Any, previous_id: str, failing: bool, reused: str | None, skipped: bool
) -> tuple[dict[str, Any], WindmillError | None]:
    mock = module.get("mock") or {}
    value = module["value"]
    if mock.get("enabled"):
        return {"previous_result": mock.get("return_value")}, None
    if reused is not None:
        return run.args_of(reused), None
    if module.get("pass_flow_input_directly"):
        return dict(run.job.args), None
    if value["type"] == "identity" or skipped:
        return {"previous_result": previous}, None
    if value["type"] not in LEAVES:
        return dict(run.job.args), None
    names = {"params": {}, "previous_result": previous, **run.approval}
    if failing and run.job.started:
        names |= {"started_at": run.runtime.time_text(run.job.started), "flow_job_id": run.job.id}
    try:
        return _evaluate_transforms(
            run.scope(names, run.results(previous_id)), value.get("input_transforms") or {}
        ), None
    except WindmillError as error:
        return {}, error


def _evaluate_transforms(scope: Scope, transforms: Value) -> dict[str, Any]:
    args: dict[str, Any] = {}
    for name, transform in transforms.items():
        if transform.get("type") == "static":
            args[name] = transform.get("value")
            continue
        expression = transform.get("expr", "")
        try:
            args[name] = evaluate(expression, scope)
        except WindmillError as error:
            message = f"Error during isolated evaluation of expression `{expression.strip()}`:\n{error}"
            raise WindmillError(message) from None
    return args


def _inner(run: FlowContext, modules: list[Value], suffix: str, path: str, args: dict[str, Any]) -> Child:
    """A flow of some modules; the failure module goes with it, under an id that tells the copies apart."""
    value: Value = {"modules": modules, "same_worker": bool(run.value.get("same_worker"))}
    if run.failure_module is not None:
        copied = copy.copy(run.failure_module)
        copied["id"] = f"{copied['id']}-{suffix}"
        value["failure_module"] = copied
    return Child("flowpreview", f"{run.job.runnable_path}/{path}", args, value)


def _nothing(run: FlowContext, state: ModuleState, branch_chosen: Value | None = None) -> Ended:
    """No job to run: the module succeeds at once, and the flow looks at it again."""
    jobs: list[str] | None = None if branch_chosen else []
    done = ModuleState(state.id, "Success", NO_JOB, jobs, None if branch_chosen else [], branch_chosen)
    run.state.set_current(done)
    return run.nothing_to_run(done, run.last)


def _must_wait(state: ModuleState, kind: str) -> None:
    """Only a module that has not begun can begin; a failed parallel one is not begun again by continue_on_error."""
    if state.type not in WAITING:
        raise WindmillError(f"Bad request: Unrecognized module status for {kind} {state.type} {{ id: {state.id!r} }}")


def _for_loop(
    run: FlowContext, module: Value, state: ModuleState, previous: Any, previous_id: str, args: dict[str, Any]
) -> Plan | Ended:
    value = module["value"]
    if state.type == "InProgress" and not state.parallel:
        assert state.items is not None and state.index is not None
        position = state.index + 1
        return _iteration(run, module, state, args, position, state.items[position], state.items)
    _must_wait(state, "ForloopFlow")
    items = _items(run, value["iterator"], previous, previous_id)
    if not items or not value.get("modules"):
        return _nothing(run, state)
    if not value.get("parallel"):
        return _iteration(run, module, state, args, 0, items[0], items)
    children = [
        _inner(run, value["modules"], f"{run.state.step}-{i}", f"forloop-{i}", with_iter(args, i, item))
        for i, item in enumerate(items)
    ]

    def entered(jobs: list[str]) -> ModuleState:
        return ModuleState(
            state.id, "InProgress", run.job.id, jobs, [None] * len(jobs), parallel=True, index=0, items=items
        )

    return Plan(children, entered, parallel=True)


def _items(run: FlowContext, iterator: Value, previous: Any, previous_id: str) -> list[Any]:
    if iterator.get("type") == "static":
        items = iterator.get("value")
    else:
        names = {"result": previous, "previous_result": previous, **run.approval}
        items = evaluate(iterator.get("expr", ""), run.scope(names, run.results(previous_id)))
    if not isinstance(items, list):
        raise WindmillError(f"Expected an array value in the iterator expression, found: {_no_array(items)}")
    return items


def _no_array(value: Any) -> str:
    text = json.dumps(value, separators=(",", ":"))
    kinds = {
        dict: "map",
        str: f"string {text}",
        type(None): "null",
        bool: f"boolean `{text}`",
        int: f"integer `{text}`",
        float: f"floating point `{text}`",
    }
    column = 0 if isinstance(value, dict) else len(text)
    return f"invalid type: {kinds[type(value)]}, expected a sequence at line 1 column {column}"


def with_iter(args: dict[str, Any], index: int, value: Any) -> dict[str, Any]:
    """The arguments plus `iter`; the one of an outer loop stays reachable as `iter_parent`, and so on."""
    renamed = dict(args)
    name, item = "iter", {"index": index, "value": value}
    while name in renamed:
        renamed[name], item = item, renamed[name]
        name += "_parent"
    renamed[name] = item
    return renamed


def _iteration(
    run: FlowContext,
    module: Value,
    state: ModuleState,
    args: dict[str, Any],
    index: int,
    item: Any,
    items: list[Any] | None,
) -> Plan | Ended:
    modules = module["value"].get("modules") or []
    if not modules:
        return _nothing(run, state)
    child = _inner(run, modules, f"{run.state.step}-{index}", f"loop-{index}", with_iter(args, index, item))
    before = state if state.type == "InProgress" else ModuleState(state.id, flow_jobs=[], flow_jobs_success=[])
    return Plan([child], _next_of_sequence(state, before, index=index, items=items))


def _is_simple(run: FlowContext, modules: list[Value]) -> bool:
    """A while loop over one plain step runs that step as a job of the flow itself, under the loop's own id.

    A server does the same with a deployed for loop, and does not with one in a preview; here both are as in a preview,
    so that each iteration has a flow job of its own.
    """
    plain = ("sleep", "suspend", "retry", "stop_after_if", "stop_after_all_iters_if", "skip_if")
    return (
        len(modules) == 1
        and run.failure_module is None
        and modules[0]["value"]["type"] in ("script", "rawscript")
        and all(modules[0].get(key) is None for key in plain)
        and not (modules[0].get("mock") or {}).get("enabled")
    )


def _simple_iteration(run: FlowContext, module: Value, state: ModuleState, args: dict[str, Any], index: int) -> Plan:
    step = module["value"]["modules"][0]
    error: WindmillError | None = None
    given: dict[str, Any] = {}
    try:
        names = {"params": {}, "previous_result": None, **run.approval}
        scope = run.scope(names, run.results(""), with_iter(args, index, index))
        given = _evaluate_transforms(scope, step["value"].get("input_transforms") or {})
    except WindmillError as failure:
        error = WindmillError(f"could not transform input using an expr: {failure}")
    child = run.runtime.script_child(run.job, step, given, error)
    before = state if state.type == "InProgress" else ModuleState(state.id, flow_jobs=[], flow_jobs_success=[])
    return Plan([child], _next_of_sequence(state, before, index=index, items=None))


def _next_of_sequence(state: ModuleState, before: ModuleState, **about: Any) -> Callable[[list[str]], ModuleState]:
    """The state once the next iteration or branch has started. about: where in the sequence that is."""

    def entered(jobs: list[str]) -> ModuleState:
        return ModuleState(
            state.id,
            "InProgress",
            jobs[0],
            [*(before.flow_jobs or ()), jobs[0]],
            [*(before.flow_jobs_success or ()), None],
            **about,
        )

    return entered


def _branch_one(
    run: FlowContext, module: Value, state: ModuleState, previous: Any, previous_id: str, args: dict[str, Any]
) -> Plan | Ended:
    value = module["value"]
    names = {"result": previous, "previous_result": previous, **run.approval}
    chosen: int | None = None
    _must_wait(state, "BranchOne")
    try:
        for position, branch in enumerate(value.get("branches") or ()):
            if is_true(branch.get("expr", ""), run.scope(names, run.results(previous_id))):
                chosen = position
                break
    except WindmillError as error:
        return run.without_job(False, {"error": error.as_result()})
    picked = {"type": "default"} if chosen is None else {"type": "branch", "branch": chosen}
    modules = (value.get("default") or []) if chosen is None else value["branches"][chosen].get("modules") or []
    if not modules:
        return _nothing(run, state, picked)
    number = 0 if chosen is None else chosen + 1
    child = _inner(run, modules, str(run.state.step), f"branchone-{number}", args)

    def entered(jobs: list[str]) -> ModuleState:
        return ModuleState(state.id, "InProgress", jobs[0], branch_chosen=picked)

    return Plan([child], entered)


def _branch_all(run: FlowContext, module: Value, state: ModuleState, args: dict[str, Any]) -> Plan | Ended:
    value = module["value"]
    branches = value.get("branches") or []
    if state.type in WAITING:
        if not branches:
            return _nothing(run, state)
        if value.get("parallel", True):
            return _all_branches(run, state, branches, args)
    if state.type != "InProgress":
        _must_wait(state, "BranchAll")
    position = (state.branch or 0) + 1 if state.type == "InProgress" else 0
    child = _inner(
        run, branches[position].get("modules") or [], f"{run.state.step}-{position}", f"branchall-{position}", args
    )
    before = state if state.type == "InProgress" else ModuleState(state.id, flow_jobs=[], flow_jobs_success=[])
    return Plan([child], _next_of_sequence(state, before, branch=position, branches=len(branches)))


def _all_branches(run: FlowContext, state: ModuleState, branches: list[Value], args: dict[str, Any]) -> Plan:
    children = [
        _inner(run, branch.get("modules") or [], f"{run.state.step}-{i}", f"branchall-{i}", dict(args))
        for i, branch in enumerate(branches)
    ]

    def entered(jobs: list[str]) -> ModuleState:
        return ModuleState(
            state.id,
            "InProgress",
            run.job.id,
            jobs,
            [None] * len(jobs),
            parallel=True,
            branch=0,
            branches=len(branches),
        )

    return Plan(children, entered, parallel=True)
