# requirements: flexcore_kubernetes
"""Whether a node has the devices that a pod claims by dynamic resource allocation (resource.k8s.io). Pure.

claims of the pod → requests for devices of a class → devices of the node's slices, less those that other claims hold
A selector is a program (CEL). Of it only the driver's name is read, so that what is counted is the most that can be.
Source: https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from f.flexcore.lib.kubernetes import plan_nodes, plan_selectors

Object = Mapping[str, Any]
DeviceId = tuple[str, str, str]

DRIVER = re.compile(r"""device\.driver\s*==\s*["']([^"']+)["']""")
CLAIMS = f"{plan_nodes.POD}.resourceClaims"


@dataclass(frozen=True, slots=True)
class Device:
    """One device of a slice. place: the slice or the device itself, which says on which nodes it is."""

    id: DeviceId
    place: Object
    taints: Sequence[Object] = ()


@dataclass(frozen=True, slots=True)
class Inventory:
    """What the cluster offers: device classes by name, devices, and those that are held."""

    classes: Mapping[str, Object]
    devices: Sequence[Device]
    held: frozenset[DeviceId]


def read_inventory(classes: Iterable[Object], slices: Iterable[Object], claims: Iterable[Object]) -> Inventory:
    held = frozenset(device for claim in claims for device in _iterate_allocated(claim))
    by_name = {str(item["metadata"]["name"]): item for item in classes}
    return Inventory(by_name, list(_iterate_devices(slices)), held)


def _iterate_devices(slices: Iterable[Object]) -> Iterator[Device]:
    read = [item.get("spec") or {} for item in slices]
    newest: dict[tuple[str, str], int] = {}
    for spec in read:
        pool = spec.get("pool") or {}
        address = str(spec.get("driver")), str(pool.get("name"))
        newest[address] = max(newest.get(address, 0), int(pool.get("generation") or 0))
    for spec in read:
        pool, driver = spec.get("pool") or {}, str(spec.get("driver"))
        # Slices of an earlier generation are about to go.
        if int(pool.get("generation") or 0) < newest[driver, str(pool.get("name"))]:
            continue
        for device in spec.get("devices") or ():
            place = device if spec.get("perDeviceNodeSelection") else spec
            name = (driver, str(pool.get("name")), str(device["name"]))
            yield Device(name, place, device.get("taints") or ())


def _iterate_allocated(claim: Object) -> Iterator[DeviceId]:
    allocation = (claim.get("status") or {}).get("allocation") or {}
    for item in (allocation.get("devices") or {}).get("results") or ():
        if not item.get("adminAccess"):
            yield str(item.get("driver")), str(item.get("pool")), str(item.get("device"))


# --- what a pod claims


@dataclass(frozen=True, slots=True)
class Request:
    """Devices of a class; any of `alternatives` will do."""

    name: str
    alternatives: Sequence[Object]


def read_requests(claim_spec: Object) -> list[Request]:
    """The requests in the spec of a claim, or of a template's claim."""
    requests = []
    for item in (claim_spec.get("devices") or {}).get("requests") or ():
        alternatives = item.get("firstAvailable") or [item.get("exactly") or item]
        requests.append(Request(str(item.get("name")), alternatives))
    return requests


def list_unknown_classes(requests: Iterable[Request], inventory: Inventory) -> list[str]:
    """The classes of requests of which no alternative exists."""
    names = [[str(item.get("deviceClassName")) for item in request.alternatives] for request in requests]
    return [", ".join(group) for group in names if not any(name in inventory.classes for name in group)]


def make_check(requests: Sequence[Request], inventory: Inventory) -> plan_nodes.Check:
    """Whether a node can have all of them."""

    def check(node: plan_nodes.Node) -> plan_nodes.Obstacle | None:
        taken: set[DeviceId] = set()
        for request in requests:
            found = [_find_devices(item, node, inventory, taken) for item in request.alternatives]
            chosen = next((devices for devices in found if devices is not None), None)
            if chosen is None:
                return _explain_lack(request, node, inventory)
            taken |= set(chosen)
        return None

    return check


def _find_devices(
    wanted: Object, node: plan_nodes.Node, inventory: Inventory, taken: set[DeviceId]
) -> list[DeviceId] | None:
    """Enough free devices; None when there are none."""
    is_all = wanted.get("allocationMode") == "All"
    all_devices = list(_iterate_matching(wanted, node, inventory))
    is_free = wanted.get("adminAccess") or False
    free = [device for device in all_devices if is_free or (device not in inventory.held and device not in taken)]
    if is_all:
        return free if free and len(free) == len(all_devices) else None
    count = int(wanted.get("count") or 1)
    return free[:count] if len(free) >= count else None


def _iterate_matching(wanted: Object, node: plan_nodes.Node, inventory: Inventory) -> Iterator[DeviceId]:
    """Devices of the class on the node, held ones too, as far as the driver's name tells."""
    chosen = inventory.classes.get(str(wanted.get("deviceClassName")))
    if chosen is None:
        return
    selectors = [*((chosen.get("spec") or {}).get("selectors") or ()), *(wanted.get("selectors") or ())]
    drivers = {name for item in selectors for name in DRIVER.findall(str((item.get("cel") or {}).get("expression")))}
    for device in inventory.devices:
        is_right = not drivers or device.id[0] in drivers
        blocked = plan_selectors.find_untolerated(device.taints, wanted.get("tolerations") or ())
        if is_right and not blocked and is_on(device.place, node):
            yield device.id


def is_on(place: Object, node: plan_nodes.Node) -> bool:
    if place.get("nodeName"):
        return bool(place["nodeName"] == node.name)
    if place.get("allNodes"):
        return True
    selector = place.get("nodeSelector")
    return bool(selector) and plan_selectors.matches_node_selector(selector, node.name, node.labels)


def _explain_lack(request: Request, node: plan_nodes.Node, inventory: Inventory) -> plan_nodes.Obstacle:
    wanted = request.alternatives[0]
    there = list(_iterate_matching(wanted, node, inventory))
    free = [device for device in there if device not in inventory.held]
    count = "all" if wanted.get("allocationMode") == "All" else str(wanted.get("count") or 1)
    name = wanted.get("deviceClassName")
    enough = len(there) >= int(wanted.get("count") or 1)
    kind = plan_nodes.Kind.FULL if there and enough else plan_nodes.Kind.DEVICE
    text = f"has {len(free)} of {len(there)} devices of class {name} free, request {request.name} asks for {count}"
    remedy = (
        "Wait until others have ended, or add nodes." if there and enough else "Ask for fewer, or use another class."
    )
    return plan_nodes.Obstacle(kind, text if there else f"has no device of class {name}", CLAIMS, remedy)
