# requirements: flexcore_base
"""Last step of the hybrid pipeline: the stages and the endpoint, as one PipelineResult."""

import os
from typing import Any

from f.flexcore.lib.pipeline import stage_results


def main(
    extraction: dict, ml: dict, deployment: dict, reused: list[str] | None = None, requests: dict | None = None
) -> dict[str, Any]:
    stages = stage_results.collect_stages(
        {"extraction": extraction, "ml": ml, "deployment": deployment}, reused, requests
    )
    result = stage_results.build_success(stages).plain()
    from f.flexcore.lib.views import result_pages

    return result_pages.show(result_pages.render_pipeline, result, os.environ)
