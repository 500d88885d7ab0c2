# requirements: flexcore_kubernetes
"""Which of several clusters gets a piece of work, and why each of the others does not. Pure.

    cluster      will not   it cannot be asked, lacks what is required, or is too small even when it is empty
                 likely     nothing known speaks against it; its scheduler decides
    order        room now → room not known → must wait;  then price, headroom or latency, as asked for
    choice       one: the first · spread, failover: `count` of them, each in another cloud and region if it can be

What is not known speaks for nothing: an unknown price comes after every known one, and is not 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Prefer = Literal["price", "headroom", "latency"]
Strategy = Literal["one", "spread", "failover"]
LATENCIES = ("low", "medium", "high")
# A word of a cluster's capabilities: it adds nodes by itself, so that what is there now says little.
AUTOSCALING = "autoscaling"
UNKNOWN = float("inf")
HAS_ROOM, NOT_MEASURED, MUST_WAIT = 0, 1, 2
GIB = 2.0**30


@dataclass(frozen=True, slots=True)
class Shape:
    """What is to be placed: amounts of each copy in cores, bytes and GPUs (None: not said), and what is required.

    hours: how long it runs, for its price. data_gib come from data_location, output_gib go back there.
    """

    cpu: float | None = None
    memory_bytes: float | None = None
    gpus: float = 0
    copies: int = 1
    hours: float | None = None
    data_location: str = ""
    data_gib: float = 0
    output_gib: float = 0
    capabilities: frozenset[str] = frozenset()
    clouds: frozenset[str] = frozenset()
    regions: frozenset[str] = frozenset()
    max_latency: str = ""
    excluded: frozenset[str] = frozenset()
    prefer: Prefer = "price"


class Node(NamedTuple):
    """`number` nodes of one kind: what each offers, and what of it no pod reserves (None: not measured)."""

    number: int
    cpu: float
    memory: float
    gpus: float
    free_cpu: float | None = None
    free_memory: float | None = None
    free_gpus: float | None = None


@dataclass(frozen=True, slots=True)
class Cluster:
    """A candidate: what its resource says, and what it answered. problem: why it cannot be used now, "" when it can;
    is_passing: whether that may change by itself. nodes: None where they may not be seen. quota: resource → (hard,
    left) in the namespace. is_complete: whether `capabilities` has those that only the cluster itself can say."""

    name: str
    cloud: str = ""
    region: str = ""
    cpu_hour_usd: float | None = None
    memory_gib_hour_usd: float | None = None
    gpu_hour_usd: float | None = None
    egress_gib_usd: float | None = None
    capabilities: frozenset[str] = frozenset()
    data_location: str = ""
    latency: str = ""
    problem: str = ""
    is_passing: bool = False
    nodes: tuple[Node, ...] | None = None
    quota: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    is_complete: bool = True


class Candidate(NamedTuple):
    """One line of the candidate table. room: how many copies find room now; headroom: what is left of the scarcest
    resource then, as a share of all; usd: price of the whole with moving its data, egress_usd: of that alone. None:
    not known."""

    cluster: str
    verdict: str
    reason: str
    cloud: str = ""
    region: str = ""
    latency: str = ""
    usd: float | None = None
    egress_usd: float | None = None
    room: int | None = None
    headroom: float | None = None
    is_passing: bool = False

    def plain(self, rank: int | None) -> dict[str, Any]:
        row = {"rank": rank, **self._asdict()}
        del row["is_passing"]
        return row


@dataclass(frozen=True, slots=True)
class Choice:
    """clusters: those that get the work, in order; candidates: all of them, the likely ones first and in order."""

    clusters: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...] = ()

    def rows(self) -> list[dict[str, Any]]:
        return [item.plain(rank if item.verdict == "likely" else None) for rank, item in enumerate(self.candidates, 1)]


def choose(
    shape: Shape,
    clusters: Sequence[Cluster],
    egress_gib_usd: Mapping[str, float],
    strategy: Strategy = "one",
    count: int = 1,
) -> Choice:
    """The clusters for one shape. egress_gib_usd: by the location that data leaves (`read_egress_prices`). Fewer than
    `count`, and a note, where there are not so many; none, where no candidate is likely."""
    ranked = rank_candidates(shape, clusters, egress_gib_usd)
    likely = [item for item in ranked if item.verdict == "likely"]
    wanted = 1 if strategy == "one" else count
    chosen = _pick_apart(likely, wanted)
    notes = []
    if 0 < len(chosen) < wanted:
        notes.append(f"count: {wanted} clusters were asked for and {len(chosen)} can be used")
    return Choice(tuple(item.cluster for item in chosen), tuple(ranked), tuple(notes))


def read_egress_prices(clusters: Iterable[Cluster], settings: Mapping[str, float]) -> dict[str, float]:
    """The settings' prices, and those of the clusters where they name none."""
    own = {item.data_location: item.egress_gib_usd for item in clusters if item.data_location}
    return {**{place: price for place, price in own.items() if price is not None}, **settings}


def rank_candidates(shape: Shape, clusters: Sequence[Cluster], egress_gib_usd: Mapping[str, float]) -> list[Candidate]:
    """Every cluster once, the likely ones first and the best of them at the top."""
    likely: list[tuple[tuple[Any, ...], Candidate]] = []
    refused: list[Candidate] = []
    for cluster in clusters:
        if reason := find_refusal(shape, cluster):
            passing = cluster.is_passing and bool(cluster.problem)
            item = Candidate(
                cluster.name, "will not", reason, cluster.cloud, cluster.region, cluster.latency, is_passing=passing
            )
            refused.append(item)
        else:
            likely.append(_rate(shape, cluster, egress_gib_usd))
    likely.sort()
    return [item for _, item in likely] + refused


def _pick_apart(likely: Sequence[Candidate], count: int) -> list[Candidate]:
    """The best ones of different places first, then the best of the rest."""
    chosen: list[Candidate] = []
    places = set()
    for item in likely:
        place = (item.cloud, item.region)
        if len(chosen) < count and place not in places:
            places.add(place)
            chosen.append(item)
    for item in likely:
        if len(chosen) < count and item not in chosen:
            chosen.append(item)
    return chosen


# --- will not


def find_refusal(shape: Shape, cluster: Cluster) -> str:
    """Why the work cannot go there; "" when nothing known speaks against it."""
    name = cluster.name
    if name in shape.excluded:
        return "it is excluded"
    if shape.clouds and cluster.cloud not in shape.clouds:
        return f"its cloud is {cluster.cloud or 'not said'}, not {' or '.join(sorted(shape.clouds))}"
    if shape.regions and cluster.region not in shape.regions:
        return f"its region is {cluster.region or 'not said'}, not {' or '.join(sorted(shape.regions))}"
    if shape.max_latency and not _is_near_enough(cluster.latency, shape.max_latency):
        return f"its latency is {cluster.latency or 'not said'}, and at most {shape.max_latency} is asked for"
    if cluster.problem:
        return cluster.problem
    if not shape.capabilities <= cluster.capabilities:
        return f"it lacks {', '.join(sorted(shape.capabilities - cluster.capabilities))}"
    return _find_shortage(shape, cluster)


def _is_near_enough(latency: str, most: str) -> bool:
    return bool(latency) and LATENCIES.index(latency) <= LATENCIES.index(most)


def _find_shortage(shape: Shape, cluster: Cluster) -> str:
    """What no node, and no quota, could ever give."""
    cpu, memory, gpus = shape.cpu or 0.0, shape.memory_bytes or 0.0, shape.gpus
    if cluster.nodes is not None and AUTOSCALING not in cluster.capabilities:
        for node in cluster.nodes:
            if node.cpu >= cpu and node.memory >= memory and node.gpus >= gpus:
                break
        else:
            return _describe_shortage(shape, cluster.nodes)
    for resource, need in _needs(shape):
        if need and resource in cluster.quota and cluster.quota[resource][0] < need:
            hard = _amount(resource, cluster.quota[resource][0])
            return f"the quota of its namespace allows {hard} of {resource}, and {_amount(resource, need)} is asked for"
    return ""


def _describe_shortage(shape: Shape, nodes: Sequence[Node]) -> str:
    if not nodes:
        return "it has no node that takes pods"
    largest = {
        "cores": (shape.cpu or 0.0, max(node.cpu for node in nodes), 1.0),
        "GiB of memory": (shape.memory_bytes or 0.0, max(node.memory for node in nodes), GIB),
        "GPUs": (shape.gpus, max(node.gpus for node in nodes), 1.0),
    }
    for unit, (need, most, scale) in largest.items():
        if need > most:
            return f"no node has {need / scale:.3g} {unit}: the largest has {most / scale:.3g}"
    return "no node has all that a copy asks for together"


def _needs(shape: Shape) -> tuple[tuple[str, float], ...]:
    copies = shape.copies
    return (
        ("requests.cpu", (shape.cpu or 0.0) * copies),
        ("requests.memory", (shape.memory_bytes or 0.0) * copies),
        ("requests.nvidia.com/gpu", shape.gpus * copies),
        ("pods", float(copies)),
    )


def _amount(resource: str, value: float) -> str:
    return f"{value / GIB:.3g} GiB" if resource.endswith("memory") else f"{value:.4g}"


# --- likely


def _rate(shape: Shape, cluster: Cluster, egress_gib_usd: Mapping[str, float]) -> tuple[tuple[Any, ...], Candidate]:
    """(sort key, line of the table)"""
    room, headroom = _measure_room(shape, cluster)
    egress = _egress_usd(shape, cluster, egress_gib_usd)
    run = _run_usd(shape, cluster)
    usd = None if run is None or egress is None else run + egress
    state = NOT_MEASURED if room is None else HAS_ROOM if room >= shape.copies else MUST_WAIT
    by_price = UNKNOWN if usd is None else usd
    by_headroom = UNKNOWN if headroom is None else -headroom
    by_latency = LATENCIES.index(cluster.latency) if cluster.latency else len(LATENCIES)
    order: tuple[float, float, float]
    if shape.prefer == "price":
        order = (by_price, by_headroom, by_latency)
    elif shape.prefer == "headroom":
        order = (by_headroom, by_price, by_latency)
    else:
        order = (by_latency, by_price, by_headroom)
    candidate = Candidate(
        cluster.name,
        "likely",
        _describe(shape, room, usd, egress),
        cluster.cloud,
        cluster.region,
        cluster.latency,
        usd,
        egress,
        room,
        headroom,
    )
    return (state, *order, cluster.name), candidate


def _measure_room(shape: Shape, cluster: Cluster) -> tuple[int | None, float | None]:
    """(copies that find room now, share of the scarcest resource that is left)"""
    if cluster.nodes is None:
        return None, None
    cpu, memory, gpus, copies = shape.cpu or 0.0, shape.memory_bytes or 0.0, shape.gpus, shape.copies
    room = 0
    all_cpu = all_memory = free_cpu = free_memory = 0.0
    for number, node_cpu, node_memory, _, node_free_cpu, node_free_memory, node_free_gpus in cluster.nodes:
        if node_free_cpu is None or node_free_memory is None:
            return None, None
        all_cpu += number * node_cpu
        all_memory += number * node_memory
        free_cpu += number * node_free_cpu
        free_memory += number * node_free_memory
        if room < copies:
            # The small amount is for sums of binary fractions.
            each = copies
            if cpu:
                each = min(each, int(node_free_cpu / cpu + 1e-9))
            if memory:
                each = min(each, int(node_free_memory / memory + 1e-9))
            if gpus:
                each = min(each, int((node_free_gpus or 0.0) / gpus))
            room += number * max(each, 0)
    room = min(room, copies)
    if cluster.quota:
        room = min(room, _room_in_quota(shape, cluster.quota))
    left_cpu = (free_cpu - cpu * copies) / all_cpu if all_cpu else 0.0
    left_memory = (free_memory - memory * copies) / all_memory if all_memory else 0.0
    return room, round(max(min(left_cpu, left_memory), 0.0), 4)


def _room_in_quota(shape: Shape, quota: Mapping[str, tuple[float, float]]) -> int:
    room = shape.copies
    for resource, need in _needs(shape):
        if need and resource in quota:
            room = min(room, int(max(quota[resource][1], 0.0) / (need / shape.copies) + 1e-9))
    return room


def _run_usd(shape: Shape, cluster: Cluster) -> float | None:
    """None when an amount that has a price, or the price of an amount, is not known."""
    if shape.hours is None or shape.cpu is None or cluster.cpu_hour_usd is None:
        return None
    hourly = shape.cpu * cluster.cpu_hour_usd
    if cluster.memory_gib_hour_usd:
        if shape.memory_bytes is None:
            return None
        hourly += shape.memory_bytes / GIB * cluster.memory_gib_hour_usd
    if shape.gpus:
        if cluster.gpu_hour_usd is None:
            return None
        hourly += shape.gpus * cluster.gpu_hour_usd
    return hourly * shape.copies * shape.hours


def _egress_usd(shape: Shape, cluster: Cluster, prices: Mapping[str, float]) -> float | None:
    """Of moving the data in from where it lies, and what comes out back there."""
    if not shape.data_location or shape.data_location == cluster.data_location:
        return 0.0
    cost = 0.0
    if shape.data_gib:
        if shape.data_location not in prices:
            return None
        cost += shape.data_gib * prices[shape.data_location]
    if shape.output_gib:
        if cluster.egress_gib_usd is None:
            return None
        cost += shape.output_gib * cluster.egress_gib_usd
    return cost


def _describe(shape: Shape, room: int | None, usd: float | None, egress: float | None) -> str:
    if room is None:
        parts = ["free resources not measured"]
    elif room >= shape.copies:
        parts = ["room now"]
    else:
        parts = [f"room now for {room} of {shape.copies}, the rest would wait"]
    parts.append("price not known" if usd is None else f"{usd:.4g} USD")
    if egress:
        parts.append(f"{egress:.4g} of it for moving data")
    return ", ".join(parts)
