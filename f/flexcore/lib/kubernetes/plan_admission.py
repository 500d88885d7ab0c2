# requirements: flexcore_kubernetes
"""What the cluster would make of a pod beyond what is written: defaults, sidecars, priority, overhead. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from f.flexcore.lib.kubernetes import plan_limits, plan_nodes, plan_pod, plan_reasons
from f.flexcore.lib.kubernetes_api import categories

Object = Mapping[str, Any]

# Every pod gets these.
USUAL_TOLERATIONS = {"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"}
ARCHITECTURES = {
    "amd64": "amd64",
    "x86_64": "amd64",
    "arm64": "arm64",
    "arm64v8": "arm64",
    "aarch64": "arm64",
    "arm32v7": "arm",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
    "riscv64": "riscv64",
}
_NAMES = "|".join(ARCHITECTURES)
# arm64v8/busybox, registry/x/arm64v8/busybox:1, tool:1.2-arm64, tool-linux-amd64:1
FOLDER = re.compile(rf"(?:^|/)({_NAMES})/")
ENDING = re.compile(rf"[-_.:/]({_NAMES})(?:$|[-_.:@])")


def describe_changes(template: Object, pod: Object, limits: Sequence[Object]) -> list[str]:
    """What a try of the pod added to its template, each in a line."""
    expected, notes = plan_limits.apply_limit_ranges(template, limits)
    spec, written = pod.get("spec") or {}, expected.get("spec") or {}
    return [
        *notes,
        *_iterate_containers(written, spec),
        *_iterate_placement(written, spec),
    ]


def _iterate_containers(written: Object, spec: Object) -> Iterator[str]:
    for kind in ("initContainers", "containers"):
        known = {item["name"]: item for item in written.get(kind) or ()}
        for container in spec.get(kind) or ():
            said = container.get("resources") or {}
            requests = plan_pod.read_amounts({**(said.get("limits") or {}), **(said.get("requests") or {})})
            if container["name"] not in known:
                what = (
                    "sidecar"
                    if kind == "containers" or container.get("restartPolicy") == "Always"
                    else "init container"
                )
                yield f"{what} {container['name']} is injected{_show(requests)}"
                continue
            before = known[container["name"]].get("resources") or {}
            own = plan_pod.read_amounts({**(before.get("limits") or {}), **(before.get("requests") or {})})
            if requests != own:
                yield f"container {container['name']} is changed to request{_show(requests) or ' nothing'}"


def _iterate_placement(written: Object, spec: Object) -> Iterator[str]:
    if spec.get("overhead"):
        yield f"RuntimeClass {spec.get('runtimeClassName')} adds{_show(plan_pod.read_amounts(spec['overhead']))}"
    if spec.get("priority"):
        name = spec.get("priorityClassName")
        policy = spec.get("preemptionPolicy") or "PreemptLowerPriority"
        yield f"priority {spec['priority']}{f' ({name})' if name else ''}, preemption: {policy}"
    known = {str(item.get("key")) for item in written.get("tolerations") or ()} | USUAL_TOLERATIONS
    for item in spec.get("tolerations") or ():
        if str(item.get("key")) not in known:
            yield f"the cluster adds a toleration of {item.get('key')}"
    for key, value in (spec.get("nodeSelector") or {}).items():
        if key not in (written.get("nodeSelector") or {}):
            yield f"the cluster adds the node selector {key}={value}"


def _show(amounts: Mapping[str, float]) -> str:
    shown = ", ".join(f"{plan_pod.format_amount(name, amount)} {name}" for name, amount in sorted(amounts.items()))
    return f" {shown}" if shown else ""


def find_local_reasons(pod: Object, limits: Sequence[Object]) -> list[plan_reasons.Reason]:
    """What the LimitRanges would refuse, where the pod itself may not be tried."""
    remedy = "Change the request, or choose another namespace."
    return [
        plan_reasons.Reason(categories.Category.ADMISSION_DENIED, f"{plan_nodes.POD}.containers", text, remedy)
        for text in plan_limits.list_violations(pod, limits)
    ]


# --- images


def read_architectures(pod: Object) -> dict[str, str]:
    """The architecture of each image whose name says one; a registry is not asked."""
    found = {}
    for container in plan_pod.iterate_containers(pod):
        image = str(container.get("image"))
        match = FOLDER.search(image) or ENDING.search(image.partition("@")[0])
        if match:
            found[image] = ARCHITECTURES[match[1]]
    return found


def note_architectures(pod: Object, nodes: Sequence[plan_nodes.Node]) -> list[str]:
    """A word on images whose architecture is not known where the nodes that would take the pod have several."""
    present = sorted({node.labels["kubernetes.io/arch"] for node in nodes if "kubernetes.io/arch" in node.labels})
    if len(present) < 2:
        return []
    told = read_architectures(pod)
    notes = []
    for image in dict.fromkeys(str(item.get("image")) for item in plan_pod.iterate_containers(pod)):
        if image not in told:
            ran = sorted({node.labels.get("kubernetes.io/arch", "") for node in nodes if image in node.images} - {""})
            where = f"it was pulled on nodes of {', '.join(ran)}" if ran else "no node has pulled it yet"
            notes.append(
                f"image {image} must be there for {' and '.join(present)}, since a node of either may get it ({where})"
            )
    return notes


def complete_pod(pod: Object, limits: Sequence[Object]) -> dict[str, Any]:
    """The pod with the defaults of the LimitRanges, where the cluster does not make it."""
    return plan_limits.apply_limit_ranges(pod, limits)[0]
