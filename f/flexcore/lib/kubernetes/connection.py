# requirements: flexcore_kubernetes
"""What every step of this room begins with: the resource checked, the namespace chosen, the cluster at hand."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from f.flexcore.lib.core import errors, redaction, resources
from f.flexcore.lib.kubernetes import client, credentials, pod_spec


@dataclass(frozen=True, slots=True)
class Session:
    kubernetes: client.Kubernetes
    namespace: str
    settings: resources.Settings


def connect(cluster: Any, namespace: str | None = "", settings: Any = None, secrets: Iterable[str] = ()) -> Session:
    """A Session; nothing is sent yet. secrets: further values that must never be seen.

    Raises InvalidInput or MissingSetting for what can be told without a cluster."""
    resource = errors.validated(resources.KubernetesCluster, cluster or {}, "cluster")
    stored = errors.validated(resources.Settings, settings or {}, "settings")
    access = credentials.access_to(resource)
    chosen = credentials.namespace_of(resource, access, namespace or "", stored.namespace)
    pod_spec.check_name(chosen, "namespace")
    _check_proxy(access)
    redactor = redaction.Redactor([*resource.secrets(), *access.secrets(), *stored.secrets(), *secrets])
    return Session(client.Kubernetes(access, redactor), chosen, stored)


def _check_proxy(access: credentials.Access) -> None:
    """SOCKS needs a package that workers do not have."""
    if access.proxy.startswith("socks") and importlib.util.find_spec("socks") is None:
        raise errors.InvalidInput(
            "cluster.kubeconfig names a SOCKS proxy (proxy-url), which this worker cannot use",
            subject="cluster.kubeconfig",
            remedy="Give an HTTP proxy in proxy-url, or a server address that the worker reaches itself.",
        )


def job_namespace(asked: str | None, manifest: Mapping[str, Any] | None) -> str:
    """The namespace of a manifest counts as asked for; two different ones are a mistake."""
    named = str(((manifest or {}).get("metadata") or {}).get("namespace") or "")
    if asked and named and asked != named:
        raise errors.InvalidInput(
            f"namespace: {asked} is asked for and the manifest says {named}",
            subject="namespace",
            remedy="Give one of the two.",
        )
    return asked or named
