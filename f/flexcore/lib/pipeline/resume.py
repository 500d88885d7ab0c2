# requirements: flexcore_base
"""A failed run started again: whether it can be, from what it has finished, and with which arguments.

A job is as Windmill's `jobs_u/get` returns it: type (QueuedJob or CompletedJob), job_kind, script_path, success, args
and result.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from f.flexcore.lib.core import errors, identity
from f.flexcore.lib.pipeline import stage_results
from f.flexcore.lib.windmill import client

HYBRID, WORKFLOW = "f/flexcore/hybrid_pipeline", "f/flexcore/templates/container_workflow"
# Flow → the argument that takes what an earlier run has finished; None where each run does one piece of work.
PIPELINES: dict[str, str | None] = {
    HYBRID: "partial_results",
    "f/flexcore/data_pipeline": None,
    WORKFLOW: "resume_from",
}
# Id in WORKFLOW's flow: what its last level has left.
WORKFLOW_STATE = "level_state"
# What Windmill gives instead of arguments that are too large to be listed.
TOO_BIG = "WINDMILL_TOO_BIG"


def check_resumable(job: Mapping[str, Any]) -> str:
    """The pipeline's path. Raises InvalidInput for what cannot be resumed, Unavailable for what still runs."""
    path, name = str(job.get("script_path") or ""), str(job.get("id") or "")
    if path not in PIPELINES or job.get("job_kind") != "flow":
        raise errors.InvalidInput(
            f"{name} is a run of {path or 'a preview'}, which cannot be resumed",
            subject="execution",
            remedy=f"Give a run of {' or '.join(PIPELINES)}.",
        )
    if job.get("type") != "CompletedJob":
        remedy = "Wait for its end, or cancel it first."
        raise errors.Unavailable(
            f"{name} is still running", subject="execution", remedy=remedy, category="still_running"
        )
    if job.get("success"):
        remedy = "Start a new run if you want it done again."
        raise errors.InvalidInput(
            f"{name} has succeeded: there is nothing to resume",
            subject="execution",
            remedy=remedy,
            category="succeeded",
        )
    return path


def arguments(job: Mapping[str, Any], finished: list[dict[str, Any]]) -> dict[str, Any]:
    """The same arguments, with what was finished, or, for WORKFLOW, with the run that it reads that from. References to
    resources stay references. Raises NotFound."""
    given = job.get("args")
    if not isinstance(given, Mapping) or TOO_BIG in map(str, given.values()) or given.get("reason") == TOO_BIG:
        raise errors.NotFound(
            "Windmill no longer has the arguments of this run",
            subject="execution",
            remedy="Start the pipeline from its form, with the partial_results of the run's result.",
        )
    path = str(job["script_path"])
    field = PIPELINES[path]
    return {**given, **({field: str(job["id"]) if path == WORKFLOW else finished} if field else {})}


def completed_stages(windmill: client.Client, job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a run has finished, as its `partial_results`: from its own result, else from what its steps have left."""
    path = job.get("script_path")
    if path == WORKFLOW:
        return reported_containers(job) or containers_left_by_levels(windmill, str(job["id"]))
    return (reported_stages(job) or stages_left_by_steps(windmill, str(job["id"]))) if path == HYBRID else []


def list_names(finished: list[dict[str, Any]]) -> list[str]:
    """Of stages, or of a workflow's containers."""
    return [str(item.get("stage") or item.get("node")) for item in finished]


def reported_stages(job: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The partial results in the run's own result; None when it has none, as after a cancel."""
    result = job.get("result")
    stages = result.get("partial_results") if isinstance(result, Mapping) else None
    return [dict(item) for item in stages] if isinstance(stages, list) else None


def reported_containers(job: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The containers of a workflow that its failure says have finished; None when it says nothing."""
    result = job.get("result")
    return reported_stages({"result": result.get("details")}) if isinstance(result, Mapping) else None


def containers_left_by_levels(windmill: client.Client, flow_job: str) -> list[dict[str, Any]]:
    """Of a workflow that was canceled: what its last level has left."""
    try:
        state = windmill.step_result(flow_job, WORKFLOW_STATE)
    except errors.FlexcoreError:
        return []
    finished = state.get("finished") if isinstance(state, Mapping) else None
    return [dict(item) for item in finished] if isinstance(finished, list) else []


def stages_left_by_steps(windmill: client.Client, flow_job: str) -> list[dict[str, Any]]:
    """Of a run that was canceled, or whose failure module could not say it: what its steps have left."""

    def result_of(step: str) -> Any:
        try:
            return windmill.step_result(flow_job, step)
        except errors.FlexcoreError:
            return None

    prepared = result_of("prepare")
    prepared = prepared if isinstance(prepared, dict) else {}
    results = {stage: result_of(stage) for stage in stage_results.STAGES}
    stages = stage_results.collect_stages(results, set(prepared.get("reused") or []), prepared.get("requests"))
    return [stage.plain() for stage in stages]


def start(windmill: client.Client, path: str, arguments: dict[str, Any]) -> str:
    """The id of a new run of the pipeline, one for each execution of this step: its key makes the id, and Windmill's
    rule that an id exists once keeps a step that is repeated after a kill from starting a second one. Raises Forbidden,
    InvalidInput, Unavailable or Unreachable."""
    id = identity.execution_key(os.environ).uuid(1)
    try:
        windmill.run_flow(path, arguments, id)
    except errors.UserError as error:
        # The step was repeated.
        if not windmill.jobs([id]):
            raise _explain(path, error) from None
    return id


def _explain(path: str, error: errors.UserError) -> errors.UserError:
    if isinstance(error, errors.Forbidden):
        return errors.Forbidden(f"You may not run {path}", subject=path, remedy="Ask for the right to run it.")
    remedy = "Check that the pipeline is deployed."
    return errors.InvalidInput(f"Windmill does not start {path}", subject=path, remedy=remedy)
