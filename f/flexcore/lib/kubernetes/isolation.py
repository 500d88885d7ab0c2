# requirements: flexcore_kubernetes
"""What keeps a model's pods apart from the rest of a cluster: an account without rights, and a network policy. Pure.

A policy needs a network plug-in that enforces it; where there is none it changes nothing.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from f.flexcore.lib.kubernetes import cluster_objects, serving_manifests

Object = dict[str, Any]
# A Service by its name in the cluster, as a host.
CLUSTER_HOST = re.compile(r"[a-z0-9-]+\.(?P<namespace>[a-z0-9-]+)\.svc(\.cluster\.local)?\.?")


def make_companions(
    serving: serving_manifests.Serving, owner: Mapping[str, Any] | None
) -> list[tuple[cluster_objects.Kind, Object]]:
    """What has to be there before the first pod, but for the ConfigMap."""
    companions = [(cluster_objects.SERVICE_ACCOUNTS, make_service_account(serving, owner))]
    if serving.network_policy:
        companions.append((cluster_objects.NETWORK_POLICIES, make_network_policy(serving, owner)))
    if serving.delivery.secret:
        companions.append((cluster_objects.SECRETS, serving_manifests.make_secret(serving, owner)))
    return companions


def make_service_account(serving: serving_manifests.Serving, owner: Mapping[str, Any] | None) -> Object:
    """An identity without rights and without a token."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": serving_manifests.make_metadata(serving, serving.name, owner),
        "automountServiceAccountToken": False,
    }


def make_network_policy(serving: serving_manifests.Serving, owner: Mapping[str, Any] | None) -> Object:
    """In: the serving port, and MLServer's of its metrics. Out: names, and the store where the model comes from it."""
    ports = [{"protocol": "TCP", "port": port} for port in sorted({serving_manifests.PORT, serving.metrics_port})]
    # To any address: where a cluster's DNS answers (pods, a node's own cache) is not known to its clients.
    dns: Object = {"ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]}
    store = [make_store_rule(serving.store_endpoint)] if serving.delivery.source == "store" else []
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": serving_manifests.make_metadata(serving, serving.name, owner),
        "spec": {
            "podSelector": {"matchLabels": serving.selector()},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"ports": ports}],
            "egress": [dns, *store],
        },
    }


def make_store_rule(endpoint: str) -> Object:
    """The way to the store as narrow as a policy can say it: an address and its port; the namespace of a Service, whose
    port a policy does not see (it sees the pod's); or, for a name outside, its port alone."""
    parts = urlsplit(endpoint or "https://s3.amazonaws.com")
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    ports = [{"protocol": "TCP", "port": port}]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        service = CLUSTER_HOST.fullmatch(host)
        if not service:
            return {"ports": ports}
        return {"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": service["namespace"]}}}]}
    return {"to": [{"ipBlock": {"cidr": f"{address}/{address.max_prefixlen}"}}], "ports": ports}


def remove_policy(place: cluster_objects.Namespace, serving: serving_manifests.Serving) -> None:
    """Takes our policy of an earlier deployment away where none is wanted any more."""
    if serving.network_policy:
        return
    policy = place.get(cluster_objects.NETWORK_POLICIES, serving.name)
    if policy and cluster_objects.is_ours(policy):
        place.remove(cluster_objects.NETWORK_POLICIES, policy)
