# requirements: flexcore_base
"""Evaluates the attempt of a runtime that did not do the work: it failed there, or never began and the next one may."""

import os
from typing import Any

from f.flexcore.lib.pipeline import attempts
from f.flexcore.lib.windmill import client


def main(runtime: str, result: dict) -> dict[str, Any]:
    duration_s = client.read_step_duration_s(client.Client(), os.environ.get("WM_FLOW_JOB_ID", ""), attempts.STEP)
    attempt = attempts.evaluate_attempt(runtime, result, duration_s)
    if attempt.error:
        verb = "failed" if attempt.started else "could not start"
        print(f"{runtime} {verb}: {attempt.error.get('message')}")
    return {"final": attempt.final, "attempt": attempt.plain()}
