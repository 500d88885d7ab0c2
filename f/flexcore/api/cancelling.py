# requirements: flexcore_api
# py: ==3.11.*
"""Cancels an execution; doing it twice is the same as once."""

from __future__ import annotations

from f.flexcore.api.exchange import Request
from f.flexcore.api.executions import Job, status_of
from f.flexcore.api.reading import found
from f.flexcore.api.windmill import Windmill
from f.flexcore.core.errors import Conflict, InvalidInput, NotFound

LONGEST_REASON = 500


def cancel(windmill: Windmill, asked: Request) -> Job:
    """The job as it is now; it ends within some seconds. Raises NotFound, InvalidInput, or Conflict when it has ended
    otherwise."""
    reason, id = _reason(asked), asked.params.get("id", "")
    job = found(windmill, id)
    if status_of(job) == "canceled":
        return job
    _check_live(job)
    try:
        windmill.post(f"jobs_u/queue/cancel/{job['id']}", {"reason": reason})
    except (NotFound, InvalidInput):
        # It ended in between.
        job = found(windmill, id)
        _check_live(job)
        raise
    return found(windmill, id)


def _check_live(job: Job) -> None:
    if job.get("type") == "CompletedJob":
        raise Conflict(
            f"Execution {job['id']} has ended already ({status_of(job)})", subject="id", remedy="Nothing is left to do."
        )


def _reason(asked: Request) -> str:
    reason = asked.fields(("reason",), '{"reason": "…"} or nothing').get("reason", "cancelled by the API")
    if not isinstance(reason, str) or not 0 < len(reason) <= LONGEST_REASON:
        raise InvalidInput(
            f"reason: must be text of 1 to {LONGEST_REASON} characters", subject="reason", remedy="Shorten it."
        )
    return reason
