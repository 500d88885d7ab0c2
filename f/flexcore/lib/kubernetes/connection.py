# requirements: flexcore_kubernetes
"""The session of a step: a client for the cluster of a resource, and the namespace to work in (`choose_namespace`)."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from f.flexcore.lib.core import errors, operation, redaction, resources
from f.flexcore.lib.kubernetes import pod_spec

if TYPE_CHECKING:
    # Who checks a request alone needs no client, and no credentials where no cluster is named yet.
    from f.flexcore.lib.kubernetes_api import client, credentials

# Kubernetes' own.
DEFAULT_NAMESPACE = "default"


@dataclass(frozen=True, slots=True)
class Session:
    kubernetes: client.Kubernetes
    namespace: str


def connect(cluster: Any, namespace: str | None = "", settings: Any = None, secrets: Iterable[str] = ()) -> Session:
    """A Session; nothing is sent yet. namespace: the requested one, if any; secrets: further values to mask.

    Raises InvalidInput or MissingSetting for everything that can be known without asking the cluster."""
    from f.flexcore.lib.kubernetes_api import client, credentials

    resource = errors.validate(resources.KubernetesCluster, cluster or {}, "cluster")
    stored = errors.validate(resources.Settings, settings or {}, "settings")
    access = credentials.resolve_access(resource)
    chosen = choose_namespace(namespace, resource, stored, access=access)
    pod_spec.check_name(chosen, "namespace")
    _check_proxy(access)
    redactor = redaction.Redactor([*resource.secrets(), *access.secrets(), *stored.secrets(), *secrets])
    return Session(client.Kubernetes(access, redactor), chosen)


def open_session(invocation: operation.Invocation[Any, Any], secrets: Iterable[str] = ()) -> Session:
    """The Session of a call of one of this runtime's operations."""
    requested = invocation.request.requested_namespace()
    return connect(invocation.service, requested, invocation.settings, secrets)


def _check_proxy(access: credentials.Access) -> None:
    """SOCKS needs a package that workers do not have."""
    from f.flexcore.lib.kubernetes_api import proxies

    proxy = proxies.choose_proxy(access.server, access.proxy, os.environ)
    if not proxy.startswith("socks") or importlib.util.find_spec("socks") is not None:
        return
    if access.proxy:
        raise errors.InvalidInput(
            "cluster.kubeconfig has a SOCKS proxy (proxy-url), which this worker cannot use",
            subject="cluster.kubeconfig",
            remedy="Give an HTTP proxy in proxy-url, or a server address that the worker reaches itself.",
        )
    raise errors.InvalidInput(
        "The worker's HTTPS_PROXY is a SOCKS proxy, which it cannot use for the cluster",
        subject="cluster",
        remedy="Name the cluster in the worker's NO_PROXY, or give an HTTP proxy in HTTPS_PROXY.",
    )


# --- namespace


class NamespacedRequest(Protocol):
    """A request of one of this runtime's operations."""

    def requested_namespace(self) -> str:
        """The namespace that its form or its manifest says, or "". Raises InvalidInput when they differ."""


def choose_namespace(
    requested: str | None,
    cluster: resources.KubernetesCluster | None,
    settings: resources.Settings,
    *,
    access: credentials.Access | None = None,
    default: str = DEFAULT_NAMESPACE,
) -> str:
    """The first of these that says one: the form or manifest, settings.runtimes.kubernetes, the cluster resource, its
    kubeconfig's context (or the worker's own service account), settings.namespace, `default`. Asks no server.

    access: of the cluster, where it is known already.
    """
    state = settings.runtimes.get("kubernetes")
    if chosen := requested or (state.namespace if state else ""):
        return chosen
    if cluster:
        access = access or _find_access(cluster)
        if chosen := cluster.namespace or (access.namespace if access else ""):
            return chosen
    return settings.namespace if "namespace" in settings.model_fields_set else default


def choose_request_namespace(
    request: NamespacedRequest | None,
    cluster: resources.KubernetesCluster | None,
    settings: resources.Settings,
    default: str = DEFAULT_NAMESPACE,
) -> str:
    """The same of a request: what the registry offers to the pipelines. Raises InvalidInput."""
    return choose_namespace(request.requested_namespace() if request else "", cluster, settings, default=default)


def check_place(requested: str, cluster: resources.KubernetesCluster | None, settings: resources.Settings) -> None:
    """Raises InvalidInput or MissingSetting when the cluster resource or the namespace cannot be right.

    Without an address the worker's own cluster is meant, which another worker may have."""
    access = _resolve_access(cluster) if cluster and has_address(cluster) else None
    pod_spec.check_name(choose_namespace(requested, cluster, settings, access=access), "namespace")


def has_address(cluster: resources.KubernetesCluster) -> bool:
    if cluster.mode == "auto":
        return bool(cluster.kubeconfig or cluster.server)
    return cluster.mode != "in_cluster"


def _find_access(cluster: resources.KubernetesCluster) -> credentials.Access | None:
    """None where the resource is incomplete; connecting raises that."""
    try:
        return _resolve_access(cluster)
    except errors.FlexcoreError:
        return None


def _resolve_access(cluster: resources.KubernetesCluster) -> credentials.Access:
    from f.flexcore.lib.kubernetes_api import credentials

    return credentials.resolve_access(cluster)
