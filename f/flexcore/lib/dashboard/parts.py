# requirements: flexcore_base
"""The parts of the dashboard beside executions: runtimes, deployments, orphans. They ask the clusters themselves, with
the rights of whoever looks, and are read only when their view is open."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from f.flexcore.lib.core import deployed_models, errors, operation, redaction, resources
from f.flexcore.lib.dashboard import notices, shapes
from f.flexcore.lib.windmill import client

MAX_PARALLEL_CHECKS = 8
# By address: what asks the clusters needs packages that the other parts do not.
LIST_CHECKS = "f.flexcore.lib.operations.configured_runtimes:list_checks"
OPEN_OBJECTS = "f.flexcore.lib.operations.configured_runtimes:open_objects"
RECONCILE_PASS = "f.flexcore.lib.operations.reconciler:ReconcilePass"
OWNERS = "f.flexcore.lib.operations.reconciler:WindmillOwners"
LIST_STORED_LEASES = "f.flexcore.lib.ray.stored_leases:list_stored"
STORE = "f.flexcore.lib.storage.object_store:Store"
LIST_ON_KUBERNETES = "f.flexcore.lib.kubernetes.deployed_versions:list_deployed"
LIST_ON_RAY = "f.flexcore.lib.ray.deployed_models:list_deployed"
MAX_ORPHANS = 500
Notes = list[shapes.Notice]


class Reader:
    """Reads resources as the caller, and remembers which they may not see."""

    def __init__(self, windmill: client.Client) -> None:
        self._windmill = windmill
        self.hidden: set[str] = set()

    def __call__(self, path: str) -> Any:
        try:
            return self._windmill.resource(path)
        except (errors.NotFound, errors.Forbidden):
            self.hidden.add(path.removeprefix("$res:"))
            raise


def read_runtimes(
    windmill: client.Client, settings: resources.Settings | None, worker: str, now: datetime
) -> list[shapes.Runtime]:
    """healthy is null for one whose resource the caller may not read."""
    chosen, reader = settings or resources.Settings(), Reader(windmill)
    checks = operation.resolve(LIST_CHECKS)(chosen, reader, worker)
    with ThreadPoolExecutor(MAX_PARALLEL_CHECKS) as pool:
        leases = pool.submit(_read_leases, chosen)
        found = list(pool.map(lambda check: _check(check, reader, now), checks))
        held = leases.result()
    redactor = redaction.Redactor(chosen.secrets())
    shown = [shapes.Runtime.model_validate(redactor.data(item.model_dump(mode="json"))) for item in found]
    first = next((item for item in shown if item.name == "ray"), None)
    if first and held:
        first.leases = held
    return shown


def _check(check: Any, reader: Reader, now: datetime) -> shapes.Runtime:
    place = str(check.place)
    try:
        health = check.check()
    except errors.FlexcoreError as error:
        problem = str(error).removesuffix(f". {error.remedy}")
        healthy = None if place in reader.hidden else False
        return shapes.Runtime(
            name=check.runtime, resource=place, healthy=healthy, problem=problem, remedy=error.remedy, checked_at=now
        )
    free = {"cpus": health.cpus_free, "gpus": health.gpus_free, "memory_bytes": health.memory_free}
    return shapes.Runtime(
        name=health.runtime,
        resource=health.place,
        healthy=health.state != "down",
        problem=health.detail or None,
        capabilities={**({"version": health.version} if health.version else {}), **(health.capabilities or {})},
        free=free,
        queue=health.queue,
        checked_at=now,
    )


def _read_leases(settings: resources.Settings) -> list[shapes.Lease]:
    """Those that the store keeps; none where it cannot be read: its own row says so."""
    try:
        books = [record.read() for record in operation.resolve(LIST_STORED_LEASES)(operation.resolve(STORE)(settings))]
    except errors.FlexcoreError:
        return []
    return [
        shapes.Lease(
            name=lease.reference, owner=lease.owner.root_job, until=datetime.fromtimestamp(lease.deadline, UTC)
        )
        for book in books
        for lease in book.leases
    ]


class Listed:
    """A cluster whose objects have been listed: several parts look at one list."""

    def __init__(self, items: list[Any]) -> None:
        self._items = items

    def find(self) -> list[Any]:
        return self._items


def read_orphans(
    windmill: client.Client, settings: resources.Settings | None, worker: str, now: datetime, notes: Notes
) -> list[shapes.Orphan]:
    """What the next pass of operations/reconcile would stop; nothing is done about it here."""
    if settings is None:
        return []
    pass_ = operation.resolve(RECONCILE_PASS)(
        operation.resolve(OWNERS)(windmill), now.timestamp(), MAX_ORPHANS, dry_run=True
    )

    def report(place: str, runtime: str, error: errors.FlexcoreError) -> None:
        notes.append(notices.unread(f"{runtime or 'The runtime'} at {place}", error))

    clusters = operation.resolve(OPEN_OBJECTS)(settings, Reader(windmill), report, worker)
    listed: list[tuple[str, Listed]] = []
    items: dict[str, Any] = {}
    for place, cluster in clusters:
        found = _list_objects(place, cluster, report)
        listed.append((place, Listed(found)))
        items |= {_object_name(item): item for item in found}
    rows = pass_.run(listed)
    return [_orphan(row, items.get(row.object), now) for row in rows if row.action == "stop"][:MAX_ORPHANS]


def _list_objects(place: str, cluster: Any, report: Callable[[str, str, errors.FlexcoreError], None]) -> list[Any]:
    try:
        return list(cluster.find())
    except errors.FlexcoreError as error:
        report(place, "", error)
        return []


def _object_name(item: Any) -> str:
    return f"{item.kind} {item.namespace}/{item.name}" if item.namespace else f"{item.kind} {item.name}"


def _orphan(row: Any, item: Any | None, now: datetime) -> shapes.Orphan:
    kind, _, name = str(row.object).partition(" ")
    overdue = now.timestamp() - item.deadline if item and item.deadline is not None else None
    return shapes.Orphan(
        runtime=row.runtime,
        kind=kind,
        name=name,
        uid=(item.uid or None) if item else None,
        owner=row.owner.partition(" ")[0] or None,
        overdue_s=overdue if overdue and overdue > 0 else None,
    )


def read_deployments(
    windmill: client.Client, settings: resources.Settings | None, notes: Notes
) -> list[shapes.Deployment]:
    """Models on the clusters of the settings, as those have them now."""
    if settings is None:
        return []
    places = [
        *(("kubernetes", path, LIST_ON_KUBERNETES, (settings.namespace,)) for path in settings.kubernetes_clusters),
        *(("ray", path, LIST_ON_RAY, ()) for path in settings.ray_clusters),
    ]
    reader = Reader(windmill)

    def read(place: tuple[str, str, str, tuple[str, ...]]) -> list[shapes.Deployment] | shapes.Notice:
        runtime, path, list_deployed, given = place
        name = path.removeprefix("$res:")
        try:
            models = operation.resolve(list_deployed)(reader(path), *given)
        except errors.FlexcoreError as error:
            return notices.unread(f"Deployments at {name}", error)
        return [_deployment(model, runtime, name) for model in models]

    found: list[shapes.Deployment] = []
    with ThreadPoolExecutor(MAX_PARALLEL_CHECKS) as pool:
        for answer in pool.map(read, places):
            if isinstance(answer, shapes.Notice):
                notes.append(answer)
            else:
                found += answer
    return found


def _deployment(model: deployed_models.DeployedModel, runtime: str, path: str) -> shapes.Deployment:
    return shapes.Deployment(
        name=model.name,
        namespace=model.namespace or None,
        runtime=runtime,
        resource=path,
        url=model.url,
        versions=[shapes.DeployedVersion.model_validate(asdict(item)) for item in model.versions],
        former=model.former,
        can_roll_back=shapes.Can(allowed=not model.no_way_back, reason=model.no_way_back or None),
    )
