# requirements: flexcore_base
"""Last step of the data pipeline: choice and forecast beside what really happened; of a plan, what would be done."""

import os
from typing import Any

from f.flexcore.lib.pipeline import attempts as attempts_of_loop
from f.flexcore.lib.pipeline import data_results
from f.flexcore.lib.windmill import client


def main(
    choice: dict, attempts: list | None = None, explain_only: bool = False, analysis: dict | None = None
) -> dict[str, Any]:
    choice = data_results.read_choice(choice, analysis)
    if explain_only:
        return _show(data_results.build_plan(choice).plain())
    windmill, flow_job = client.Client(), os.environ.get("WM_FLOW_JOB_ID", "")
    result = data_results.build_result(choice, attempts_of_loop.collect(choice, attempts, windmill, flow_job))
    data_results.raise_failure(result)
    return _show(result.plain())


def _show(plain: dict[str, Any]) -> dict[str, Any]:
    from f.flexcore.lib.views import result_pages

    return result_pages.show(result_pages.render_data_pipeline, plain, os.environ)
