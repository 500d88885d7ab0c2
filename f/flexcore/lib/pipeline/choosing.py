# requirements: flexcore_kubernetes
"""What a choice is made from: how the described runtimes are now, what they cost, and what they did before."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from functools import partial
from typing import Any

from f.flexcore.lib import runtimes
from f.flexcore.lib.core import errors, resources, runtime_health, workloads
from f.flexcore.lib.operations import configured_runtimes
from f.flexcore.lib.pipeline import candidates
from f.flexcore.lib.selection import forecast, selector

# A service that takes longer to say how it is would take long to start anything, too.
PATIENCE_S = 20.0
# Where `operations/learn` keeps what it has fitted.
FORECAST = "f/flexcore/forecast"


def health_now(asked: Mapping[str, Any], settings: resources.Settings) -> list[runtime_health.Health]:
    """Of each described runtime, asked side by side; what does not answer in time is down."""
    checks = [_check(runtime, form or {}, settings) for runtime, form in asked.items() if form]
    pool = ThreadPoolExecutor(max(1, len(checks)))
    try:
        running = [(check, pool.submit(configured_runtimes.run_check, check)) for check in checks]
        return [_in_time(check, future) for check, future in running]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _check(runtime: str, form: Mapping[str, Any], settings: resources.Settings) -> configured_runtimes.HealthCheck:
    place = os.environ.get("WM_WORKER_GROUP") or "this worker"
    entry = runtimes.RUNTIMES[runtime]
    if entry.clusters_field is None:
        return configured_runtimes.HealthCheck(runtime, place, partial(runtimes.check_health, entry, place))
    resource = form.get(candidates.SERVICE[runtime]) or {}
    if runtime == "kubernetes" and isinstance(resource, dict) and (namespace := namespace_of(form, settings)):
        resource = {**resource, "namespace": namespace}
    check = partial(runtimes.check_health, entry, runtime, resource, settings.namespace)
    return configured_runtimes.HealthCheck(runtime, runtime, check)


def namespace_of(form: Mapping[str, Any], settings: resources.Settings) -> str:
    """Where Kubernetes is to run it: the form's, the settings' for that runtime, the cluster resource's own (""), the
    settings' for all steps, and when nobody says it the selection's."""
    cluster = form.get("cluster") or {}
    state = settings.runtimes.get("kubernetes", workloads.RuntimeState())
    if said := form.get("namespace") or state.namespace:
        return str(said)
    if isinstance(cluster, dict) and cluster.get("namespace"):
        return ""
    return settings.namespace if "namespace" in settings.model_fields_set else selector.NAMESPACE


def _in_time(check: configured_runtimes.HealthCheck, future: Future[runtime_health.Health]) -> runtime_health.Health:
    try:
        return future.result(timeout=PATIENCE_S)
    except TooLate:
        return runtime_health.Health(
            check.runtime, check.place, "down", detail=f"It did not answer within {PATIENCE_S:.0f} s"
        )


def market_of(
    settings: resources.Settings, found: list[runtime_health.Health], namespace: str = ""
) -> workloads.Market:
    """The settings' prices and limits, each runtime's health as measured now, and where Kubernetes would run it."""
    states = dict(settings.runtimes)
    for item in found:
        state = states.get(item.runtime, workloads.RuntimeState())
        states[item.runtime] = state.model_copy(update={"healthy": item.state != "down"})
    if namespace:
        state = states.get("kubernetes", workloads.RuntimeState())
        states["kubernetes"] = state.model_copy(update={"namespace": namespace})
    return workloads.Market(
        runtimes=states,
        min_samples=settings.min_samples,
        failure_cost_factor=settings.failure_cost_factor,
        egress_usd_per_gib=settings.egress_usd_per_gib,
    )


def explained(
    selection: workloads.Selection, found: list[runtime_health.Health], described: list[str], pin: str | None
) -> workloads.Selection:
    """With what is wrong with each runtime that is down, and, when none is left, every described one's reason."""
    details = {item.runtime: item.detail for item in found if item.state == "down" and item.detail}
    with_details = [
        item.model_copy(update={"reason": f"{item.reason}: {details[item.runtime]}"})
        if item.runtime in details
        else item
        for item in selection.candidates
    ]
    if selection.runtime is not None or pin:
        why_not = f"{selection.reason} {details[pin]}" if pin in details else selection.reason
        return selection.model_copy(update={"candidates": with_details, "reason": why_not})
    why = "; ".join(
        f"{item.runtime}: {item.reason.removeprefix('not eligible: ')}"
        for item in with_details
        if item.runtime in described
    )
    return selection.model_copy(update={"candidates": with_details, "reason": f"{selection.error}: {why}"})


def forecaster(resource: Callable[[str], Any]) -> tuple[forecast.Forecasts | None, str]:
    """What `operations/learn` has made of earlier runs, or None and why there is nothing: the rules then decide."""
    try:
        stored = resource(FORECAST)
    except errors.FlexcoreError:
        stored = None
    if not stored:
        return None, f"Nothing was learned from earlier runs yet: {FORECAST} does not exist"
    return forecast.parse_forecasts(stored)


def order_of(selection: workloads.Selection, pin: str | None) -> list[str]:
    """The chosen runtime and, unless it was pinned, those that take over when it fails to start."""
    if selection.runtime is None:
        return []
    others = [item.runtime for item in selection.candidates if item.eligible and item.runtime != selection.runtime]
    return [selection.runtime, *([] if pin else others)]
