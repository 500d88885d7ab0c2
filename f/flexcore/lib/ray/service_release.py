# requirements: flexcore_base
"""What follows a deployment on a RayService: other shares of the requests for its versions, and its release."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from f.flexcore.lib.core import contracts, errors, identity, resources
from f.flexcore.lib.ray import kubernetes_session, ray_service, service_rollout, service_spec

Object = dict[str, Any]


def is_service(cluster: resources.RayCluster, settings: resources.Settings, name: str) -> bool:
    """Whether a RayService of this name stands there; else the model is an application of a Ray cluster."""
    if not cluster.is_on_kubernetes:
        return False
    with kubernetes_session.open_session(cluster, settings) as session:
        return ray_service.RayService(session, name).read() is not None


def set_traffic(
    cluster: resources.RayCluster,
    settings: resources.Settings,
    key: identity.ExecutionKey,
    name: str,
    weights: Mapping[str, float],
    rollback: bool,
    from_revision: int,
    timeout_s: float,
) -> Object:
    """The plain result of new shares, which the ingress has. The shares before stand in the RayService from the same
    write on."""
    until = time.monotonic() + timeout_s
    with kubernetes_session.open_session(cluster, settings) as session:
        service = ray_service.RayService(session, name)

        def change(state: Object) -> Object:
            if state.get("changed_by") == key.value:
                return state
            return {
                **state,
                "before": dict(state["weights"]),
                "weights": service_spec.choose_weights(name, state, weights, rollback, from_revision),
            }

        stored = service.apply(change, key.labels(1), None)
        state = service_spec.read_state(stored)
        service_rollout.wait_for_weights(service, state, until)
    return _result(key, stored, {"name": name, "before": state["before"], "traffic": state["weights"]})


def undeploy(
    cluster: resources.RayCluster,
    settings: resources.Settings,
    key: identity.ExecutionKey,
    name: str,
    version: str,
    timeout_s: float,
) -> Object:
    """The plain result of a RayService that is gone, or of a version of it."""
    with kubernetes_session.open_session(cluster, settings) as session:
        service = ray_service.RayService(session, name)
        if not version:
            stored = service.read_ours_or_leaving()
            return _result(key, stored, {"name": name, "deleted": service.delete(timeout_s)})
        known = service_spec.read_state(service.read_ours())
        is_there = version in known.get("versions", {})
        if is_there:
            service.apply(lambda state: _without(state, name, version), key.labels(1), None)
    return _result(key, None, {"name": name, "version": version, "deleted": is_there})


def _without(state: Object, name: str, version: str) -> Object:
    share = state["weights"].get(version, 0)
    if share:
        raise errors.InvalidInput(
            f"version: {name} gives {share:g} % of its requests to version {version!r}",
            subject="version",
            remedy="Leave version empty to take all of it down, or set the traffic to another version first.",
        )
    return service_spec.keep_versions(state, [item for item in state["versions"] if item != version])


def _result(key: identity.ExecutionKey, stored: Object | None, data: Object) -> Object:
    remote = contracts.Remote(kind="RayService", name=data["name"], uid=stored["metadata"]["uid"]) if stored else None
    return contracts.StepResult(
        success=True, runtime="ray", execution_key=key.value, attempt=1, data=data, remote=remote
    ).plain()
