# requirements: flexcore_api
"""Starts an execution, once for each idempotency key.

The key, with the user and the workspace, makes the job's id: Windmill's own rule that an id exists once is what keeps a
repeat from starting a second execution. There is no store of keys that could be out of step with the jobs.
"""

from __future__ import annotations

import re
import uuid
from typing import Any

from f.flexcore.lib.api import executions, http, request_arguments
from f.flexcore.lib.core import errors
from f.flexcore.lib.windmill import api

WORKFLOW = re.compile(r"(hybrid_pipeline|data_pipeline|templates/[a-z_][a-z0-9_]*)")
LONGEST_KEY = 255
MOST_FLOWS = 1000
NAMESPACE = uuid.UUID("b1c2a6d4-52a5-4f0e-9a0e-5c3f6f1d7e90")


def start(windmill: api.Windmill, asked: http.Request) -> tuple[executions.Job, bool]:
    """The job, and whether it had been started before. Raises InvalidInput, NotFound or Forbidden."""
    workflow, arguments = _asked(asked)
    path = executions.FOLDER + workflow
    schema = _schema(windmill, path)
    request_arguments.check_arguments(arguments, schema)
    arguments = request_arguments.with_defaults(arguments, schema)
    id = _id(windmill, asked.key) if asked.key else ""
    if id and (job := _known(windmill, id)):
        return _repeated(windmill, job, path, arguments), True
    try:
        id = windmill.post(f"jobs/run/f/{path}", arguments, **({"job_id": id} if id else {}))
    except errors.InvalidInput:
        # A repeat that came at the same time was first.
        if not (id and (job := _known(windmill, id))):
            raise
        return _repeated(windmill, job, path, arguments), True
    return dict(windmill.get(f"jobs_u/get/{id}", no_logs="true", no_code="true")), False


def _asked(asked: http.Request) -> tuple[str, dict[str, Any]]:
    given = asked.fields(("workflow", "arguments"), '{"workflow": "hybrid_pipeline", "arguments": {…}}')
    workflow, arguments = given.get("workflow"), given.get("arguments", {})
    if not isinstance(workflow, str) or not WORKFLOW.fullmatch(workflow):
        raise errors.InvalidInput(
            "workflow: names no workflow that can be started",
            subject="workflow",
            remedy="Use hybrid_pipeline, data_pipeline or templates/NAME; GET flexcore/workflows lists them.",
        )
    if not isinstance(arguments, dict):
        raise errors.InvalidInput(
            "arguments: must be an object", subject="arguments", remedy="Send the flow's inputs by name."
        )
    return workflow, arguments


def _schema(windmill: api.Windmill, path: str) -> dict[str, Any]:
    try:
        return dict(windmill.get(f"flows/get/{path}").get("schema") or {})
    except errors.NotFound:
        raise errors.NotFound(
            f"There is no workflow {path.removeprefix(executions.FOLDER)}",
            subject="workflow",
            remedy="GET flexcore/workflows lists those that are deployed and that you may see.",
        ) from None


def _id(windmill: api.Windmill, key: str) -> str:
    if len(key) > LONGEST_KEY or not key.isascii() or not key.isprintable():
        raise errors.InvalidInput(
            f"Idempotency-Key: must be 1 to {LONGEST_KEY} printable ASCII characters",
            subject="Idempotency-Key",
            remedy="Send a fresh UUID for each execution, and the same one when you repeat the request.",
        )
    user = windmill.get("users/whoami")["email"]
    return str(uuid.uuid5(NAMESPACE, f"{windmill.workspace}\n{user}\n{key}"))


def _known(windmill: api.Windmill, id: str) -> executions.Job | None:
    try:
        return dict(windmill.get(f"jobs_u/get/{id}", no_logs="true", no_code="true"))
    except errors.NotFound:
        return None


def _repeated(windmill: api.Windmill, job: executions.Job, path: str, arguments: dict[str, Any]) -> executions.Job:
    """Raises InvalidInput when the key was used for something else."""
    same = executions.is_execution(job) and job["script_path"] == path
    if not same or windmill.get(f"jobs_u/get_args/{job['id']}") != arguments:
        raise errors.InvalidInput(
            "Idempotency-Key: was used for another request",
            subject="Idempotency-Key",
            remedy="Send a fresh key for a new execution, and the same body when you repeat one.",
        )
    return job


def workflows(windmill: api.Windmill) -> list[dict[str, Any]]:
    """Those that are deployed and that the caller may see: name, summary, description, schema."""
    flows = windmill.get("flows/list", path_start=executions.FOLDER, per_page=MOST_FLOWS)
    names = sorted(
        str(flow["path"]).removeprefix(executions.FOLDER)
        for flow in flows
        if str(flow["path"]).startswith(executions.FOLDER)
    )
    found = []
    for name in names:
        if WORKFLOW.fullmatch(name):
            flow = windmill.get(f"flows/get/{executions.FOLDER}{name}")
            told = {word: flow.get(word) or "" for word in ("summary", "description")}
            found.append({"name": name, **told, "schema": request_arguments.told_schema(flow.get("schema") or {})})
    return found
