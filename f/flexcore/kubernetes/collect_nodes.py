# requirements: flexcore_kubernetes
"""What a workflow has finished after a level, and what failed."""

from typing import Any

from f.flexcore.lib.kubernetes import workflow_state


def main(plan: dict, ready: dict, ran: list[dict] | None = None) -> dict[str, Any]:
    return workflow_state.collect(plan, ready, ran)
