# requirements: flexcore_base
"""A session with the Kubernetes cluster that a resource of Ray names: for clusters, jobs and services of KubeRay.

`kubernetes_cluster` is the path of a c_kubernetes_cluster resource, read with the rights of the job that runs; an empty
one is the cluster that the worker runs in. By httpx: these steps do not have the official client.
"""

from __future__ import annotations

from dataclasses import dataclass

from f.flexcore.lib.core import errors, redaction, resources
from f.flexcore.lib.kubernetes_api import credentials, http_client
from f.flexcore.lib.windmill import client as windmill_client

# Kubernetes' own.
DEFAULT_NAMESPACE = "default"


@dataclass(frozen=True, slots=True)
class Session:
    """is_inside: whether this worker is in the cluster, so that names of its Services resolve here."""

    kubernetes: http_client.HttpKubernetes
    namespace: str
    is_inside: bool

    def close(self) -> None:
        self.kubernetes.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_session(cluster: resources.RayCluster, settings: resources.Settings | None = None) -> Session:
    """A Session; nothing is sent to Kubernetes yet. Raises InvalidInput, MissingSetting, or, of Windmill, NotFound and
    others."""
    found = read_kubernetes_cluster(cluster.kubernetes_cluster)
    access = credentials.resolve_access(found)
    if access.proxy.startswith("socks"):
        raise errors.InvalidInput(
            "cluster.kubernetes_cluster has a SOCKS proxy (proxy-url), which these steps cannot use",
            subject="cluster.kubernetes_cluster",
            remedy="Give an HTTP proxy in proxy-url, or a server address that the worker reaches itself.",
        )
    is_inside = found.mode == "in_cluster" or (found.mode == "auto" and not (found.kubeconfig or found.server))
    namespace = cluster.namespace or found.namespace or access.namespace
    if not namespace and settings and "namespace" in settings.model_fields_set:
        namespace = settings.namespace
    redactor = redaction.Redactor([*found.secrets(), *access.secrets()])
    return Session(http_client.HttpKubernetes(access, redactor), namespace or DEFAULT_NAMESPACE, is_inside)


def read_kubernetes_cluster(path: str) -> resources.KubernetesCluster:
    """The resource at `path`; without a path, the cluster that the worker runs in."""
    if not path:
        return resources.KubernetesCluster(mode="in_cluster")
    value = windmill_client.Client().resource(path)
    return errors.validate(resources.KubernetesCluster, value or {}, path.removeprefix("$res:"))
