# requirements: flexcore_kubernetes
"""The volume claims and resource claims that a pod names: whether they are there, and where they can be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes import plan_devices, plan_nodes, plan_reads, plan_reasons
from f.flexcore.lib.kubernetes_api import categories

Object = Mapping[str, Any]
Places = list[tuple[str, Object]]

VOLUMES = f"{plan_nodes.POD}.volumes"
RESOURCES = "/apis/resource.k8s.io/v1"
DEVICE_LISTS = ("deviceclasses", "resourceslices", "resourceclaims")


def find_places(reader: plan_reads.Reader, pod: Object) -> tuple[Places, list[plan_reasons.Reason]]:
    """Where the volumes of the pod's claims can be attached."""
    places: Places = []
    reasons = []
    for volume in (pod.get("spec") or {}).get("volumes") or ():
        name = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        if not name:
            continue
        path = f"/api/v1/namespaces/{reader.namespace}/persistentvolumeclaims/{name}"
        claim = reader.get_visible(path, "persistentvolumeclaims", name)
        if claim is None:
            remedy = f"Create the PersistentVolumeClaim {name}, or correct its name."
            text = f"There is no PersistentVolumeClaim {name}"
            reasons.append(plan_reasons.Reason(categories.Category.VOLUME_FAILED, VOLUMES, text, remedy))
        elif not isinstance(claim, errors.FlexcoreError) and (where := _find_place(reader, claim)):
            places.append((name, where))
    return places, reasons


def _find_place(reader: plan_reads.Reader, claim: Object) -> Object | None:
    name = (claim.get("spec") or {}).get("volumeName")
    if not name:
        return None
    volume = reader.get_visible(f"/api/v1/persistentvolumes/{name}", "persistentvolumes", name)
    if volume is None or isinstance(volume, errors.FlexcoreError):
        return None
    place: Object | None = ((volume.get("spec") or {}).get("nodeAffinity") or {}).get("required")
    return place


def find_devices(reader: plan_reads.Reader, pod: Object) -> tuple[list[plan_nodes.Check], list[plan_reasons.Reason]]:
    """The check of a node for the devices that the pod claims."""
    entries = (pod.get("spec") or {}).get("resourceClaims") or ()
    if not entries:
        return [], []
    found = [_read_claim(reader, entry) for entry in entries]
    reasons = [item for item in found if isinstance(item, plan_reasons.Reason)]
    requests = [request for item in found if isinstance(item, list) for request in item]
    lists = [reader.list_visible(_make_collection(name)) for name in DEVICE_LISTS]
    if None in lists or not requests:
        return [], reasons
    classes, slices, claims = (items or [] for items in lists)
    inventory = plan_devices.read_inventory(classes, slices, claims)
    for name in plan_devices.list_unknown_classes(requests, inventory):
        remedy = "Correct deviceClassName (kubectl get deviceclass), or create it."
        reasons.append(_refuse(f"There is no DeviceClass {name}", remedy))
    return [plan_devices.make_check(requests, inventory)], reasons


def _make_collection(plural: str) -> plan_reads.Collection:
    return plan_reads.Collection(f"{RESOURCES}/{plural}", f"{plural}.resource.k8s.io")


def _read_claim(reader: plan_reads.Reader, entry: Object) -> Sequence[plan_devices.Request] | plan_reasons.Reason:
    """The requests of a claim or of a template's claim; none of a claim that is allocated already, or not seen."""
    claim, template = entry.get("resourceClaimName"), entry.get("resourceClaimTemplateName")
    plural, name = ("resourceclaims", claim) if claim else ("resourceclaimtemplates", template)
    path = f"{RESOURCES}/namespaces/{reader.namespace}/{plural}/{name}"
    found = reader.get_visible(path, f"{plural}.resource.k8s.io", str(name))
    if isinstance(found, errors.FlexcoreError):
        return []
    if found is None:
        kind = "ResourceClaim" if claim else "ResourceClaimTemplate"
        return _refuse(f"There is no {kind} {name}", f"Create the {kind} {name}, or correct its name.")
    if (found.get("status") or {}).get("allocation"):
        return []
    spec = found.get("spec") or {}
    return plan_devices.read_requests(spec if claim else spec.get("spec") or {})


def _refuse(text: str, remedy: str) -> plan_reasons.Reason:
    return plan_reasons.Reason(categories.Category.CONFIG_MISSING, plan_devices.CLAIMS, text, remedy)
