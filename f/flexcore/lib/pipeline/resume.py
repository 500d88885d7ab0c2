# requirements: flexcore_base
"""Whether a run can be started again from what it has finished, and with which arguments. Pure.

A job is as Windmill's `jobs_u/get` tells it: type (QueuedJob or CompletedJob), job_kind, script_path, success, args
and result.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from f.flexcore.lib.core import errors

HYBRID = "f/flexcore/hybrid_pipeline"
# Flow → the argument that takes what an earlier run has finished; None where each run does one piece of work.
PIPELINES: dict[str, str | None] = {HYBRID: "partial_results", "f/flexcore/data_pipeline": None}
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
    """The same arguments, with what was finished. References to resources stay references. Raises NotFound."""
    given = job.get("args")
    if not isinstance(given, Mapping) or TOO_BIG in map(str, given.values()) or given.get("reason") == TOO_BIG:
        raise errors.NotFound(
            "Windmill no longer tells the arguments of this run",
            subject="execution",
            remedy="Start the pipeline from its form, with the partial_results of the run's result.",
        )
    field = PIPELINES[str(job["script_path"])]
    return {**given, **({field: finished} if field else {})}


def told_results(job: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The partial results in the run's own result; None when it has none, as after a cancel."""
    result = job.get("result")
    found = result.get("partial_results") if isinstance(result, Mapping) else None
    return [dict(item) for item in found] if isinstance(found, list) else None
