# requirements: flexcore_base
"""The field of a request that asks for a Ray cluster of the job's own. Its model (job_cluster) is imported when it is
given: most jobs run on a cluster that is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import GetJsonSchemaHandler, TypeAdapter
from pydantic_core import core_schema

from f.flexcore.lib.core import resources

if TYPE_CHECKING:
    from f.flexcore.lib.ray import job_cluster

DESCRIPTION = (
    "A Ray cluster for this job alone, made by KubeRay and gone after it, e.g. {groups: [{min_workers: 1, max_workers: "
    "1}]}; `cluster` then names the Kubernetes cluster and the namespace. Empty: the job runs on `cluster`."
)


class Lazy:
    """Validates as job_cluster.OwnCluster does; empty is None, since Windmill's form sends an object for a field that
    nobody has touched."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(validate)

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> Any:
        from f.flexcore.lib.ray import job_cluster

        return handler(TypeAdapter(job_cluster.OwnCluster | None).core_schema)


def validate(value: Any) -> job_cluster.OwnCluster | None:
    if not value:
        return None
    from f.flexcore.lib.ray import job_cluster

    return job_cluster.OwnCluster.model_validate(value)


if TYPE_CHECKING:
    OptionalOwnCluster = job_cluster.OwnCluster | None
else:
    OptionalOwnCluster = Annotated[Any, Lazy(), resources.OPAQUE]


def check(request: Any, service: resources.RayCluster | None) -> None:
    """Raises InvalidInput when `cluster` names no Kubernetes cluster, or the cluster can never do the work."""
    if request.own_cluster is not None:
        from f.flexcore.lib.ray import job_cluster

        job_cluster.check(request, service)
