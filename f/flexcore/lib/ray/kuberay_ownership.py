# requirements: flexcore_base
"""Whose a RayCluster is, by its labels and annotations, and where its token is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from f.flexcore.lib.core import errors, identity
from f.flexcore.lib.ray import cluster_spec, lease

LEASES = "flexcore/leases"
SPEC_HASH = "flexcore/spec-hash"
TOKEN_VARIABLE = "RAY_AUTH_TOKEN"
Object = dict[str, Any]


def read_book(stored: Object) -> lease.LeaseBook:
    return lease.parse((stored["metadata"].get("annotations") or {}).get(LEASES))


def is_ours(stored: Object) -> bool:
    metadata = stored["metadata"]
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    return labels.get(identity.MANAGED_BY) == "flexcore" and LEASES in annotations


def check_ours(stored: Object) -> None:
    if not is_ours(stored):
        metadata = stored["metadata"]
        raise errors.Conflict(
            f"The RayCluster {metadata['name']} in namespace {metadata['namespace']} was not made by flexcore, which "
            "leaves it as it is",
            subject="cluster.name",
            category="name_taken",
            remedy="Choose another name; to run jobs on that cluster, give them this resource without ensure_cluster.",
        )


def check_version(stored: Object, spec: cluster_spec.ClusterSpec) -> None:
    """Raises Conflict when the cluster has another version of Ray or another image than what is asked for."""
    body = stored["spec"]
    containers = ((body.get("headGroupSpec") or {}).get("template") or {}).get("spec", {}).get("containers") or [{}]
    for what, has, wanted in (
        ("Ray", body.get("rayVersion"), spec.ray_version),
        ("image", containers[0].get("image"), spec.pod_image),
    ):
        if has and has != wanted:
            raise errors.Conflict(
                f"The RayCluster {stored['metadata']['name']} exists with {what} {has}, and {wanted} is asked for",
                subject="spec",
                category="spec_conflict",
                remedy="Ask for what it has, choose another name, or release it first.",
            )


def owner_labels(labels: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value for name, value in labels.items() if name.startswith("flexcore/") or name == identity.MANAGED_BY
    }


def find_token_key(ray_cluster: Object) -> tuple[str, str] | None:
    """(Secret, key) of a RayCluster's token, by its authOptions or its head's environment; None without. Pure."""
    spec = ray_cluster.get("spec") or {}
    options = spec.get("authOptions") or {}
    if options.get("mode") == "token":
        name = options.get("secretName") or (ray_cluster.get("metadata") or {}).get("name") or ""
        return str(name), cluster_spec.TOKEN_KEY
    template = (spec.get("headGroupSpec") or {}).get("template") or {}
    for container in (template.get("spec") or {}).get("containers") or []:
        for variable in container.get("env") or []:
            reference = (variable.get("valueFrom") or {}).get("secretKeyRef")
            if variable.get("name") == TOKEN_VARIABLE and reference:
                return str(reference.get("name")), str(reference.get("key"))
    return None
