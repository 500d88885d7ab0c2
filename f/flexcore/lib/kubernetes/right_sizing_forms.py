# requirements: flexcore_kubernetes
"""The forms of kubernetes/suggest_resources and resize_model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from f.flexcore.lib.core import operation, resources
from f.flexcore.lib.kubernetes import right_sizing

MAX_OBSERVATION_S = 1800


class SuggestionRequest(resources.Form):
    """Of which deployment to measure the use, for how long, and how much to spare."""

    name: str = Field(min_length=1, description="Name of the deployment.")
    observe_s: int = Field(
        default=60,
        ge=0,
        le=MAX_OBSERVATION_S,
        description="How long to measure, in seconds; 0 takes what there is now.",
    )
    percentile: float = Field(
        default=right_sizing.PERCENTILE, ge=0.5, le=1, description="Share of the measurements that must stay within."
    )
    headroom: float = Field(
        default=right_sizing.HEADROOM, ge=0, le=3, description="What is added to it, as a share: 0.15 adds 15 %."
    )
    namespace: str = Field(default="", description="Namespace; empty means the one of the cluster resource.")
    container: str = Field(default="", description="Container of its pods; empty means the first.")

    def requested_namespace(self) -> str:
        return self.namespace


class ResizeRequest(resources.Form):
    """Which requests a deployment is to have, and where they are written."""

    name: str = Field(min_length=1, description="Name of the deployment.")
    cpu: str = Field(default="", description="CPU that each copy requests, e.g. 500m or 2; empty leaves it.")
    memory: str = Field(default="", description="Memory that each copy requests, e.g. 512Mi or 4Gi; empty leaves it.")
    apply: Literal["pods", "template"] = Field(
        default="pods",
        description="pods: the running ones, in place; template: the deployment's, whose rollout replaces the pods.",
    )
    accept_autoscaler: bool = Field(
        default=False, description="Go on although an autoscaler counts in shares of the requests."
    )
    namespace: str = Field(default="", description="Namespace; empty means the one of the cluster resource.")
    container: str = Field(default="", description="Container of its pods; empty means the first.")
    timeout_s: int = Field(default=300, ge=1, description="Longest time for all pods, in seconds.")

    def requested_namespace(self) -> str:
        return self.namespace


Suggest = operation.Invocation[SuggestionRequest, resources.KubernetesCluster]
Resize = operation.Invocation[ResizeRequest, resources.KubernetesCluster]
