"""A cluster as those see it who have roles of resources/kubernetes/rbac.yaml in one namespace, and no other rights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from f.flexcore.lib.kubernetes_api.api_errors import Call

RBAC = Path(__file__).parent.parent.parent / "resources/kubernetes/rbac.yaml"


def make_limited(kubernetes: Any, namespace: str, *roles: str) -> dict[str, Any]:
    """The value of a c_kubernetes_cluster resource with these roles. kubernetes: a client that may create them."""
    grant(kubernetes, namespace, *roles)
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/flexcore/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = kubernetes.review(path, request, Call("create", "serviceaccounts/token"))["status"]["token"]
    access = kubernetes.access
    return {"mode": "token", "server": access.server, "token": token, "ca_certificate": access.ca}


def grant(kubernetes: Any, namespace: str, *roles: str, account_of: str = "") -> None:
    """The account and its roles in one namespace; account_of: the namespace of an account that is there already."""
    for document in yaml.safe_load_all(RBAC.read_text()):
        if document["kind"] == "RoleBinding" and account_of:
            document["subjects"][0]["namespace"] = account_of
        if document["kind"] == "ServiceAccount":
            path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        elif document["metadata"]["name"] in roles:
            path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/{document['kind'].lower()}s"
        else:
            continue
        assert kubernetes.create(path, document, Call("create", document["kind"]))
