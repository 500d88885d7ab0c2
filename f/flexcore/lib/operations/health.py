# requirements: flexcore_kubernetes
"""What there is to check by the settings, and one check made; what fails is down, with its reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from f.flexcore.lib import runtimes
from f.flexcore.lib.core import errors, resources, runtime_health, workloads
from f.flexcore.lib.operations import clusters
from f.flexcore.lib.storage import object_store


@dataclass(frozen=True, slots=True)
class Check:
    runtime: str
    place: str
    ask: Callable[[], runtime_health.Health]


def checks_of(settings: resources.Settings, resource: Callable[[str], Any], worker: str) -> list[Check]:
    """One for this worker's own runtimes, one for each cluster, and one for the store; none for a disabled runtime."""
    found = []
    for runtime, room in runtimes.ROOMS.items():
        if not settings.runtimes.get(runtime, workloads.RuntimeState()).enabled:
            continue
        if room.clusters is None:
            found.append(Check(runtime, worker, partial(runtimes.health_of(runtime), worker)))
            continue
        for path in getattr(settings, room.clusters):
            ask = partial(_cluster, runtime, path, resource, settings.namespace)
            found.append(Check(runtime, path.removeprefix("$res:"), ask))
    return [*found, Check("store", settings.storage_uri or "folder of the worker", partial(_store, settings))]


def measured(check: Check) -> runtime_health.Health:
    try:
        return check.ask()
    except errors.FlexcoreError as error:
        return runtime_health.Health(check.runtime, check.place, "down", detail=str(error))


def _cluster(runtime: str, path: str, resource: Callable[[str], Any], namespace: str) -> runtime_health.Health:
    health: runtime_health.Health = runtimes.health_of(runtime)(
        path.removeprefix("$res:"), clusters.read(path, resource), namespace
    )
    return health


def _store(settings: resources.Settings) -> runtime_health.Health:
    store = object_store.Store(settings)
    store.check()
    return runtime_health.Health("store", store.root, "ready", capabilities={"shared": not store.local})
