# requirements: flexcore_base
"""The applications of a RayService, as Ray Serve builds them from its config in a pod. Shipped in a ConfigMap.

    import_path: …serve_config:build_version   args: {model, storage, options, packages}
    import_path: …serve_config:build_ingress   args: {replicas}; the shares come by the deployment's user_config

The keys of the store are in the pods' environment, which a Secret fills: a config can be read by whoever reads the
dashboard.
"""

from __future__ import annotations

import os
from typing import Any

from f.flexcore.lib.ray.remote import inference_app, serve_changes, traffic

Json = dict[str, Any]
# Environment variable → key of `storage`.
KEYS = {"FLEXCORE_STORAGE_ACCESS_KEY": "access_key", "FLEXCORE_STORAGE_SECRET_KEY": "secret_key"}


class PodModelApp(inference_app.ModelApp):
    """A replica that finds the keys of the store in its pod."""

    def __init__(self, model: Json, storage: Json) -> None:
        keys = {key: os.environ[name] for name, key in KEYS.items() if os.environ.get(name)}
        super().__init__(model, {**storage, **keys})


def build_version(args: dict[str, Any]) -> Any:
    from ray import serve

    make: Any = serve.deployment
    environment: Json = {"uv": args["packages"]} if args["packages"] else {}
    deployment = serve_changes.configure_version(make(PodModelApp), args["model"], args["options"], environment)
    return deployment.bind(args["model"], args["storage"])


def build_ingress(args: dict[str, Any]) -> Any:
    from ray import serve

    make: Any = serve.deployment
    return serve_changes.configure_ingress(make(traffic.Traffic), None, int(args["replicas"]), {}).bind()
