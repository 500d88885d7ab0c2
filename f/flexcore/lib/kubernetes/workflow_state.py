# requirements: flexcore_kubernetes
"""Where a workflow of containers stands between its levels, and its result. Pure.

plan ─→ select (which of a level can run, with what) ─→ the containers, in parallel ─→ collect ─→ next level ─→ compose

A container whose need has failed is not run; all others are. What has finished is the next run's partial results.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, ValidationError

from f.flexcore.lib.core import contracts, errors

Object = dict[str, Any]
# What may differ between two runs without changing what a container hands on.
IGNORED_IN_DIGEST = ("timeout_s", "queue_timeout_s", "ttl_s")
MAX_SHOWN_CHARACTERS = 300


class PlannedNode(contracts.Contract):
    """request: of kubernetes/execute, but for what is handed in; digest: of what decides its outcome."""

    name: str
    needs: list[str] = []
    request: dict[str, Any]
    digest: str


class NodeResult(contracts.Contract):
    """A container that has finished; handed back as a partial result, it is not run again."""

    node: str
    digest: str
    reused: bool = False
    result: contracts.StepResult


class WorkflowPlan(contracts.Contract):
    """levels: names of what is to be run, in order; id: of this very plan, whose states alone count."""

    id: str
    nodes: list[PlannedNode] = Field(min_length=1)
    levels: list[list[str]]
    finished: list[NodeResult] = []
    notes: list[str] = []


class WorkflowState(contracts.Contract):
    """failed: name → Windmill's error; skipped: name → why it was not run; plan: the plan's id."""

    plan: str
    finished: list[NodeResult] = []
    failed: dict[str, dict[str, Any]] = {}
    skipped: dict[str, str] = {}


class WorkflowResult(contracts.ShownContract):
    """nodes: every container's result, by name, in the order in which they ran."""

    success: bool
    nodes: dict[str, contracts.StepResult]
    reused: list[str] = []
    wm_labels: list[str] = [*contracts.LABELS, "workflow:container_workflow", "runtime:kubernetes"]


def compute_digest(request: Mapping[str, Any], needs: Sequence[str]) -> str:
    decisive = {name: value for name, value in request.items() if name not in IGNORED_IN_DIGEST}
    text = json.dumps([decisive, sorted(needs)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# --- one level


def select(plan: Any, level: Any, before: Any) -> Object:
    """What runs now: {nodes: requests with their inputs, state}. before: what the level before it has left."""
    planned, state = _read_plan(plan), _read_state(plan, before)
    names = errors.check_value(list[str], level, "level")
    done = {item.node: item.result for item in state.finished}
    chosen = []
    for node in planned.nodes:
        if node.name not in names:
            continue
        absent = [need for need in node.needs if need not in done]
        if absent:
            state.skipped[node.name] = f"it needs {' and '.join(absent)}"
            print(f"{node.name} is not run: {state.skipped[node.name]}, which did not succeed", flush=True)
            continue
        inputs = {need: value for need in node.needs if (value := _handed_on(done[need])) is not None}
        chosen.append({"name": node.name, **node.request, "inputs": inputs})
    print(f"Now: {', '.join(str(item['name']) for item in chosen) or 'nothing'}", flush=True)
    return {"nodes": chosen, "state": state.plain()}


def _handed_on(result: contracts.StepResult) -> Any:
    return result.output.model_dump(mode="json") if result.output else result.data.get("output")


def collect(plan: Any, ready: Any, ran: Any) -> Object:
    """The state after a level. ran: of each selected node its StepResult, or {"error": Windmill's}."""
    planned = _read_plan(plan)
    selected = errors.check_value(dict[str, Any], ready, "ready")
    state = errors.validate(WorkflowState, selected.get("state"), "ready.state")
    digests = {node.name: node.digest for node in planned.nodes}
    names = [str(item["name"]) for item in selected.get("nodes") or ()]
    results = errors.check_value(list[Any], ran or [], "ran")
    if len(results) != len(names):
        raise errors.DataError(
            f"{len(results)} results came of {len(names)} containers", subject="ran", remedy="Start the workflow again."
        )
    for name, result in zip(names, results, strict=True):
        try:
            step = contracts.StepResult.model_validate(result)
        except ValidationError:
            state.failed[name] = _read_error(result)
        else:
            state.finished.append(NodeResult(node=name, digest=digests[name], result=step))
    return state.plain()


def _read_error(result: Any) -> Object:
    error = result.get("error") if isinstance(result, dict) else None
    if isinstance(error, dict):
        return {name: error.get(name) for name in ("name", "message", "extra")}
    return {"name": "NoResult", "message": "it has no result", "extra": None}


def _read_plan(plan: Any) -> WorkflowPlan:
    return errors.validate(WorkflowPlan, plan, "plan")


def _read_state(plan: Any, before: Any) -> WorkflowState:
    """That of the level before; at the first, Windmill gives what a flow around this one has under the same id."""
    planned = _read_plan(plan)
    if isinstance(before, dict) and before.get("plan") == planned.id:
        return errors.validate(WorkflowState, before, "before")
    return WorkflowState(plan=planned.id, finished=planned.finished)


# --- the end


def compose(plan: Any, levels: Any, execution: str) -> Object:
    """The whole result. levels: the state after each. Raises ExecutionFailed with what has finished, when a container
    failed."""
    planned = _read_plan(plan)
    states = errors.check_value(list[Any], levels or [], "levels")
    state = _read_state(plan, states[-1] if states else None)
    if state.failed or state.skipped:
        raise _make_error(planned, state, execution)
    nodes = {item.node: item.result for item in state.finished}
    absent = [node.name for node in planned.nodes if node.name not in nodes]
    if absent:
        raise errors.DataError(f"{absent[0]} has no result", subject=absent[0], remedy="Start the workflow again.")
    reused = [item.node for item in planned.finished]
    return WorkflowResult(success=True, nodes=nodes, reused=reused).plain()


def _make_error(plan: WorkflowPlan, state: WorkflowState, execution: str) -> errors.ExecutionFailed:
    parts = [f"{name}: {_shorten(str(error.get('message') or ''))}" for name, error in state.failed.items()]
    count = f"{len(state.failed)} of {len(plan.nodes)} containers failed"
    skipped = f". Not run: {', '.join(state.skipped)}" if state.skipped else ""
    first = next(iter(state.failed.values()), {})
    extra = first.get("extra") or {}
    kept = len(state.finished)
    again = f"Correct it, and start it again with resume_from {execution}"
    details: Object = {
        "failed": state.failed,
        "skipped": state.skipped,
        "partial_results": [item.plain() for item in state.finished],
        "diagnosis": (extra.get("details") or {}).get("diagnosis"),
    }
    return errors.ExecutionFailed(
        f"{count}: {'; '.join(parts)}{skipped}",
        subject=next(iter(state.failed), ""),
        category=str(extra.get("category") or ""),
        remedy=f"{again}: the {kept} that have finished are not run again." if kept else "Correct it, and start again.",
        **{name: value for name, value in details.items() if value is not None},
    )


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_SHOWN_CHARACTERS else f"{line[: MAX_SHOWN_CHARACTERS - 1]}…"
