# requirements: flexcore_base
# py: ==3.11.*
"""Failure module of the hybrid pipeline: what failed, and what the finished stages left for the next run."""

from typing import Any

from f.flexcore.pipeline.stages import failure_of, stage_results


def main(
    error: dict,
    extraction: dict | None = None,
    ml: dict | None = None,
    deployment: dict | None = None,
    reused: list[str] | None = None,
) -> dict[str, Any]:
    stages = stage_results({"extraction": extraction, "ml": ml, "deployment": deployment}, set(reused or []))
    result = failure_of(error, stages)
    print(result.error)
    return result.plain()
