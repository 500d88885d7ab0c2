# requirements: flexcore_kubernetes
"""Last step of a workflow of containers: the result of each, or an error with the partial results."""

import os
from typing import Any

from f.flexcore.lib.kubernetes import workflow_state


def main(plan: dict, levels: list[dict] | None = None) -> dict[str, Any]:
    result = workflow_state.compose(plan, levels, os.environ.get("WM_FLOW_JOB_ID", ""))
    from f.flexcore.lib.views import result_pages

    return result_pages.show(result_pages.render_workflow, result, os.environ)
