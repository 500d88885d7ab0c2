# requirements: flexcore_base
# py: ==3.11.*
"""Failure module of the hybrid pipeline: what failed, and what the finished stages left for the next run."""

from typing import Any

from f.flexcore.pipeline.stages import failure_of, given_back, stage_results


def main(
    error: dict,
    extraction: dict | None = None,
    ml: dict | None = None,
    deployment: dict | None = None,
    reused: list[str] | None = None,
    partial_results: list[dict] | None = None,
    requests: dict | None = None,
) -> dict[str, Any]:
    stages = stage_results({"extraction": extraction, "ml": ml, "deployment": deployment}, set(reused or []), requests)
    # A request that was refused has run nothing, and loses nothing of what came with it.
    result = failure_of(error, stages or given_back(error, partial_results))
    print(result.error)
    return result.plain()
