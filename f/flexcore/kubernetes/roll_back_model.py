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
    from_revision: int = 0,
) -> dict[str, Any]:
    wanted, present = revision or 0, from_revision or 0
    return rollback.roll_back_model(cluster, name, namespace, wanted, timeout_s or 600, settings, present)
