# requirements: flexcore_kubernetes
"""Takes a placed model down on every cluster; a cluster that does not answer now is cleaned when it does again."""

from typing import Any

from f.flexcore.lib.kubernetes import model_withdrawal
from f.flexcore.lib.windmill import client

c_flexcore_settings = dict


def main(
    name: str,
    namespace: str = "",
    timeout_s: int = 120,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    return model_withdrawal.withdraw_model(name, namespace, timeout_s, settings, client.Client().resource)
