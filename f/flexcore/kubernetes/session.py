# requirements: flexcore_kubernetes
# py: ==3.11.*
"""What every step of this room begins with: the resource checked, the namespace chosen, the cluster at hand."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from f.flexcore.core.errors import InvalidInput, validated
from f.flexcore.core.redaction import Redactor
from f.flexcore.core.resources import KubernetesCluster, Settings
from f.flexcore.kubernetes.access import Access, access_to, namespace_of
from f.flexcore.kubernetes.client import Kubernetes
from f.flexcore.kubernetes.pod_form import check_name


@dataclass(frozen=True, slots=True)
class Session:
    kubernetes: Kubernetes
    namespace: str
    settings: Settings


def connect(cluster: Any, namespace: str | None = "", settings: Any = None, secrets: Iterable[str] = ()) -> Session:
    """A Session; nothing is sent yet. secrets: further values that must never be seen.

    Raises InvalidInput or MissingSetting for what can be told without a cluster."""
    resource = validated(KubernetesCluster, cluster or {}, "cluster")
    stored = validated(Settings, settings or {}, "settings")
    access = access_to(resource)
    chosen = namespace_of(resource, access, namespace or "", stored.namespace)
    check_name(chosen, "namespace")
    _check_proxy(access)
    redactor = Redactor([*resource.secrets(), *access.secrets(), *stored.secrets(), *secrets])
    return Session(Kubernetes(access, redactor), chosen, stored)


def _check_proxy(access: Access) -> None:
    """SOCKS needs a package that workers do not have."""
    if access.proxy.startswith("socks") and importlib.util.find_spec("socks") is None:
        raise InvalidInput(
            "cluster.kubeconfig names a SOCKS proxy (proxy-url), which this worker cannot use",
            subject="cluster.kubeconfig",
            remedy="Give an HTTP proxy in proxy-url, or a server address that the worker reaches itself.",
        )


def job_namespace(asked: str | None, manifest: Mapping[str, Any] | None) -> str:
    """The namespace of a manifest counts as asked for; two different ones are a mistake."""
    named = str(((manifest or {}).get("metadata") or {}).get("namespace") or "")
    if asked and named and asked != named:
        raise InvalidInput(
            f"namespace: {asked} is asked for and the manifest says {named}",
            subject="namespace",
            remedy="Give one of the two.",
        )
    return asked or named
