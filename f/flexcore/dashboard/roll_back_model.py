# requirements: flexcore_kubernetes
"""Takes a deployed model back to the version that answered before, with the rights of whoever asks."""

from typing import Any, Literal

from f.flexcore.lib.core import errors
from f.flexcore.lib.windmill import client


def main(
    resource: str,
    name: str,
    namespace: str = "",
    revision: int = 0,
    runtime: str = "kubernetes",
    from_revision: int = 0,
) -> dict[str, Any]:
    windmill, path = client.Client(), errors.check_value(str, resource, "resource")
    cluster, settings = windmill.resource(path), windmill.find_resource(client.SETTINGS)
    # Each runtime is imported where it is asked.
    if errors.check_value(Literal["kubernetes", "ray"], runtime, "runtime") == "ray":
        from f.flexcore.lib.ray import serve_release

        request = {"name": name, "rollback": True, "from_revision": from_revision or 0}
        done = serve_release.SET_TRAFFIC.run({"cluster": cluster, "settings": settings, **request})
    else:
        from f.flexcore.lib.kubernetes import rollback

        done = rollback.roll_back_model(cluster, name, namespace, revision or 0, 600, settings, from_revision or 0)
    return done | {"wm_labels": [client.DASHBOARD_LABEL]}
