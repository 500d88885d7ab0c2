# requirements: flexcore_base
"""The forms of ensure, scale, release and describe of a Ray cluster."""

from __future__ import annotations

from pydantic import Field, model_validator

from f.flexcore.lib.core import resources
from f.flexcore.lib.ray import cluster_spec, lease


class EnsureRequest(resources.Form):
    """spec is for a cluster on Kubernetes alone; local_cpus for a local head."""

    spec: cluster_spec.ClusterSpec | None = Field(
        default=None,
        description="What the cluster is made of, on Kubernetes; one that is there already is joined as it is.",
    )
    local_cpus: int = Field(default=0, ge=0, description="CPUs of a local head; 0 means all of the machine.")
    lease_s: float = Field(
        default=lease.DURATION_S,
        gt=0,
        allow_inf_nan=False,
        description="Seconds after which the lease ends when no step of the flow has renewed it.",
    )
    keep_idle_s: float = Field(
        default=0,
        ge=0,
        allow_inf_nan=False,
        description="Seconds that the cluster is kept after its last lease; 0 deletes it with the last release.",
    )
    rotate_token: bool = Field(
        default=False, description="Give a cluster that is there already a new token; its pods are made anew."
    )
    timeout_s: float = Field(
        default=600, gt=0, allow_inf_nan=False, description="Longest time until it is ready, in seconds."
    )
    pending_timeout_s: float = Field(
        default=120, ge=0, allow_inf_nan=False, description="How long to wait for a quota or a node that may come free."
    )

    @property
    def wanted(self) -> cluster_spec.ClusterSpec:
        """The spec, or that of a cluster of which nothing is said."""
        return self.spec or cluster_spec.ClusterSpec()


class ScaleRequest(resources.Form):
    """At least one of the two numbers; the other stays as it is."""

    group: str = Field(default="", description="Name of the worker group; empty means the only one.")
    min_workers: int | None = Field(default=None, ge=0, description="Workers that are always there; empty: as it is.")
    max_workers: int | None = Field(default=None, ge=0, description="Most workers; empty: as it is.")
    timeout_s: float = Field(
        default=600, gt=0, allow_inf_nan=False, description="Longest time until the workers are there, in seconds."
    )
    pending_timeout_s: float = Field(
        default=120, ge=0, allow_inf_nan=False, description="How long to wait for a quota or a node that may come free."
    )

    @model_validator(mode="after")
    def _says_something(self) -> ScaleRequest:
        if self.min_workers is None and self.max_workers is None:
            raise ValueError("give min_workers or max_workers")
        if self.min_workers is not None and self.max_workers is not None and self.min_workers > self.max_workers:
            raise ValueError(f"min_workers {self.min_workers} is more than max_workers {self.max_workers}")
        return self


class ReleaseRequest(resources.Form):
    timeout_s: float = Field(
        default=120, gt=0, allow_inf_nan=False, description="Longest time until a deleted cluster is gone, in seconds."
    )


class DescribeRequest(resources.Form):
    """Nothing to ask for: the cluster says which."""
