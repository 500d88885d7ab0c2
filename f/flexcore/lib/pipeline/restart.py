# requirements: flexcore_base
"""A run started again: from what it has finished where its workflow can, else whole, with the same arguments."""

from __future__ import annotations

from f.flexcore.lib.core import errors
from f.flexcore.lib.pipeline import resume
from f.flexcore.lib.windmill import client, execution_models, executions, stops


def find_offer(windmill: client.Client, job: execution_models.Job) -> execution_models.RestartOffer:
    """What a restart of the run would be. job: whole."""
    try:
        check_restartable(job)
    except errors.FlexcoreError as error:
        return execution_models.RestartOffer(str(error))
    if not resume.PIPELINES.get(str(job.get("script_path"))):
        return execution_models.RestartOffer()
    return execution_models.RestartOffer(
        resumes=True, kept=tuple(resume.list_names(resume.completed_stages(windmill, dict(job))))
    )


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
    """The id of the new run. Raises as check_restartable does, NotFound for what is no execution, and Conflict for one
    of a workflow that is stopped."""
    job = executions.read_execution(windmill, execution)
    check_restartable(job)
    path = str(job["script_path"])
    if stop := stops.find_stop(windmill, execution_models.job_workflow(job)):
        raise stops.refusal(stop)
    if path in resume.PIPELINES:
        return resume.start(windmill, path, resume.arguments(job, resume.completed_stages(windmill, dict(job))))
    return resume.start(windmill, path, dict(job["args"]))
