# requirements: flexcore_kubernetes
"""A workflow of containers planned from its form, and from what an earlier run of it has finished.

A container counts as finished when the same was asked of it, everything that it needs counts, too, and the manifest
that it handed on still verifies in the store.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from f.flexcore.lib.core import contracts, errors, resources
from f.flexcore.lib.kubernetes import workflow_plan, workflow_state
from f.flexcore.lib.storage import object_store
from f.flexcore.lib.windmill import client

# Id in the flow: the step that says what a level has left, of a canceled run, too.
STATE = "level_state"


def plan(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The plain WorkflowPlan of the form of container_workflow. Raises InvalidInput."""
    cluster = errors.validate(resources.KubernetesCluster, arguments.get("cluster") or {}, "cluster")
    settings = errors.validate(resources.Settings, arguments.get("settings") or {}, "settings")
    nodes = workflow_plan.read_nodes(arguments.get("nodes"), arguments, cluster, settings)
    levels = workflow_plan.order_levels(nodes)
    planned = [
        workflow_state.PlannedNode(
            name=node.name,
            needs=node.needs,
            request=node.request,
            digest=workflow_state.compute_digest(node.request, node.needs),
        )
        for node in nodes
    ]
    earlier = read_earlier(str(arguments.get("resume_from") or ""))
    finished, notes = find_finished(planned, levels, earlier, settings)
    done = {item.node for item in finished}
    left = [[name for name in level if name not in done] for level in levels]
    for note in notes:
        print(note, flush=True)
    result = workflow_state.WorkflowPlan(
        id=str(uuid.uuid4()), nodes=planned, levels=[level for level in left if level], finished=finished, notes=notes
    )
    print("\n".join(f"Level {number}: {', '.join(level)}" for number, level in enumerate(result.levels, 1)), flush=True)
    return result.plain()


def read_earlier(execution: str) -> list[workflow_state.NodeResult]:
    """What a run has finished. Raises InvalidInput for what is none that failed."""
    if not execution:
        return []
    windmill = client.Client()
    job = windmill.job(client.parse_job_id(execution, "resume_from"))
    if job.get("type") != "CompletedJob":
        remedy = "Wait for its end, or cancel it first."
        raise errors.Unavailable(f"{execution} is still running", subject="resume_from", remedy=remedy)
    result = job.get("result")
    details = result.get("details") if isinstance(result, Mapping) else None
    partial = details.get("partial_results") if isinstance(details, Mapping) else None
    if partial is None:
        partial = _read_last_state(windmill, execution)
    return _read_results(partial)


def _read_last_state(windmill: client.Client, execution: str) -> Any:
    """Of a run that was canceled, or succeeded: what its last level has left."""
    try:
        state = windmill.step_result(execution, STATE)
    except errors.FlexcoreError:
        return []
    return state.get("finished") if isinstance(state, Mapping) else []


def _read_results(items: Any) -> list[workflow_state.NodeResult]:
    found = []
    for item in items if isinstance(items, list) else ():
        try:
            found.append(workflow_state.NodeResult.model_validate(item))
        except ValidationError:
            continue
    return found


def find_finished(
    nodes: Sequence[workflow_state.PlannedNode],
    levels: Sequence[Sequence[str]],
    earlier: Sequence[workflow_state.NodeResult],
    settings: resources.Settings,
) -> tuple[list[workflow_state.NodeResult], list[str]]:
    """What need not run again, and a line for each that must, with the reason."""
    by_name = {item.node: item for item in earlier}
    planned = {node.name: node for node in nodes}
    finished: dict[str, workflow_state.NodeResult] = {}
    notes = []
    for name in (name for level in levels for name in level):
        if name not in by_name:
            continue
        reason = _why_again(planned[name], by_name[name], finished, settings)
        if reason:
            notes.append(f"{name} runs again: {reason}")
        else:
            finished[name] = by_name[name].model_copy(update={"reused": True})
    return list(finished.values()), notes


def _why_again(
    node: workflow_state.PlannedNode,
    item: workflow_state.NodeResult,
    finished: Mapping[str, workflow_state.NodeResult],
    settings: resources.Settings,
) -> str:
    if item.digest != node.digest:
        return "its request has changed"
    again = [need for need in node.needs if need not in finished]
    if again:
        return f"it needs {' and '.join(again)}, which must run"
    manifest = item.result.output
    if manifest is None or isinstance(manifest, contracts.EndpointManifest):
        return ""
    try:
        object_store.Store(settings).verify(manifest)
    except errors.FlexcoreError as error:
        return str(error)
    return ""
