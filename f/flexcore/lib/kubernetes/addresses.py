# requirements: flexcore_kubernetes
"""Where a Service is reached, by its type. Pure.

ClusterIP      http://NAME.NAMESPACE.svc:8080, from within the cluster
NodePort       a ready node's address and the port that the cluster chose
LoadBalancer   the address that the cluster's load balancer gave, once it has
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from f.flexcore.lib.kubernetes import job_conditions, serving_manifests

Object = Mapping[str, Any]


def cluster_url(service: Object) -> str:
    metadata = service["metadata"]
    return f"http://{metadata['name']}.{metadata['namespace']}.svc:{serving_manifests.PORT}"


def node_url(service: Object, nodes: Sequence[Object]) -> str | None:
    """None when no ready node has an address. External addresses come first: the caller may be anywhere."""
    port = next((item.get("nodePort") for item in service["spec"]["ports"]), None)
    ready = [node for node in nodes if job_conditions.condition(node, "Ready")]
    for kind in ("ExternalIP", "InternalIP"):
        for node in ready:
            for address in (node.get("status") or {}).get("addresses") or ():
                if address.get("type") == kind and port:
                    return f"http://{_host(address['address'])}:{port}"
    return None


def balancer_url(service: Object) -> str | None:
    """None as long as there is no address."""
    for entry in ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ():
        host = entry.get("hostname") or entry.get("ip")
        if host:
            return f"http://{_host(host)}:{serving_manifests.PORT}"
    return None


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
