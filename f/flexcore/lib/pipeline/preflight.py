# requirements: flexcore_base
"""What can be told of the last stage before the first has run, without asking a service. Pure but for a kubeconfig's
own files."""

from __future__ import annotations

from typing import Any

from f.flexcore.lib.core import errors, resources
from f.flexcore.lib.kubernetes import connection, pod_spec


def check_kubernetes(request: dict[str, Any], cluster: Any, settings: resources.Settings) -> None:
    """Raises InvalidInput or MissingSetting, as the deployment itself would at the end of the pipeline."""
    resource = errors.validated(resources.KubernetesCluster, cluster or {}, "cluster")
    connection.check_place(request["namespace"], resource, settings)
    if request["image"]:
        pod_spec.check_image(request["image"])
    if not request["model_source"] and not settings.storage_uri.startswith("s3://"):
        raise errors.InvalidInput(
            "The model would be stored where no pod can reach it",
            subject="settings.storage_uri",
            remedy="Use an s3:// storage_uri in the settings, or set model_source to pvc://CLAIM/FOLDER or image.",
        )
