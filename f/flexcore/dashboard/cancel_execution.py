# requirements: flexcore_base
"""Cancels an execution, when whoever asks started it or may write in its folder."""

from typing import Any

from f.flexcore.lib.dashboard import cancel, shapes
from f.flexcore.lib.windmill import client


def main(execution: str, reason: str = "") -> dict[str, Any]:
    return {"execution": cancel.cancel_execution(client.Client(), execution, reason), "wm_labels": [shapes.LABEL]}
