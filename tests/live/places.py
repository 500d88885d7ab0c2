"""The cluster of KUBECONFIG, and namespaces in it that last as long as a test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from f.flexcore.lib.kubernetes_api.api_errors import Call
from f.flexcore.lib.kubernetes_api.client import Kubernetes
from tests.live.conftest import needed

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


def read_resource(**fields: Any) -> dict[str, Any]:
    """The value of a c_kubernetes_cluster resource for the cluster; the test is skipped where there is none."""
    config = Path(needed("KUBECONFIG")).read_text()
    return {"kubeconfig": yaml.safe_dump(yaml.safe_load(config)), **fields}


@contextmanager
def make_namespace(kubernetes: Kubernetes, name: str, labels: Mapping[str, str] | None = None) -> Iterator[str]:
    """The name of a namespace that is made for the block; "…-" gets an end of its own. Its end is not waited for."""
    name = f"{name}{uuid.uuid4().hex[:6]}" if name.endswith("-") else name
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(labels or {})}}
    created = kubernetes.create("/api/v1/namespaces", body, Call("create", "namespaces"))
    assert created is not None, name
    try:
        yield name
    finally:
        call = Call("delete", "namespaces", "", name)
        kubernetes.delete(f"/api/v1/namespaces/{name}", created["metadata"]["uid"], call)
