# requirements: flexcore_base
"""Last step of the data pipeline: choice and forecast beside what really happened; of a plan, what would be done."""

import os
from typing import Any

from f.flexcore.lib.pipeline import attempts as attempts_of_loop
from f.flexcore.lib.pipeline import data_results
from f.flexcore.lib.windmill import client


def main(choice: dict, attempts: list | None = None, explain_only: bool = False) -> dict[str, Any]:
    if explain_only:
        return data_results.build_plan(choice).plain()
    windmill, flow_job = client.Client(), os.environ.get("WM_FLOW_JOB_ID", "")
    result = data_results.build_result(choice, attempts_of_loop.collect(choice, attempts, windmill, flow_job))
    data_results.raise_failure(result)
    return result.plain()
