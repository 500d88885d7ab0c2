# requirements: flexcore_api
"""Executions read from Windmill, listed newest first, started once for each idempotency key, and canceled.

The key, with the user and the workspace, makes the job's id: Windmill's own rule that an id exists once is what keeps a
repeat from starting a second execution. There is no store of keys that could be out of step with the jobs.
"""

from __future__ import annotations

import re
import uuid
from typing import Any

from f.flexcore.lib.api import http, request_arguments
from f.flexcore.lib.core import errors
from f.flexcore.lib.windmill import client, execution_models, executions, stops

MAX_KEY_LENGTH = 255
MAX_REASON_LENGTH = 500
STARTABLE_WORKFLOW = re.compile(r"(hybrid_pipeline|data_pipeline|templates/[a-z_][a-z0-9_]*)")
KEY_NAMESPACE = uuid.UUID("b1c2a6d4-52a5-4f0e-9a0e-5c3f6f1d7e90")


def list_workflows(windmill: client.Client) -> list[dict[str, Any]]:
    """Those that are deployed and that the caller may see: name, summary, description, schema."""
    names = executions.list_workflows(windmill)
    return [_workflow(windmill, name) for name in names if STARTABLE_WORKFLOW.fullmatch(name)]


def _workflow(windmill: client.Client, name: str) -> dict[str, Any]:
    flow = windmill.get(f"flows/get/{execution_models.BUNDLE_FOLDER}{name}")
    texts = {field: flow.get(field) or "" for field in ("summary", "description")}
    return {"name": name, **texts, "schema": request_arguments.public_schema(flow.get("schema") or {})}


def start_execution(windmill: client.Client, request: http.Request) -> tuple[execution_models.Job, bool]:
    """The job, and whether it had been started before. Raises InvalidInput, NotFound or Forbidden."""
    workflow, arguments = _parse_start(request)
    path = execution_models.BUNDLE_FOLDER + workflow
    schema = _read_schema(windmill, path)
    request_arguments.check_arguments(arguments, schema)
    arguments = request_arguments.with_defaults(arguments, schema)
    id = _job_id(windmill, request.key) if request.key else str(uuid.uuid4())
    if request.key and (job := _find_job(windmill, id)):
        return _check_repeat(windmill, job, path, arguments), True
    if stop := stops.find_stop(windmill, workflow):
        raise stops.refusal(stop)
    try:
        windmill.run_flow(path, arguments, id)
    except errors.InvalidInput:
        # A repeat that came at the same time was first.
        if not (request.key and (job := _find_job(windmill, id))):
            raise
        return _check_repeat(windmill, job, path, arguments), True
    return windmill.job(id), False


def _parse_start(request: http.Request) -> tuple[str, dict[str, Any]]:
    fields = request.fields(("workflow", "arguments"), '{"workflow": "hybrid_pipeline", "arguments": {…}}')
    workflow, arguments = fields.get("workflow"), fields.get("arguments", {})
    if not isinstance(workflow, str) or not STARTABLE_WORKFLOW.fullmatch(workflow):
        raise errors.InvalidInput(
            "workflow: is not the name of a workflow that can be started",
            subject="workflow",
            remedy="Use hybrid_pipeline, data_pipeline or templates/NAME; GET flexcore/workflows lists them.",
        )
    if not isinstance(arguments, dict):
        raise errors.InvalidInput(
            "arguments: must be an object", subject="arguments", remedy="Send the flow's inputs by name."
        )
    return workflow, arguments


def _read_schema(windmill: client.Client, path: str) -> dict[str, Any]:
    try:
        return dict(windmill.get(f"flows/get/{path}").get("schema") or {})
    except errors.NotFound:
        raise errors.NotFound(
            f"There is no workflow {path.removeprefix(execution_models.BUNDLE_FOLDER)}",
            subject="workflow",
            remedy="GET flexcore/workflows lists those that are deployed and that you may see.",
        ) from None


def _job_id(windmill: client.Client, key: str) -> str:
    if len(key) > MAX_KEY_LENGTH or not key.isascii() or not key.isprintable():
        raise errors.InvalidInput(
            f"Idempotency-Key: must be 1 to {MAX_KEY_LENGTH} printable ASCII characters",
            subject="Idempotency-Key",
            remedy="Send a fresh UUID for each execution, and the same one when you repeat the request.",
        )
    user = windmill.get("users/whoami")["email"]
    return str(uuid.uuid5(KEY_NAMESPACE, f"{windmill.workspace}\n{user}\n{key}"))


def _find_job(windmill: client.Client, id: str) -> execution_models.Job | None:
    try:
        return windmill.job(id)
    except errors.NotFound:
        return None


def _check_repeat(
    windmill: client.Client, job: execution_models.Job, path: str, arguments: dict[str, Any]
) -> execution_models.Job:
    """The job that the key has started. Raises InvalidInput when the key was used for something else."""
    same = execution_models.is_execution(job) and job["script_path"] == path
    if not same or windmill.get(f"jobs_u/get_args/{job['id']}") != arguments:
        raise errors.InvalidInput(
            "Idempotency-Key: was used for another request",
            subject="Idempotency-Key",
            remedy="Send a fresh key for a new execution, and the same body when you repeat one.",
        )
    return job


def cancel_execution(windmill: client.Client, request: http.Request) -> execution_models.Job:
    """The job as it is now; it ends within some seconds, and to cancel it twice is the same as once.

    Raises NotFound, InvalidInput, or Conflict when it has ended otherwise."""
    reason = _parse_reason(request)
    return executions.cancel_execution(windmill, request.params.get("id", ""), reason)


def _parse_reason(request: http.Request) -> str:
    reason = request.fields(("reason",), '{"reason": "…"} or nothing').get("reason", "cancelled by the API")
    if not isinstance(reason, str) or not 0 < len(reason) <= MAX_REASON_LENGTH:
        raise errors.InvalidInput(
            f"reason: must be text of 1 to {MAX_REASON_LENGTH} characters", subject="reason", remedy="Shorten it."
        )
    return reason
