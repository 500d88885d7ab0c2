# requirements: flexcore_kubernetes
"""One pass over the placed models: those whose cluster does not answer are served from another one.

Meant for a schedule. What is left behind goes with operations/reconcile, when its cluster answers again.
"""

from typing import Any

from f.flexcore.lib.kubernetes import model_moves
from f.flexcore.lib.windmill import client

c_flexcore_settings = dict


def main(settings: c_flexcore_settings) -> dict[str, Any]:
    return model_moves.move_models(settings, client.Client().resource)
