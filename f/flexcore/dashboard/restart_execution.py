# requirements: flexcore_base
"""Starts a failed or canceled execution again: from what it has finished where its workflow can do that, else whole."""

from typing import Any

from f.flexcore.lib.dashboard import shapes
from f.flexcore.lib.pipeline import restart
from f.flexcore.lib.windmill import client


def main(execution: str) -> dict[str, Any]:
    started = restart.restart_execution(client.Client(), execution)
    print(f"{execution} is started again as {started}")
    return {"execution": started, "wm_labels": [shapes.LABEL]}
