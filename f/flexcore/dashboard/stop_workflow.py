# requirements: flexcore_base
"""Cancels all executions of a workflow and refuses new ones until the stop is undone; with who, when and why."""

from datetime import UTC, datetime
from typing import Any

from f.flexcore.lib.dashboard import shapes, stopping
from f.flexcore.lib.windmill import client


def main(workflow: str, reason: str) -> dict[str, Any]:
    stop = stopping.stop_workflow(client.Client(), workflow, reason, datetime.now(UTC))
    print(f"{stop.workflow} is stopped ({stop.id}); {len(stop.canceled)} executions canceled")
    return stop.plain() | {"wm_labels": [shapes.LABEL]}
