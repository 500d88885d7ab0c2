# requirements: flexcore_kubernetes
# py: ==3.11.*
"""What there is to check by the settings, and one check made; what fails is down, with its reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from f.flexcore.core.errors import FlexcoreError
from f.flexcore.core.health import Health
from f.flexcore.core.resources import Settings
from f.flexcore.core.workloads import RuntimeState
from f.flexcore.operations.clusters import read
from f.flexcore.operations.registry import ROOMS, health_of
from f.flexcore.storage.store import Store


@dataclass(frozen=True, slots=True)
class Check:
    runtime: str
    place: str
    ask: Callable[[], Health]


def checks_of(settings: Settings, resource: Callable[[str], Any], worker: str) -> list[Check]:
    """One for this worker's own runtimes, one for each cluster, and one for the store; none for a disabled runtime."""
    found = []
    for runtime, room in ROOMS.items():
        if not settings.runtimes.get(runtime, RuntimeState()).enabled:
            continue
        if room.clusters is None:
            found.append(Check(runtime, worker, partial(health_of(runtime), worker)))
            continue
        for path in getattr(settings, room.clusters):
            ask = partial(_cluster, runtime, path, resource, settings.namespace)
            found.append(Check(runtime, path.removeprefix("$res:"), ask))
    return [*found, Check("store", settings.storage_uri or "folder of the worker", partial(_store, settings))]


def measured(check: Check) -> Health:
    try:
        return check.ask()
    except FlexcoreError as error:
        return Health(check.runtime, check.place, "down", detail=str(error))


def _cluster(runtime: str, path: str, resource: Callable[[str], Any], namespace: str) -> Health:
    health: Health = health_of(runtime)(path.removeprefix("$res:"), read(path, resource), namespace)
    return health


def _store(settings: Settings) -> Health:
    store = Store(settings)
    store.check()
    return Health("store", store.root, "ready", capabilities={"shared": not store.local})
