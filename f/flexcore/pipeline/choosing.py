# requirements: flexcore_kubernetes
# py: ==3.11.*
"""What a choice is made from: how the described runtimes are now, what they cost, and what they did before."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from functools import partial
from typing import Any

from f.flexcore.core.forecast import Forecasts, loaded
from f.flexcore.core.health import Health
from f.flexcore.core.resources import Settings
from f.flexcore.core.selection import NAMESPACE
from f.flexcore.core.workloads import Market, RuntimeState, Selection
from f.flexcore.operations.health import Check, measured
from f.flexcore.operations.registry import ROOMS, health_of
from f.flexcore.pipeline.described import SERVICE

# A service that takes longer to say how it is would take long to start anything, too.
PATIENCE_S = 20.0
# Where `operations/learn` keeps what it has fitted.
FORECAST = "f/flexcore/forecast"


def health_now(asked: Mapping[str, Any], settings: Settings) -> list[Health]:
    """Of each described runtime, asked side by side; what does not answer in time is down."""
    checks = [_check(runtime, form or {}, settings) for runtime, form in asked.items() if form]
    pool = ThreadPoolExecutor(max(1, len(checks)))
    try:
        running = [(check, pool.submit(measured, check)) for check in checks]
        return [_in_time(check, future) for check, future in running]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _check(runtime: str, form: Mapping[str, Any], settings: Settings) -> Check:
    place = os.environ.get("WM_WORKER_GROUP") or "this worker"
    if ROOMS[runtime].clusters is None:
        return Check(runtime, place, partial(health_of(runtime), place))
    resource = form.get(SERVICE[runtime]) or {}
    if runtime == "kubernetes" and isinstance(resource, dict) and (namespace := namespace_of(form, settings)):
        resource = {**resource, "namespace": namespace}
    return Check(runtime, runtime, partial(health_of(runtime), runtime, resource, settings.namespace))


def namespace_of(form: Mapping[str, Any], settings: Settings) -> str:
    """Where Kubernetes is to run it: the form's, the settings' for that runtime, the cluster resource's own (""), the
    settings' for all steps, and when nobody says it the selection's."""
    cluster = form.get("cluster") or {}
    state = settings.runtimes.get("kubernetes", RuntimeState())
    if said := form.get("namespace") or state.namespace:
        return str(said)
    if isinstance(cluster, dict) and cluster.get("namespace"):
        return ""
    return settings.namespace if "namespace" in settings.model_fields_set else NAMESPACE


def _in_time(check: Check, future: Future[Health]) -> Health:
    try:
        return future.result(timeout=PATIENCE_S)
    except TooLate:
        return Health(check.runtime, check.place, "down", detail=f"It did not answer within {PATIENCE_S:.0f} s")


def market_of(settings: Settings, found: list[Health], namespace: str = "") -> Market:
    """The settings' prices and limits, each runtime's health as measured now, and where Kubernetes would run it."""
    states = dict(settings.runtimes)
    for item in found:
        state = states.get(item.runtime, RuntimeState())
        states[item.runtime] = state.model_copy(update={"healthy": item.state != "down"})
    if namespace:
        state = states.get("kubernetes", RuntimeState())
        states["kubernetes"] = state.model_copy(update={"namespace": namespace})
    return Market(
        runtimes=states,
        min_samples=settings.min_samples,
        failure_cost_factor=settings.failure_cost_factor,
        egress_usd_per_gib=settings.egress_usd_per_gib,
    )


def explained(selection: Selection, found: list[Health], described: list[str], pin: str | None) -> Selection:
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
        for item in with_details if item.runtime in described
    )  # fmt: skip
    return selection.model_copy(update={"candidates": with_details, "reason": f"{selection.error}: {why}"})


def forecaster(resource: Callable[[str], Any]) -> tuple[Forecasts | None, str]:
    """What `operations/learn` has made of earlier runs, or None and why there is nothing: the rules then decide."""
    try:
        stored = resource(FORECAST)
    except Exception:
        # The client raises a bare Exception for a resource that does not exist or may not be read.
        stored = None
    if not stored:
        return None, f"Nothing was learned from earlier runs yet: {FORECAST} does not exist"
    return loaded(stored)


def order_of(selection: Selection, pin: str | None) -> list[str]:
    """The chosen runtime and, unless it was pinned, those that take over when it fails to start."""
    if selection.runtime is None:
        return []
    others = [item.runtime for item in selection.candidates if item.eligible and item.runtime != selection.runtime]
    return [selection.runtime, *([] if pin else others)]
