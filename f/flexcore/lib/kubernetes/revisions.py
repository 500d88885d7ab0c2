# requirements: flexcore_kubernetes
"""The generations of a Deployment that are kept, and which of them a failed or unwanted one goes back to. Pure."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from f.flexcore.lib.kubernetes import serving_manifests

Object = Mapping[str, Any]
REVISION = "deployment.kubernetes.io/revision"


def find_rollback_template(
    deployment: Object, replica_sets: Sequence[Object], is_answering: bool
) -> dict[str, Any] | None:
    """The pod template of the revision that has answered last, or None. is_answering: whether it must still answer,
    since the newest revision does not.

    Read from the cluster and not remembered, so that a step which took over from a dead one knows it as well.
    """
    candidates = [
        item
        for item in list_former(deployment, replica_sets)
        if not is_answering or (item.get("status") or {}).get("availableReplicas")
    ]
    if not candidates:
        return None
    good = serving_manifests.read_good(deployment)
    return read_template(max(candidates, key=lambda item: rank_former(item, good)))


def list_former(deployment: Object, replica_sets: Sequence[Object]) -> list[Object]:
    """The ReplicaSets of other generations that the Deployment keeps."""
    wanted, uid = read_digest(deployment["spec"]["template"]), deployment["metadata"]["uid"]
    return [
        item
        for item in replica_sets
        if any(owner.get("uid") == uid for owner in item["metadata"].get("ownerReferences") or ())
        and read_digest(item["spec"]["template"]) != wanted
    ]


def rank_former(replica_set: Object, good: Sequence[str]) -> tuple[int, int]:
    """Sorts what has answered latest last; what is not known to have answered goes before, by its revision."""
    digest = read_digest(replica_set["spec"]["template"])
    return -good.index(digest) if digest in good else -len(good), find_revision(replica_set)


def read_template(replica_set: Object) -> dict[str, Any]:
    """As the Deployment had it."""
    template: dict[str, Any] = copy.deepcopy(dict(replica_set["spec"]["template"]))
    template["metadata"]["labels"].pop("pod-template-hash", None)
    return template


def find_revision(item: Object) -> int:
    """Of a Deployment or one of its ReplicaSets."""
    return int((item["metadata"].get("annotations") or {}).get(REVISION) or 0)


def read_digest(template: Object) -> str | None:
    """What tells the pods of one generation from another's."""
    digest: str | None = (template["metadata"].get("labels") or {}).get(serving_manifests.ROLLOUT)
    return digest


def is_same_rollout(first: Object, second: Object) -> bool:
    """Whether two pod templates are of one generation."""
    return read_digest(first) == read_digest(second)


def is_last_good(deployment: Object) -> bool:
    """Whether the generation that is rolled out is the one that has answered last."""
    return serving_manifests.read_good(deployment)[:1] == [read_digest(deployment["spec"]["template"])]
