# requirements: flexcore_kubernetes
"""Takes a deployed model back to the version that answered before, with the rights of whoever asks."""

from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes import rollback
from f.flexcore.lib.windmill import client


def main(resource: str, name: str, namespace: str = "", revision: int = 0) -> dict[str, Any]:
    windmill, path = client.Client(), errors.check_value(str, resource, "resource")
    cluster, settings = windmill.resource(path), windmill.find_resource(client.SETTINGS)
    done = rollback.roll_back_model(cluster, name, namespace, revision or 0, 600, settings)
    return done | {"wm_labels": [client.DASHBOARD_LABEL]}
