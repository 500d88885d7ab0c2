# requirements: flexcore_kubernetes
"""What a placement is asked for: the form that its steps share, and the shape of a job or a deployment. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import Field

from f.flexcore.lib.core import dimensions, errors, resources
from f.flexcore.lib.kubernetes import placement

Object = Mapping[str, Any]
# As most device plugins name theirs; a form's `gpus` means these.
GPU = "nvidia.com/gpu"
MAX_CLUSTERS = 200


class PlacementRequest(resources.Form):
    """Among which clusters, and by what. clusters: paths of c_kubernetes_cluster resources."""

    clusters: list[str] = Field(
        default=[],
        max_length=MAX_CLUSTERS,
        description="Paths of the c_kubernetes_cluster resources to choose from, e.g. f/data/east; empty means "
        "kubernetes_clusters of the settings.",
    )
    prefer: Literal["price", "headroom", "latency"] = Field(
        default="price",
        description="What decides between clusters that have room: the lower price, the larger "
        "headroom, or the lower latency.",
    )
    strategy: Literal["one", "spread", "failover"] = Field(
        default="one",
        description="one takes the best cluster; spread takes count of them, in different clouds and regions if it can "
        "be; failover takes the best, and names the others that take over.",
    )
    count: int = Field(default=2, ge=1, le=MAX_CLUSTERS, description="How many clusters spread and failover take.")
    clouds: list[str] = Field(default=[], description="Only clusters of these clouds; empty means all.")
    regions: list[str] = Field(default=[], description="Only clusters of these regions; empty means all.")
    capabilities: list[str] = Field(
        default=[],
        description="What the cluster must have: a word of its resource's capabilities, or one that is detected: gpu, "
        "amd64, arm64, kueue, gateway-api, istio, keda, kserve, kuberay.",
    )
    max_latency: Literal["", "low", "medium", "high"] = Field(
        default="", description="Highest latency of the cluster's resource; empty means any."
    )
    exclude: list[str] = Field(default=[], description="Paths of clusters that must not be taken.")
    data_location: str = Field(
        default="", description="Where the data lies, a name as in egress_usd_per_gib of the settings; moving it costs."
    )
    data_gib: float = Field(default=0, ge=0, le=1e9, description="How much data is read from there, in GiB.")
    output_gib: float = Field(default=0, ge=0, le=1e9, description="How much data is written back there, in GiB.")
    expected_s: float | None = Field(
        default=None, gt=0, le=1e9, description="How long it runs, in seconds, for its price; empty means not known."
    )
    contact_timeout_s: float = Field(
        default=5, gt=0, le=60, description="Longest time to wait for each cluster's answer, in seconds."
    )

    def paths(self, settings: resources.Settings) -> list[str]:
        """The candidates. Raises InvalidInput where there is none, or one is named twice."""
        found = [path.removeprefix("$res:") for path in self.clusters or settings.kubernetes_clusters]
        if not found:
            raise errors.InvalidInput(
                "clusters is empty: name at least one",
                subject="clusters",
                remedy="Give paths of c_kubernetes_cluster resources, or settings with kubernetes_clusters.",
            )
        if twice := sorted({path for path in found if found.count(path) > 1}):
            raise errors.InvalidInput(
                f"clusters names {', '.join(twice)} more than once", subject="clusters", remedy="Name each once."
            )
        return found


class ClusterChoiceRequest(PlacementRequest):
    """The form of kubernetes/choose_cluster: the same with what is to be placed."""

    cpu: str = Field(default="", description="CPU of each copy, e.g. 500m or 2; empty means not known.")
    memory: str = Field(default="", description="Memory of each copy, e.g. 512Mi or 4Gi; empty means not known.")
    gpus: int = Field(default=0, ge=0, description="GPUs of each copy.")
    copies: int = Field(default=1, ge=1, le=100_000, description="How many pods run at the same time.")
    namespace: str = Field(default="", description="Namespace; empty means the one of each cluster resource.")


def make_shape(
    request: PlacementRequest, cpu: Any = "", memory: Any = "", gpus: float = 0, copies: int = 1
) -> placement.Shape:
    """cpu, memory: Kubernetes quantities, "" where they are not said. Raises InvalidInput."""
    return placement.Shape(
        cpu=_parse("cpu", cpu),
        memory_bytes=_parse("memory", memory),
        gpus=gpus,
        copies=copies,
        hours=request.expected_s and request.expected_s / 3600,
        data_location=request.data_location,
        data_gib=request.data_gib,
        output_gib=request.output_gib,
        capabilities=frozenset(request.capabilities),
        clouds=frozenset(request.clouds),
        regions=frozenset(request.regions),
        max_latency=request.max_latency,
        excluded=frozenset(path.removeprefix("$res:") for path in request.exclude),
        prefer=request.prefer,
    )


def shape_pods(request: PlacementRequest, pod_spec: Object, copies: int) -> placement.Shape:
    """The shape of pods as a manifest has them. What a container leaves out is the namespace's default: not known."""
    says = {
        name: any(name in ((item.get("resources") or {}).get("requests") or {}) for item in _containers(pod_spec))
        for name in ("cpu", "memory")
    }
    cpu, memory, gpus = sum_requests(pod_spec)
    return make_shape(request, cpu if says["cpu"] else "", memory if says["memory"] else "", gpus, copies)


def sum_requests(pod_spec: Object) -> tuple[float, float, float]:
    """(cores, bytes, GPUs) that a pod reserves: its containers and sidecars together, or what starts before them, and
    the overhead of its runtime class. Source: kubernetes/component-helpers resource.PodRequests"""
    main = [0.0, 0.0, 0.0]
    for container in pod_spec.get("containers") or ():
        main = [had + more for had, more in zip(main, _read_requests(container), strict=True)]
    sidecars, most = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
    for container in pod_spec.get("initContainers") or ():
        own = _read_requests(container)
        if container.get("restartPolicy") == "Always":
            sidecars = [had + more for had, more in zip(sidecars, own, strict=True)]
            own = (0.0, 0.0, 0.0)
        most = [max(had, side + more) for had, side, more in zip(most, sidecars, own, strict=True)]
    overhead = _read_amounts(pod_spec.get("overhead") or {})
    together = zip(main, sidecars, most, overhead, strict=True)
    cpu, memory, gpus = (max(own + side, first) + extra for own, side, first, extra in together)
    return cpu, memory, gpus


def _containers(pod_spec: Object) -> Iterable[Object]:
    return [*(pod_spec.get("containers") or ()), *(pod_spec.get("initContainers") or ())]


def _read_requests(container: Object) -> tuple[float, float, float]:
    given = container.get("resources") or {}
    # A limit alone is a request, too.
    return _read_amounts({**(given.get("limits") or {}), **(given.get("requests") or {})})


def _read_amounts(amounts: Object) -> tuple[float, float, float]:
    cpu, memory, gpus = (dimensions.parse_amount(amounts.get(name, 0)) or 0.0 for name in ("cpu", "memory", GPU))
    return cpu, memory, gpus


def _parse(name: str, value: Any) -> float | None:
    if value in ("", None):
        return None
    dimensions.check_amount(name, value, name)
    return dimensions.parse_amount(value)
