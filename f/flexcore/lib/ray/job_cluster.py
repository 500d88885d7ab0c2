# requirements: flexcore_base
"""The form of a cluster that one job has for itself: made for it, and gone after it.

It is the form of a Ray cluster with a queue and time limits; or a RayCluster or RayJob of the caller's own as manifest.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from f.flexcore.lib.core import dimensions, errors, resources
from f.flexcore.lib.ray import cluster, cluster_spec, ray_manifest

QUEUE_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")
START_TIMEOUT_S = 900
QUEUE_TIMEOUT_S = 24 * 3600
# Between the end of a deferred job and its collection lies a pass of reconcile; a step that died is run again after
# about a minute.
KEEP_S = 900
# What KubeRay's own fields say; a caller's manifest has no say in them.
TIMES = {"start_timeout_s", "queue_timeout_s", "keep_s", "history_server"}
QUEUE = {"queue", "priority_class", "elastic"}


class OwnCluster(cluster_spec.ClusterSpec):
    """A Ray cluster for this job alone, on the Kubernetes cluster and in the namespace that `cluster` names."""

    queue: str = Field(default="", description="Kueue's LocalQueue that admits it; empty: none.")
    priority_class: str = Field(default="", description="Kueue's WorkloadPriorityClass.")
    elastic: bool = Field(
        default=False,
        description="Let it grow and shrink in a queue; needs Kueue's feature ElasticJobsViaWorkloadSlices.",
    )
    start_timeout_s: int = Field(
        default=START_TIMEOUT_S,
        ge=10,
        description="Longest time for its start, once a queue has let it in, in seconds.",
    )
    queue_timeout_s: int = Field(
        default=QUEUE_TIMEOUT_S, ge=10, description="Longest time that it may wait in the queue, in seconds."
    )
    keep_s: int = Field(
        default=KEEP_S,
        ge=0,
        description="Seconds that it stays after the job's end when no step has collected its result.",
    )
    history_server: str = Field(
        default="",
        pattern=r"^$|^https?://",
        description="Address of KubeRay's history server, where the job's pages are when its cluster has gone.",
    )
    manifest: Annotated[str | dict[str, Any], resources.OPAQUE] = Field(
        default="", description="A RayCluster or RayJob of your own, YAML or an object, in place of the fields above."
    )

    @field_validator("queue", "priority_class")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if value and not QUEUE_NAME.fullmatch(value):
            raise ValueError(f"{value!r} is not a name in Kubernetes: use lower-case letters, digits and dashes")
        return value

    @model_validator(mode="after")
    def _is_one_thing(self) -> OwnCluster:
        if self.priority_class and not self.queue:
            raise ValueError("priority_class is Kueue's: name a queue, too")
        if self.elastic and not self.queue:
            raise ValueError("elastic is for a queue: name one, or leave it out (Ray scales by itself without)")
        if self.manifest:
            given = sorted(self.model_fields_set - TIMES - QUEUE - {"manifest"})
            if given:
                raise ValueError(f"manifest and {given[0]} cannot both be given: change it in the manifest")
            try:
                ray_manifest.read_job_cluster(self.manifest)
            except errors.InvalidInput as error:
                raise ValueError(str(error).removeprefix("manifest")) from None
        elif self.queue and self.autoscales and not self.elastic:
            scaling = next(group for group in self.groups if group.max_workers > group.min_workers)
            raise ValueError(
                f"groups: {scaling.name} may grow from {scaling.min_workers} to {scaling.max_workers} workers, which "
                "the queue does not allow: make both equal, or set elastic where Kueue has workload slices on"
            )
        return self

    @property
    def needed_cpu(self) -> float:
        """Cores that its pods ask for at first."""
        amounts = [self.head_cpu, *(group.cpu for group in self.groups for _ in range(group.min_workers))]
        return sum(dimensions.parse_amount(amount) or 0.0 for amount in amounts)


def check(request: Any, service: resources.RayCluster | None) -> None:
    """Raises InvalidInput when `cluster` names no Kubernetes cluster, or the form's cluster can never do the work.
    request: with own_cluster and needs; service: None when it is not known yet."""
    own: OwnCluster = request.own_cluster
    needs: cluster.Needs = request.needs
    if service is not None and not service.is_on_kubernetes:
        raise errors.InvalidInput(
            "own_cluster needs a Kubernetes cluster, and `cluster` names none",
            subject="cluster.kubernetes_cluster",
            remedy="Set kubernetes_cluster or namespace in the c_ray_cluster resource, or leave own_cluster empty.",
        )
    if own.manifest:
        return
    nodes = [_node(group.cpu, group.gpus) for group in own.groups for _ in range(min(group.max_workers, needs.count))]
    nodes.append(_node(own.head_cpu if own.head_takes_work else "0", 0))
    if (needs.cpus or needs.gpus) and sum(_fit_count(node, needs) for node in nodes) < needs.count:
        wanted = " and ".join(
            f"{amount:g} {name}s" for name, amount in (("CPU", needs.cpus), ("GPU", needs.gpus)) if amount
        )
        times = f"{needs.count} times " if needs.count > 1 else ""
        raise errors.InvalidInput(
            f"{needs.subject}: own_cluster can never give {times}{wanted}",
            subject=needs.subject,
            remedy="Ask for less, or for larger or more workers in own_cluster.groups.",
        )


def _node(cpu: str, gpus: int) -> tuple[float, float]:
    return dimensions.parse_amount(cpu) or 0.0, float(gpus)


def _fit_count(node: tuple[float, float], needs: cluster.Needs) -> int:
    return int(min(has // wanted for has, wanted in zip(node, (needs.cpus, needs.gpus), strict=True) if wanted > 0))
