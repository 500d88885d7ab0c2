# requirements: flexcore_api
# py: ==3.11.*
"""Cancels an execution; doing it twice is the same as once."""

from __future__ import annotations

from typing import Any

from f.flexcore.api.exchange import check_known
from f.flexcore.api.executions import Job, status_of
from f.flexcore.api.reading import found
from f.flexcore.api.windmill import Windmill
from f.flexcore.core.errors import Conflict, InvalidInput, NotFound

LONGEST_REASON = 500


def cancel(windmill: Windmill, id: str, body: Any) -> Job:
    """The job as it is now; it ends within some seconds. Raises NotFound, InvalidInput, or Conflict when it has ended
    otherwise."""
    reason = _reason(body)
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


def _reason(body: Any) -> str:
    given = {} if body is None or body == "" else body
    if not isinstance(given, dict):
        raise InvalidInput("The body is no JSON object", subject="body", remedy='Send {"reason": "…"} or nothing.')
    check_known(given, ("reason",), "Field")
    reason = given.get("reason", "cancelled by the API")
    if not isinstance(reason, str) or not 0 < len(reason) <= LONGEST_REASON:
        raise InvalidInput(
            f"reason: must be text of 1 to {LONGEST_REASON} characters", subject="reason", remedy="Shorten it."
        )
    return reason
