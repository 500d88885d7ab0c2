"""A cluster as those see it who have roles of resources/kubernetes/rbac.yaml in one namespace, and no other rights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from f.flexcore.lib.kubernetes_api.api_errors import Call

RBAC = Path(__file__).parent.parent.parent / "resources/kubernetes/rbac.yaml"


def make_limited(kubernetes: Any, namespace: str, *roles: str, account: str = "flexcore") -> dict[str, Any]:
    """The value of a c_kubernetes_cluster resource with these roles. kubernetes: a client that may create them;
    account: another one where the namespace has an account with other roles already."""
    grant(kubernetes, namespace, *roles, account=account)
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = kubernetes.review(path, request, Call("create", "serviceaccounts/token"))["status"]["token"]
    access = kubernetes.access
    return {"mode": "token", "server": access.server, "token": token, "ca_certificate": access.ca}


def grant(kubernetes: Any, namespace: str, *roles: str, account: str = "flexcore", account_of: str = "") -> None:
    """The account and its roles in one namespace; account_of: the namespace of an account that is there already."""
    documents = list(yaml.safe_load_all(RBAC.read_text()))
    shipped = {document["metadata"]["name"] for document in documents if document["kind"] == "Role"}
    assert set(roles) <= shipped, f"no such role is shipped: {set(roles) - shipped}"
    for document in documents:
        kind, name = document["kind"], document["metadata"]["name"]
        if kind == "RoleBinding":
            (subject,) = document["subjects"]
            subject["name"] = account
            if account_of:
                subject["namespace"] = account_of
        if kind == "ServiceAccount":
            path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
            document["metadata"]["name"] = account
        elif name in roles:
            path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/{kind.lower()}s"
        else:
            continue
        assert kubernetes.create(path, document, Call("create", kind)), (
            f"{kind} {document['metadata']['name']} is there"
        )
