# requirements: flexcore_base
"""Starts a failed or cancelled pipeline again with the same arguments, from what it has finished."""

import os
from typing import Any
from uuid import UUID

import httpx
import wmill

from f.flexcore.lib.core import errors
from f.flexcore.lib.operations import job_records
from f.flexcore.lib.pipeline import resume, stage_results
from f.flexcore.lib.windmill import instance


def main(execution: str, dry_run: bool = False) -> dict[str, Any]:
    try:
        name = str(UUID(execution.strip()))
    except (ValueError, AttributeError):
        problem = f"{execution!r} is no id of a run"
        raise errors.InvalidInput(problem, subject="execution", remedy="Copy it from the run's page.") from None
    client: Any = wmill.Windmill()  # type: ignore[no-untyped-call]
    api = instance.WindmillApi(client.client, str(client.workspace))
    job = job_records.Jobs(api).job(name)
    path = resume.check_resumable(job)
    finished = (resume.told_results(job) or finished_stages(api, name)) if path == resume.HYBRID else []
    args = resume.arguments(job, finished)
    stages = [str(item.get("stage")) for item in finished]
    print(f"{path} goes on after {', '.join(stages)}" if stages else f"{path} begins again: nothing was finished")
    answer: dict[str, Any] = {"path": path, "resumed": name, "finished": stages, "started": None, "url": None}
    if dry_run:
        return answer
    started = start(api, path, args)
    base = os.environ.get("WM_BASE_URL", "").rstrip("/")
    return answer | {"started": started, "url": f"{base}/run/{started}?workspace={api.workspace}"}


def finished_stages(api: instance.WindmillApi, flow: str) -> list[dict[str, Any]]:
    """Of a run that was cancelled, or whose failure module could not tell: what its steps have left."""

    def left_by(step: str) -> Any:
        try:
            return api.get(f"jobs/result_by_id/{flow}/{step}")
        except errors.FlexcoreError:
            return None

    prepared = left_by("prepare")
    requests = prepared.get("requests") if isinstance(prepared, dict) else None
    reused = prepared.get("reused") if isinstance(prepared, dict) else None
    found = stage_results.collect_stages(
        {stage: left_by(stage) for stage in stage_results.STAGES}, set(reused or []), requests
    )
    return [item.plain() for item in found]


def start(api: instance.WindmillApi, path: str, args: dict[str, Any]) -> str:
    """The id of a run of its own, which this job's end does not touch."""
    try:
        answer = api.post(f"jobs/run/f/{path}", args)
    except httpx.HTTPError as error:
        reason = f"Windmill does not answer: {type(error).__name__}"
        raise errors.Unreachable(reason, subject="workspace", remedy="Look at the runs, then try again.") from None
    if answer.status_code in (401, 403):
        raise errors.Forbidden(f"You may not run {path}", subject=path, remedy="Ask for the right to run it.")
    if not answer.is_success:
        remedy = "Check that the pipeline is deployed."
        raise errors.InvalidInput(
            f"Windmill does not start {path} (HTTP {answer.status_code})", subject=path, remedy=remedy
        )
    return answer.text.strip().strip('"')
