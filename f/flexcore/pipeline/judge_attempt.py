# requirements: flexcore_base
# py: ==3.11.*
"""What became of one runtime's turn: it did the work, the work failed on it, or it never began and the next one may."""

import os
from typing import Any

import wmill

from f.flexcore.core.errors import FlexcoreError
from f.flexcore.core.outcomes import attempt_of
from f.flexcore.operations.jobs import Jobs
from f.flexcore.operations.windmill_api import WindmillApi

STEP = "attempt"


def main(runtime: str, result: dict) -> dict[str, Any]:
    client: Any = wmill.Windmill()  # type: ignore[no-untyped-call]
    attempt = attempt_of(runtime, result, seconds_of_step(Jobs(WindmillApi(client.client, str(client.workspace)))))
    if attempt.error:
        verb = "failed" if attempt.started else "could not start"
        print(f"{runtime} {verb}: {attempt.error.get('message')}")
    return {"final": attempt.final, "attempt": attempt.plain()}


def seconds_of_step(jobs: Jobs) -> float | None:
    """How long the step before this one took, by Windmill's clock; None when it does not say."""
    try:
        modules = (jobs.job(os.environ.get("WM_FLOW_JOB_ID", "")).get("flow_status") or {}).get("modules") or []
        job = next((module.get("job") for module in modules if module.get("id") == STEP), None)
        duration = jobs.job(job).get("duration_ms") if job else None
    except FlexcoreError:
        return None
    return None if duration is None else duration / 1000
