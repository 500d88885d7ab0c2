# requirements: flexcore_base
# py: ==3.11.*
"""Last step of the hybrid pipeline: the stages and the endpoint, as one PipelineResult."""

from typing import Any

from f.flexcore.pipeline.stages import stage_results, success_of


def main(
    extraction: dict, ml: dict, deployment: dict, reused: list[str] | None = None, requests: dict | None = None
) -> dict[str, Any]:
    stages = stage_results({"extraction": extraction, "ml": ml, "deployment": deployment}, reused, requests)
    return success_of(stages).plain()
