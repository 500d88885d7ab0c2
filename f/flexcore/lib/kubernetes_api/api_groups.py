# requirements: flexcore_kubernetes
"""Which API groups a cluster serves: what an operator or an add-on brought.

Of a group that is not there the API server says only "404 page not found", as any web server does.
"""

from __future__ import annotations

from f.flexcore.lib.kubernetes_api import api_errors, client


def read_api_groups(kubernetes: client.Kubernetes, retry_s: float = client.RETRY_S) -> dict[str, list[str]]:
    """The versions of each group by its name, such as `metrics.k8s.io`. Raises Unreachable, Unavailable or
    Forbidden."""
    answer = kubernetes.list("/apis", {}, api_errors.Call("list", "apis"), retry_s)
    return {
        str(group.get("name")): [version["version"] for version in group.get("versions") or ()]
        for group in answer.get("groups") or ()
    }


def has_api_group(kubernetes: client.Kubernetes, name: str) -> bool:
    return name in read_api_groups(kubernetes)
