# requirements: flexcore_kubernetes
"""Of one level of a workflow, the containers that can run, each with what its needs have handed on."""

from typing import Any

from f.flexcore.lib.kubernetes import workflow_state


def main(plan: dict, level: list[str], before: dict | None = None) -> dict[str, Any]:
    return workflow_state.select(plan, level, before)
