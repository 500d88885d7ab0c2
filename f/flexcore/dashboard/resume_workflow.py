# requirements: flexcore_base
"""Undoes the stop of a workflow: new executions may begin again. What the stop has canceled stays canceled."""

from datetime import UTC, datetime
from typing import Any

from f.flexcore.lib.dashboard import shapes, stopping
from f.flexcore.lib.windmill import client


def main(stop: str) -> dict[str, Any]:
    undone = stopping.resume_workflow(client.Client(), stop, datetime.now(UTC))
    print(f"{undone.workflow} may run again")
    return undone.plain() | {"wm_labels": [shapes.LABEL]}
