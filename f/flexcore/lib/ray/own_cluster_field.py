# requirements: flexcore_base
"""The field of a request that asks for a Ray cluster of the job's own. Its model (job_cluster) is imported when it is
given: most jobs run on a cluster that is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from f.flexcore.lib.core import resources

if TYPE_CHECKING:
    from f.flexcore.lib.ray import job_cluster

DESCRIPTION = (
    "A Ray cluster for this job alone, made by KubeRay and gone after it, e.g. {groups: [{min_workers: 1, max_workers: "
    "1}]}; `cluster` then names the Kubernetes cluster and the namespace. Empty: the job runs on `cluster`."
)


if TYPE_CHECKING:
    OptionalOwnCluster = job_cluster.OwnCluster | None
else:
    LATE = resources.LateForm("f.flexcore.lib.ray.job_cluster:OwnCluster")
    OptionalOwnCluster = Annotated[Any, LATE, resources.OPAQUE]


def check(request: Any, service: resources.RayCluster | None) -> None:
    """Raises InvalidInput when `cluster` names no Kubernetes cluster, or the cluster can never do the work."""
    if request.own_cluster is not None:
        from f.flexcore.lib.ray import job_cluster

        job_cluster.check(request, service)
