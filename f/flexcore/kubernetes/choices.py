# requirements: flexcore_kubernetes
# py: ==3.11.*
"""What a form offers of a cluster: its namespaces."""

from __future__ import annotations

from typing import Any

from f.flexcore.core.choices import Choices, matching, note, offered
from f.flexcore.core.errors import Forbidden
from f.flexcore.kubernetes.failures import Call
from f.flexcore.kubernetes.session import connect


@offered
def namespace_choices(cluster: Any, typed: str | None = "") -> Choices:
    """The cluster's namespaces; the resource's own where the credentials may not list them."""
    if not cluster:
        return note("First choose a cluster", "Without one, create a c_kubernetes_cluster resource.")
    session = connect(cluster)
    try:
        found = session.kubernetes.get("/api/v1/namespaces", Call("list", "namespaces", "")) or {}
    except Forbidden as error:
        if error.category == "credentials":
            raise
        return matching([(session.namespace, session.namespace)])
    names = sorted(str(item["metadata"]["name"]) for item in found.get("items") or [])
    return matching([(name, name) for name in names], typed)
