# requirements: flexcore_kubernetes
"""Kueue over the Kubernetes API: whether it is there, and the Workloads that it keeps of what is queued."""

from __future__ import annotations

from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes_api import api_errors, client

Object = dict[str, Any]
GROUP = "/apis/kueue.x-k8s.io"


def find_version(kubernetes: client.Kubernetes) -> str:
    """The version in which the API server prefers Kueue's objects, "" where there are none. Raises Unreachable or
    Unavailable: a server that cannot answer now has not said so."""
    call = api_errors.Call("list", "workloads.kueue.x-k8s.io")
    code, payload = kubernetes.request_raw("GET", GROUP, None, call)
    if code == 429 or code >= 500:
        raise api_errors.to_error(code, payload, call)
    return str(((payload or {}).get("preferredVersion") or {}).get("version") or "") if code == 200 else ""


def list_workloads(kubernetes: client.Kubernetes, namespace: str, uid: str, version: str) -> list[Object] | None:
    """Those of the object with this uid; None when they cannot be read, which says nothing of the object."""
    path = f"{GROUP}/{version}/namespaces/{namespace}/workloads"
    query: client.Query = {"labelSelector": f"kueue.x-k8s.io/job-uid={uid}", "limit": 500}
    try:
        call = api_errors.Call("list", "workloads.kueue.x-k8s.io", namespace)
        return list(kubernetes.list(path, query, call).get("items") or [])
    except errors.FlexcoreError:
        return None
