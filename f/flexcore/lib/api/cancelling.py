# requirements: flexcore_api
"""Cancels an execution; doing it twice is the same as once."""

from __future__ import annotations

from f.flexcore.lib.api import executions, http, reading
from f.flexcore.lib.core import errors
from f.flexcore.lib.windmill import api

LONGEST_REASON = 500


def cancel(windmill: api.Windmill, asked: http.Request) -> executions.Job:
    """The job as it is now; it ends within some seconds. Raises NotFound, InvalidInput, or Conflict when it has ended
    otherwise."""
    reason, id = _reason(asked), asked.params.get("id", "")
    job = reading.found(windmill, id)
    if executions.status_of(job) == "canceled":
        return job
    _check_live(job)
    try:
        windmill.post(f"jobs_u/queue/cancel/{job['id']}", {"reason": reason})
    except (errors.NotFound, errors.InvalidInput):
        # It ended in between.
        job = reading.found(windmill, id)
        _check_live(job)
        raise
    return reading.found(windmill, id)


def _check_live(job: executions.Job) -> None:
    if job.get("type") == "CompletedJob":
        raise errors.Conflict(
            f"Execution {job['id']} has ended already ({executions.status_of(job)})",
            subject="id",
            remedy="Nothing is left to do.",
        )


def _reason(asked: http.Request) -> str:
    reason = asked.fields(("reason",), '{"reason": "…"} or nothing').get("reason", "cancelled by the API")
    if not isinstance(reason, str) or not 0 < len(reason) <= LONGEST_REASON:
        raise errors.InvalidInput(
            f"reason: must be text of 1 to {LONGEST_REASON} characters", subject="reason", remedy="Shorten it."
        )
    return reason
