# requirements: flexcore_base
"""A run started again: from what it has finished where its workflow can, else with the same arguments."""

from __future__ import annotations

from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.pipeline import resume
from f.flexcore.lib.windmill import client, execution_models, executions

# It takes the run whose finished nodes it keeps.
RESUMED_BY_ID = {"f/flexcore/templates/container_workflow": "resume_from"}


def refusal(job: execution_models.Job) -> str | None:
    """Why it cannot be started again; None when it can."""
    try:
        check_restartable(job)
    except errors.FlexcoreError as error:
        return str(error)
    return None


def check_restartable(job: execution_models.Job) -> None:
    """Raises InvalidInput for what cannot be started again, Unavailable for what still runs, NotFound when the
    arguments are gone."""
    if job.get("script_path") in resume.PIPELINES:
        resume.check_resumable(job)
        resume.arguments(job, [])
        return
    if job.get("type") != "CompletedJob":
        raise errors.Unavailable(
            f"{job.get('id')} is still running",
            subject="execution",
            remedy="Wait for its end, or cancel it first.",
            category="still_running",
        )
    if job.get("success") and not job.get("canceled"):
        raise errors.InvalidInput(
            f"{job.get('id')} has succeeded: there is nothing to resume",
            subject="execution",
            remedy="Start a new run if you want it done again.",
            category="succeeded",
        )
    check_arguments_known(job)


def check_arguments_known(job: execution_models.Job) -> None:
    given = job.get("args")
    if not isinstance(given, dict) or resume.TOO_BIG in map(str, given.values()):
        raise errors.NotFound(
            "Windmill no longer has the arguments of this run",
            subject="execution",
            remedy="Start the workflow from its form.",
        )


def restart_execution(windmill: client.Client, execution: str) -> str:
    """The id of the new run. Raises as check_restartable does, and NotFound for what is no execution."""
    job = executions.read_execution(windmill, execution)
    check_restartable(job)
    path = str(job["script_path"])
    if path in resume.PIPELINES:
        return resume.start(windmill, path, resume.arguments(job, resume.completed_stages(windmill, dict(job))))
    arguments: dict[str, Any] = dict(job["args"])
    if field := RESUMED_BY_ID.get(path):
        arguments[field] = str(job["id"])
    return resume.start(windmill, path, arguments)
