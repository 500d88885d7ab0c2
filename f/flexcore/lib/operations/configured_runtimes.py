# requirements: flexcore_kubernetes
"""The runtimes that the settings name: their health checks, and our objects in their clusters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from f.flexcore.lib import runtimes
from f.flexcore.lib.core import errors, operation, resources, workloads

# Checks run side by side, so that one that does not answer delays none.
MAX_PARALLEL_CHECKS = 8
# The resource at a path, its references resolved; raises FlexcoreError.
ReadResource = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """place: the worker, the cluster's resource, or the store; check: raises FlexcoreError for what is down."""

    runtime: str
    place: str
    check: Callable[[], operation.Health]


def check_all(settings: resources.Settings, read_resource: ReadResource, worker: str) -> list[operation.Health]:
    """Health of every runtime that the settings name, and of the store between them."""
    with ThreadPoolExecutor(MAX_PARALLEL_CHECKS) as pool:
        return list(pool.map(run_check, list_checks(settings, read_resource, worker)))


def list_checks(settings: resources.Settings, read_resource: ReadResource, worker: str) -> list[HealthCheck]:
    """One for this worker's own runtimes, one for each cluster, and one for the store; none for a disabled runtime."""
    checks = []
    for runtime in runtimes.RUNTIMES.values():
        if not settings.runtimes.get(runtime.name, workloads.RuntimeState()).enabled:
            continue
        if runtime.clusters_field is None:
            checks.append(HealthCheck(runtime.name, worker, partial(runtimes.check_health, runtime, worker)))
        for path in runtimes.list_clusters(runtime, settings):
            check = partial(_check_cluster, runtime, path, read_resource, settings.namespace)
            checks.append(HealthCheck(runtime.name, path.removeprefix("$res:"), check))
    store = settings.storage_uri or "folder of the worker"
    return [*checks, HealthCheck("store", store, partial(_check_store, settings))]


def run_check(check: HealthCheck) -> operation.Health:
    """What the check measures; a runtime whose check fails is down, with the reason."""
    try:
        return check.check()
    except errors.FlexcoreError as error:
        return operation.Health(check.runtime, check.place, "down", detail=str(error))


@dataclass(frozen=True, slots=True)
class Opening:
    """Our objects of one kind at a place: the path of a cluster, or the worker. open: raises FlexcoreError."""

    runtime: str
    place: str
    open: Callable[[], Iterator[runtimes.RemoteObjects]]


def open_objects(
    settings: resources.Settings,
    read_resource: ReadResource,
    report_failure: Callable[[str, str, Exception], None],
    worker: str = "this worker",
) -> list[tuple[str, runtimes.RemoteObjects]]:
    """(path, our objects there) of each cluster, and of the worker for a runtime that keeps objects without a cluster.

    report_failure: gets (path, runtime, error) of what cannot be opened."""
    opened: list[tuple[str, runtimes.RemoteObjects]] = []
    for opening in list_openings(settings, read_resource, worker):
        try:
            for objects in opening.open():
                opened.append((opening.place, objects))
        except Exception as error:
            report_failure(opening.place, opening.runtime, error)
    return opened


def list_openings(settings: resources.Settings, read_resource: ReadResource, worker: str) -> list[Opening]:
    """What `open_objects` opens, nothing of it opened yet."""

    def make(runtime: operation.Runtime, place: str, read: Callable[[], Any], objects: str = "") -> Opening:
        return Opening(runtime.name, place, partial(_open, runtime, place, read, objects, settings))

    found: list[Opening] = []
    for runtime in runtimes.RUNTIMES.values():
        if runtime.objects and runtime.clusters_field is None:
            found.append(make(runtime, worker, lambda: None))
        for path in runtimes.list_clusters(runtime, settings) if runtime.objects else ():
            found.append(make(runtime, path, partial(read_resource, path)))
        for field, objects in runtime.objects_in.items():
            if not field:
                found.append(make(runtime, worker, lambda: settings, objects))
            for path in settings.clusters(field) if field else ():
                found.append(make(runtime, path, partial(read_resource, path), objects))
    return found


def _open(
    runtime: operation.Runtime, place: str, read: Callable[[], Any], objects: str, settings: resources.Settings
) -> Iterator[runtimes.RemoteObjects]:
    resource = read()
    yield runtimes.open_objects(runtime, place, resource, settings.namespace, objects)
    if runtime.queue and not objects:
        yield runtimes.open_queue(runtime, place, resource, settings)


def _check_cluster(
    runtime: operation.Runtime, path: str, read_resource: ReadResource, namespace: str
) -> operation.Health:
    return runtimes.check_health(runtime, path.removeprefix("$res:"), read_resource(path), namespace)


def _check_store(settings: resources.Settings) -> operation.Health:
    from f.flexcore.lib.storage import object_store

    store = object_store.Store(settings)
    store.check()
    return operation.Health("store", store.root, "ready", capabilities={"shared": not store.local})
