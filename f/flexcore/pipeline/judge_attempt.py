# requirements: flexcore_base
"""What became of one runtime's turn: it did the work, the work failed on it, or it never began and the next one may."""

import os
from typing import Any

from f.flexcore.lib.core import errors, pipeline_result
from f.flexcore.lib.windmill import client

STEP = "attempt"


def main(runtime: str, result: dict) -> dict[str, Any]:
    attempt = pipeline_result.attempt_of(runtime, result, seconds_of_step(client.Client()))
    if attempt.error:
        verb = "failed" if attempt.started else "could not start"
        print(f"{runtime} {verb}: {attempt.error.get('message')}")
    return {"final": attempt.final, "attempt": attempt.plain()}


def seconds_of_step(windmill: client.Client) -> float | None:
    """How long the step before this one took, by Windmill's clock; None when it does not say."""
    try:
        modules = (windmill.job(os.environ.get("WM_FLOW_JOB_ID", "")).get("flow_status") or {}).get("modules") or []
        job = next((module.get("job") for module in modules if module.get("id") == STEP), None)
        duration = windmill.job(job).get("duration_ms") if job else None
    except errors.FlexcoreError:
        return None
    return None if duration is None else duration / 1000
