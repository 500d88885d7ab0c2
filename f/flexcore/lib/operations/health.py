# requirements: flexcore_kubernetes
"""What there is to check by the settings, and one check made; what fails is down, with its reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from f.flexcore.lib import runtimes
from f.flexcore.lib.core import errors, operation, resources, runtime_health, workloads
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
    for runtime in runtimes.RUNTIMES.values():
        if not settings.runtimes.get(runtime.name, workloads.RuntimeState()).enabled:
            continue
        if runtime.clusters_field is None:
            found.append(Check(runtime.name, worker, partial(runtimes.check_health, runtime, worker)))
        for path in runtimes.list_clusters(runtime, settings):
            ask = partial(_cluster, runtime, path, resource, settings.namespace)
            found.append(Check(runtime.name, path.removeprefix("$res:"), ask))
    return [*found, Check("store", settings.storage_uri or "folder of the worker", partial(_store, settings))]


def measured(check: Check) -> runtime_health.Health:
    try:
        return check.ask()
    except errors.FlexcoreError as error:
        return runtime_health.Health(check.runtime, check.place, "down", detail=str(error))


def _cluster(
    runtime: operation.Runtime, path: str, resource: Callable[[str], Any], namespace: str
) -> runtime_health.Health:
    return runtimes.check_health(runtime, path.removeprefix("$res:"), clusters.read(path, resource), namespace)


def _store(settings: resources.Settings) -> runtime_health.Health:
    store = object_store.Store(settings)
    store.check()
    return runtime_health.Health("store", store.root, "ready", capabilities={"shared": not store.local})
