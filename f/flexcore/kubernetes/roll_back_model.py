# requirements: flexcore_kubernetes
"""Takes a deployed model back to the version that answered before, or to a revision that is still kept."""

from typing import Any

from f.flexcore.lib.kubernetes import rollback

c_kubernetes_cluster = dict
c_flexcore_settings = dict


def main(
    cluster: c_kubernetes_cluster,
    name: str,
    namespace: str = "",
    revision: int = 0,
    timeout_s: int = 600,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    return rollback.roll_back_model(cluster, name, namespace, revision or 0, timeout_s or 600, settings)
