# requirements: flexcore_base
"""Hands on the result of a job after its cluster was released, or fails with the job's error."""

from typing import Any

from f.flexcore.lib.ray import released_result


def main(job: dict, release: dict | None = None) -> dict[str, Any]:
    return released_result.hand_on(job, release)
