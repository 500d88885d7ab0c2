# requirements: flexcore_base
"""Upgrades of a RayService in steps: KubeRay makes a Gateway and an HTTPRoute, and moves requests to the new cluster.

Whether the operator does it, its Gateway says: the CRD has the fields since 1.5, also where the operator's feature
RayServiceIncrementalUpgrade is off. Such an operator would never bring another cluster to a RayService of this type,
nor would one whose Gateway is not ready; the type is then set back, and a new cluster takes over at once.
Source: KubeRay's controllers/ray/rayservice_controller.go (isZeroDowntimeUpgradeEnabled, createGateway) and
controllers/ray/common/service.go of 1.5 to 1.7; the rest was seen with 1.5.0 and Traefik 3.7.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes_api import api_errors
from f.flexcore.lib.ray import ray_service, service_spec

# The operator makes it in its first pass; a data plane takes it over within seconds, a load balancer within minutes.
GATEWAY_TIMEOUT_S = 120.0
ABSENT_TIMEOUT_S = 15.0
POLL_INTERVAL_S = 1.0
Object = dict[str, Any]


def settle(
    service: ray_service.RayService,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    report: Callable[[str], None] = print,
) -> str:
    """The base URL of the RayService's Gateway; "" for one whose new clusters take over at once, which it is made when
    there is no Gateway that works."""
    stored = service.read_ours()
    if stored is None or not service_spec.is_stepwise(stored):
        return ""
    began, problem = clock(), ""
    while clock() - began < (GATEWAY_TIMEOUT_S if problem else ABSENT_TIMEOUT_S):
        gateway = _read_gateway(service)
        if gateway:
            address, problem = find_address(gateway)
            if address:
                return address
        sleep(POLL_INTERVAL_S)
    reason = f"its Gateway is not ready ({problem})" if problem else "KubeRay's RayServiceIncrementalUpgrade is off"
    report(f"No upgrades in steps, since {reason}: a new Ray cluster takes over at once")
    strategy = {"type": service_spec.AT_ONCE, "clusterUpgradeOptions": None}
    service.kubernetes.patch(service.path, {"spec": {"upgradeStrategy": strategy}}, service.call("patch"))
    return ""


def wait_until_moved(
    service: ray_service.RayService,
    until: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    report: Callable[[str], None] = print,
) -> None:
    """Returns once all requests go to one cluster. Raises DeadlineExceeded when they do not in time."""
    said, percent = "", None
    while clock() < until:
        stored = service.read_ours()
        percent = service_spec.find_moved_percent(stored) if stored else None
        if percent is None:
            return
        shown = f"{percent} % of the requests go to the new Ray cluster"
        if shown != said:
            said = shown
            report(shown)
        sleep(POLL_INTERVAL_S)
    raise errors.DeadlineExceeded(
        f"The RayService {service.name} has not moved to its new Ray cluster in time ({percent} % of the requests)",
        subject="timeout_s",
        remedy="Run the step again, which waits on; see the RayService's events when it stays so.",
    )


def find_address(gateway: Object) -> tuple[str, str]:
    """(base URL, "") of a Gateway that is programmed, or ("", what it says). Pure."""
    status = gateway.get("status") or {}
    listeners = status.get("listeners") or []
    conditions = [
        *(status.get("conditions") or []),
        *(item for one in listeners for item in one.get("conditions") or []),
    ]
    for wanted in ("Accepted", "Programmed"):
        wrong = [item for item in conditions if item.get("type") == wanted and item.get("status") != "True"]
        if wrong or not any(item.get("type") == wanted for item in conditions):
            said = "; ".join(dict.fromkeys(f"{item.get('reason')}: {item.get('message')}" for item in wrong))
            return "", said or "no controller has taken it"
    addresses = [str(item.get("value")) for item in status.get("addresses") or [] if item.get("value")]
    if not addresses:
        return "", "it has no address"
    host, port = addresses[0], int((gateway["spec"].get("listeners") or [{}])[0].get("port") or 80)
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}{'' if port == 80 else f':{port}'}", ""


def _read_gateway(service: ray_service.RayService) -> Object | None:
    name = f"{service.name}-gateway"
    path = f"/apis/gateway.networking.k8s.io/v1/namespaces/{service.namespace}/gateways/{name}"
    call = api_errors.Call("get", "gateways.gateway.networking.k8s.io", service.namespace, name)
    return service.kubernetes.get(path, call)
