# requirements: flexcore_kubernetes
"""What keeps a pod from a node: the scheduler's filters over what the API server lists. Pure.

Each Obstacle says whether it may pass by itself. None found is no promise: the scheduler decides later, and on a
cluster that has changed.

state      cordoned, not ready            taint, selector, platform, volume    of the node's own
free       requests, ports, devices       rules                                where other pods are (plan_pod_rules)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any

from f.flexcore.lib.kubernetes import plan_pod, plan_selectors

Object = Mapping[str, Any]

POD = "spec.template.spec"
PODS = "pods"
CORDONED = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
KNOWN_FIELDS = {"cpu": "cpu", "memory": "memory", "nvidia.com/gpu": "gpus"}
# Sums of fractions of cores.
EPSILON = 1e-6


class Kind(StrEnum):
    STATE = "state"
    TAINT = "taint"
    SELECTOR = "selector"
    PLATFORM = "platform"
    VOLUME = "volume"
    TOO_SMALL = "too_small"
    FULL = "full"
    DEVICE = "device"
    OTHER_PODS = "other_pods"


# What ends when other pods end, or when the node is well again.
PASSING = {Kind.STATE, Kind.FULL, Kind.OTHER_PODS}


@dataclass(frozen=True, slots=True)
class Obstacle:
    """text: follows the node's name; subject: the field at fault."""

    kind: Kind
    text: str
    subject: str
    remedy: str

    @property
    def may_pass(self) -> bool:
        return self.kind in PASSING


@dataclass(slots=True)
class Node:
    """used: what the pods on it reserve; resident: the part of it that DaemonSets and the node's own pods hold."""

    name: str
    labels: Mapping[str, str]
    taints: Sequence[Object]
    allocatable: plan_pod.Amounts
    state: str = ""
    images: frozenset[str] = frozenset()
    used: plan_pod.Amounts = field(default_factory=dict)
    resident: plan_pod.Amounts = field(default_factory=dict)
    pods: list[Object] = field(default_factory=list)

    def free(self, resource: str) -> float:
        return self.allocatable.get(resource, 0.0) - self.used.get(resource, 0.0)

    def hold(self, pod: Object, requests: Mapping[str, float]) -> None:
        """Reserves what a pod on this node asks for."""
        self.pods.append(pod)
        plan_pod.add(self.used, requests)
        plan_pod.add(self.used, {PODS: 1})
        if plan_pod.is_daemon(pod):
            plan_pod.add(self.resident, requests)
            plan_pod.add(self.resident, {PODS: 1})


Check = Callable[[Node], Obstacle | None]


def read_nodes(nodes: Iterable[Object], pods: Iterable[Object]) -> list[Node]:
    """The nodes with what runs on them. pods: of all namespaces; those that have ended hold nothing."""
    read = {node["metadata"]["name"]: _read_node(node) for node in nodes}
    for pod in pods:
        status = pod.get("status") or {}
        # One that preempts others waits for its node with the room reserved.
        name = (pod.get("spec") or {}).get("nodeName") or status.get("nominatedNodeName")
        if name in read and not plan_pod.has_ended(pod):
            read[name].hold(pod, plan_pod.sum_requests(pod))
    return list(read.values())


def _read_node(node: Object) -> Node:
    spec, status = node.get("spec") or {}, node.get("status") or {}
    conditions = {item.get("type"): item for item in status.get("conditions") or ()}
    ready = conditions.get("Ready") or {}
    state = "" if ready.get("status") == "True" else f"is not ready ({ready.get('reason') or 'no report'})"
    taints = list(spec.get("taints") or ())
    if spec.get("unschedulable") and not any(item.get("key") == CORDONED["key"] for item in taints):
        taints.append(CORDONED)
    names = (str(name) for item in status.get("images") or () for name in item.get("names") or ())
    metadata = node["metadata"]
    allocatable = plan_pod.read_amounts(status.get("allocatable"))
    return Node(metadata["name"], metadata.get("labels") or {}, taints, allocatable, state, frozenset(names))


@dataclass(frozen=True, slots=True)
class Shape:
    """One pod as the scheduler sees it. volumes: (claim, where its volume can be attached)."""

    pod: Object
    requests: plan_pod.Amounts
    ports: set[tuple[str, str, int]]
    volumes: Sequence[tuple[str, Object]] = ()
    architectures: Mapping[str, str] = field(default_factory=dict)


def make_shape(
    pod: Object, volumes: Sequence[tuple[str, Object]] = (), architectures: Mapping[str, str] | None = None
) -> Shape:
    """architectures: of images that say theirs, by image."""
    return Shape(pod, plan_pod.sum_requests(pod), plan_pod.list_host_ports(pod), volumes, architectures or {})


def list_obstacles(shape: Shape, node: Node, checks: Sequence[Check] = ()) -> list[Obstacle]:
    """What keeps the pod from the node, the lasting ones first. checks: by devices and by other pods."""
    found = [*_iterate_own(shape, node), *_iterate_shortages(shape, node)]
    found += [obstacle for check in checks if (obstacle := check(node))]
    return sorted(found, key=lambda item: item.may_pass)


def _iterate_own(shape: Shape, node: Node) -> Iterator[Obstacle]:
    """What the node is."""
    spec = shape.pod.get("spec") or {}
    if node.state:
        yield Obstacle(Kind.STATE, node.state, "cluster", "See the node: kubectl describe node.")
    yield from _iterate_taints(spec, node)
    wanted = spec.get("nodeName")
    if wanted and wanted != node.name:
        yield Obstacle(Kind.SELECTOR, f"is not {wanted}, as nodeName says", f"{POD}.nodeName", "Correct nodeName.")
    missing = [
        f"{key}={value}" for key, value in (spec.get("nodeSelector") or {}).items() if node.labels.get(key) != value
    ]
    if missing:
        remedy = f"Correct nodeSelector, or label a node with {missing[0]}."
        yield Obstacle(Kind.SELECTOR, f"lacks the label {', '.join(missing)}", f"{POD}.nodeSelector", remedy)
    selector = plan_selectors.node_affinity(shape.pod)
    if not plan_selectors.matches_node_selector(selector, node.name, node.labels):
        text = f"does not match the node affinity {plan_selectors.describe_node_selector(selector or {})}"
        remedy = "Correct the node affinity, or label a node so."
        yield Obstacle(Kind.SELECTOR, text, f"{POD}.affinity.nodeAffinity", remedy)
    yield from _iterate_platform(shape, node)
    for claim, where in shape.volumes:
        if not plan_selectors.matches_node_selector(where, node.name, node.labels):
            text = (
                f"cannot attach the volume of claim {claim}, which is at {plan_selectors.describe_node_selector(where)}"
            )
            remedy = "Run where the volume is, or copy it."
            yield Obstacle(Kind.VOLUME, text, f"{POD}.volumes", remedy)


def _iterate_taints(spec: Object, node: Node) -> Iterator[Obstacle]:
    for taint in plan_selectors.find_untolerated(node.taints, spec.get("tolerations") or ()):
        if taint.get("key") == CORDONED["key"]:
            remedy = "Uncordon it (kubectl uncordon), or wait."
            yield Obstacle(Kind.STATE, "is cordoned", "cluster", remedy)
            continue
        shown = plan_selectors.describe_taint(taint)
        # Kubernetes' own say how a node is, not for whom it is.
        kind = Kind.STATE if str(taint.get("key")).startswith("node.kubernetes.io/") else Kind.TAINT
        remedy = f"Tolerate the taint {shown}, or use nodes without it."
        yield Obstacle(kind, f"has the taint {shown}, which the pod does not tolerate", f"{POD}.tolerations", remedy)


def _iterate_platform(shape: Shape, node: Node) -> Iterator[Obstacle]:
    """Operating system, and the architecture of images that say theirs. Linux where the pod says nothing."""
    system = node.labels.get("kubernetes.io/os", "linux")
    wanted = ((shape.pod.get("spec") or {}).get("os") or {}).get("name") or "linux"
    if system != wanted:
        yield Obstacle(Kind.PLATFORM, f"runs {system}, the pod needs {wanted}", f"{POD}.os", f"Add a node of {wanted}.")
    architecture = node.labels.get("kubernetes.io/arch", "")
    for image, needed in shape.architectures.items():
        if architecture and needed != architecture:
            text = f"is {architecture}, image {image} is of {needed}"
            yield Obstacle(Kind.PLATFORM, text, "image", f"Use an image of {architecture}, or add a node of {needed}.")


def _iterate_shortages(shape: Shape, node: Node) -> Iterator[Obstacle]:
    for resource, amount in {**shape.requests, PODS: 1.0}.items():
        if amount > node.free(resource) + EPSILON:
            yield _describe_shortage(resource, amount, node)
    for port in _list_port_conflicts(shape, node):
        remedy = "Leave hostPort out, or wait until the port is free."
        yield Obstacle(Kind.FULL, f"has another pod on host port {port}", f"{POD}.containers", remedy)


def _list_port_conflicts(shape: Shape, node: Node) -> list[int]:
    if not shape.ports:
        return []
    held = set().union(*(plan_pod.list_host_ports(pod) for pod in node.pods))
    return plan_pod.conflicts(shape.ports, held)


def _describe_shortage(resource: str, amount: float, node: Node) -> Obstacle:
    offered, resident = node.allocatable.get(resource, 0.0), node.resident.get(resource, 0.0)
    subject = KNOWN_FIELDS.get(resource, f"{POD}.containers")
    show = partial(plan_pod.format_amount, resource)
    held = f" (DaemonSets hold {show(resident)})" if resident else ""
    if resource == PODS:
        text = f"has {show(node.used.get(PODS, 0))} of at most {show(offered)} pods"
        return Obstacle(Kind.FULL, text, "cluster", "Wait until others have ended, or add nodes.")
    if not offered:
        remedy = f"Use a cluster with {resource}, or leave it out."
        return Obstacle(Kind.TOO_SMALL, f"has no {resource}", subject, remedy)
    if amount > offered - resident + EPSILON:
        text = f"has {show(offered)} {resource} at all{held}, the pod asks for {show(amount)}"
        remedy = f"Ask for at most {show(max(offered - resident, 0))} {resource}, or add a larger node."
        return Obstacle(Kind.TOO_SMALL, text, subject, remedy)
    free = show(max(node.free(resource), 0))
    text = f"has {free} of {show(offered)} {resource} free{held}, the pod asks for {show(amount)}"
    remedy = f"Ask for less {resource}, wait until others have ended, or add nodes."
    return Obstacle(Kind.FULL, text, subject, remedy)


# --- preemption


def find_victims(shape: Shape, node: Node, obstacles: Sequence[Obstacle]) -> list[str] | None:
    """The pods of lower priority that would go, the lowest first, when nothing else keeps the pod from the node; None
    when that does not help, or the pod's policy is Never."""
    spec = shape.pod.get("spec") or {}
    if spec.get("preemptionPolicy") == "Never" or any(item.kind is not Kind.FULL for item in obstacles):
        return None
    priority = read_priority(shape.pod)
    lower = sorted((pod for pod in node.pods if read_priority(pod) < priority), key=read_priority)
    used, left = dict(node.used), list(node.pods)
    victims: list[str] = []
    for pod in lower:
        plan_pod.add(used, {**plan_pod.sum_requests(pod), PODS: 1.0}, -1)
        left.remove(pod)
        victims.append(f"{pod['metadata'].get('namespace')}/{pod['metadata']['name']}")
        emptier = Node(node.name, node.labels, node.taints, node.allocatable, used=used, pods=left)
        if not list(_iterate_shortages(shape, emptier)):
            return victims
    return None


def read_priority(pod: Object) -> int:
    return int((pod.get("spec") or {}).get("priority") or 0)
