# requirements: flexcore_kubernetes
"""The operation behind kubernetes/shift_traffic: a canary or blue/green release between two deployed versions."""

from __future__ import annotations

from typing import Any

from f.flexcore.lib.core import contracts, operation, resources
from f.flexcore.lib.kubernetes import traffic_request

Invocation = operation.Invocation[traffic_request.TrafficRequest, resources.KubernetesCluster]


def plan(invocation: Invocation) -> contracts.StepResult:
    """What would move: kind of target, shares now and in each step, ready endpoints. Raises what executing it would at
    once: a version that is not there, a route that is not ours or that another execution has."""
    from f.flexcore.lib.kubernetes import traffic_opening, traffic_record, traffic_target

    opened = traffic_opening.open_traffic(invocation)
    target, request = opened.target, invocation.request
    item = target.read()
    now: dict[str, int] | None = None
    before = dict.fromkeys(opened.names, 0) | {opened.names[0]: 100}
    if item is not None:
        traffic_target.check_ours(item, target.what)
        traffic_record.check_claim(traffic_record.read_record(item), invocation.key, target.what)
        now, before = target.read_shares(item), target.find_before(item)
    elif opened.mode == "replicas":
        before = {name: count for name, count in target.read_shares({}).items() if name == opened.names[0]}
    versions = (opened.stable, opened.candidate)
    data = {
        "mode": opened.mode,
        "namespace": opened.namespace,
        "route": target.what,
        "creates_route": item is None,
        "shares_now": now,
        "steps": [target.plan_shares(weight, before) for weight in request.steps],
        "ready_endpoints": {
            name: traffic_target.count_ready(opened.kubernetes, version)
            for name, version in zip(opened.names, versions, strict=True)
        },
        "measured_by": opened.source.name,
    }
    return contracts.StepResult(
        success=True, runtime="kubernetes", execution_key=invocation.key.value, attempt=1, data=data
    )


def execute(invocation: Invocation) -> dict[str, Any]:
    from f.flexcore.lib.core import driver
    from f.flexcore.lib.kubernetes import traffic_shift

    return driver.drive(traffic_shift.open_shift, invocation)


SHIFT_TRAFFIC = operation.Operation(
    runtime="kubernetes",
    name="shift_traffic",
    request=traffic_request.TrafficRequest,
    service=resources.KubernetesCluster,
    check=traffic_request.check,
    plan=plan,
    execute=execute,
)
