# requirements: flexcore_base
"""The parts of the dashboard beside executions: runtimes, deployments, orphans. They ask the clusters themselves, with
the rights of whoever looks, and are read only when their view is open.

An empty list says that there is nothing; a part of which no place could be read is null, and a place that could not be
read is named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from f.flexcore.lib.core import deployed_models, errors, operation, redaction, resources
from f.flexcore.lib.dashboard import places, shapes
from f.flexcore.lib.windmill import client

# By address: what asks the clusters needs packages that the other parts do not.
LIST_CHECKS = "f.flexcore.lib.operations.configured_runtimes:list_checks"
LIST_OPENINGS = "f.flexcore.lib.operations.configured_runtimes:list_openings"
RECONCILE_PASS = "f.flexcore.lib.operations.reconciler:ReconcilePass"
OWNERS = "f.flexcore.lib.operations.reconciler:WindmillOwners"
READ_STORED_LEASES = "f.flexcore.lib.ray.cluster_leases:read_stored"
READ_OWN_LEASES = "f.flexcore.lib.ray.cluster_leases:read_own"
READ_LEASES_ON_KUBERNETES = "f.flexcore.lib.ray.cluster_leases:read_on_kubernetes"
IS_REFERENCE = "f.flexcore.lib.ray.cluster_leases:is_reference"
LIST_ON_KUBERNETES = "f.flexcore.lib.kubernetes.deployed_versions:list_deployed"
LIST_ON_RAY = "f.flexcore.lib.ray.deployed_models:list_deployed"
MAX_ORPHANS = 500
# Told of a place that could not be read, and why.
Miss = Callable[[str, errors.FlexcoreError], None]


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
    """healthy is null for one whose resource the caller may not read, leases where they cannot be told."""
    chosen, reader = settings or resources.Settings(), Reader(windmill)
    checks = operation.resolve(LIST_CHECKS)(chosen, reader, worker)
    questions = [
        *(check.check for check in checks),
        *(partial(_read_leases, check, reader, chosen) for check in checks),
    ]
    answers = places.ask_all([*questions, partial(operation.resolve(READ_STORED_LEASES), chosen)])
    health, own, stored = answers[: len(checks)], answers[len(checks) : -1], answers[-1]
    books = _Books(chosen, None if isinstance(stored, errors.FlexcoreError) else stored)
    held = [books.hand_out(check, answer) for check, answer in zip(checks, own, strict=True)]
    redactor = redaction.Redactor(chosen.secrets())
    found = [_describe(check, answer, reader, now) for check, answer in zip(checks, health, strict=True)]
    shown = [shapes.Runtime.model_validate(redactor.data(item.model_dump(mode="json"))) for item in found]
    return [item.model_copy(update={"leases": leases}) for item, leases in zip(shown, held, strict=True)]


def _describe(check: Any, health: Any, reader: Reader, now: datetime) -> shapes.Runtime:
    """health: what the check measures, or the error that it ends with."""
    place = str(check.place)
    if isinstance(health, errors.FlexcoreError):
        problem = str(health).removesuffix(f". {health.remedy}")
        healthy = None if place in reader.hidden else False
        return shapes.Runtime(
            name=check.runtime, resource=place, healthy=healthy, problem=problem, remedy=health.remedy, checked_at=now
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


@dataclass(frozen=True, slots=True)
class _Own:
    """What a place keeps itself: its resource, and (cluster, lease) of each; the cluster is "" for the place itself.
    leases: null where they cannot be told."""

    resource: Any
    leases: list[tuple[str, Any]] | None


def _read_leases(check: Any, reader: Reader, settings: resources.Settings) -> _Own:
    if check.runtime not in ("ray", "kubernetes"):
        return _Own(None, [])
    resource = reader(check.place)
    if check.runtime == "kubernetes":
        return _Own(resource, operation.resolve(READ_LEASES_ON_KUBERNETES)(check.place, resource, settings))
    found = operation.resolve(READ_OWN_LEASES)(check.place, resource, settings)
    return _Own(resource, None if found is None else [("", lease) for lease in found])


class _Books:
    """The leases that the store keeps, handed out to the clusters that they are about; the store itself has the rest.
    stored: null where they could not be read."""

    def __init__(self, settings: resources.Settings, stored: list[tuple[dict[str, Any], Any]] | None) -> None:
        self._settings, self._stored = settings, stored
        self._handed_out: list[dict[str, Any]] = []

    def hand_out(self, check: Any, own: _Own | errors.FlexcoreError) -> list[shapes.Lease] | None:
        """Those of the place of a check; null where not all of them could be read. The store is asked last."""
        is_kept = check.runtime in ("ray", "store")
        if isinstance(own, errors.FlexcoreError) or own.leases is None or (is_kept and self._stored is None):
            return None
        leases = list(own.leases)
        if check.runtime == "ray":
            leases += [("", lease) for lease in self._find(check.place, own.resource)]
        if check.runtime == "store":
            leases += self._find_others()
        return [_lease(cluster, held) for cluster, held in leases]

    def _find(self, place: str, resource: Any) -> list[Any]:
        is_reference = operation.resolve(IS_REFERENCE)
        mine = [item for item in self._stored or () if is_reference(item[0], place, resource, self._settings)]
        self._handed_out += [cluster for cluster, _ in mine]
        return [held for _, book in mine for held in book.leases]

    def _find_others(self) -> list[tuple[str, Any]]:
        others = [item for item in self._stored or () if item[0] not in self._handed_out]
        return [(_name_cluster(cluster), held) for cluster, book in others for held in book.leases]


def _name_cluster(reference: dict[str, Any]) -> str:
    return str(reference.get("local_head") or reference.get("resource") or reference.get("address"))


def _lease(cluster: str, held: Any) -> shapes.Lease:
    return shapes.Lease(
        name=f"{cluster}@{held.reference}" if cluster else held.reference,
        owner=held.owner.root_job,
        until=datetime.fromtimestamp(held.deadline, UTC),
    )


class Listed:
    """A cluster whose objects have been listed: several parts look at one list."""

    def __init__(self, items: list[Any]) -> None:
        self._items = items

    def find(self) -> list[Any]:
        return self._items


def read_orphans(
    windmill: client.Client, settings: resources.Settings | None, worker: str, now: datetime, miss: Miss
) -> list[shapes.Orphan] | None:
    """What the next pass of operations/reconcile would stop; nothing is done about it here. None without settings, or
    when no place could be read. Raises as the client does."""
    if settings is None:
        return None
    pass_ = operation.resolve(RECONCILE_PASS)(
        operation.resolve(OWNERS)(windmill), now.timestamp(), MAX_ORPHANS, dry_run=True
    )
    openings = operation.resolve(LIST_OPENINGS)(settings, Reader(windmill), worker)
    answers = places.ask_all([partial(_list_objects, opening) for opening in openings])
    found = _keep_read([opening.place for opening in openings], answers, miss)
    if found is None:
        return None
    rows = pass_.run([(place, Listed(items)) for place, items in found])
    items = {_object_name(item): item for _, listed in found for item in listed}
    return [_orphan(row, items.get(row.object), now) for row in rows if row.action == "stop"][:MAX_ORPHANS]


def _list_objects(opening: Any) -> list[Any]:
    return [item for objects in opening.open() for item in objects.find()]


def _keep_read(asked: Sequence[str], answers: Sequence[Any], miss: Miss) -> list[tuple[str, Any]] | None:
    """(place, answer) of those that answered; None when there are places and none did."""
    found = []
    for place, answer in zip(asked, answers, strict=True):
        if isinstance(answer, errors.FlexcoreError):
            miss(place.removeprefix("$res:"), answer)
        else:
            found.append((place, answer))
    return found if found or not asked else None


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
        since=datetime.fromtimestamp(item.created_at, UTC) if item and item.created_at else None,
        overdue_s=overdue if overdue and overdue > 0 else None,
    )


def read_deployments(
    windmill: client.Client, settings: resources.Settings | None, miss: Miss
) -> list[shapes.Deployment] | None:
    """Models on the clusters of the settings, as those have them now. None without settings, or when no cluster could
    be read."""
    if settings is None:
        return None
    clusters = [
        *(("kubernetes", path, LIST_ON_KUBERNETES, (settings.namespace,)) for path in settings.kubernetes_clusters),
        *(("ray", path, LIST_ON_RAY, ()) for path in settings.ray_clusters),
    ]
    reader = Reader(windmill)

    def read(runtime: str, path: str, list_deployed: str, given: tuple[str, ...]) -> list[shapes.Deployment]:
        models = operation.resolve(list_deployed)(reader(path), *given)
        return [describe_deployment(model, runtime, path.removeprefix("$res:")) for model in models]

    answers = places.ask_all([partial(read, *cluster) for cluster in clusters])
    found = _keep_read([path for _, path, *_ in clusters], answers, miss)
    return None if found is None else [item for _, deployments in found for item in deployments]


def describe_deployment(model: deployed_models.DeployedModel, runtime: str, path: str) -> shapes.Deployment:
    """path: of the cluster's resource."""
    return shapes.Deployment(
        name=model.name,
        namespace=model.namespace or None,
        runtime=runtime,
        resource=path,
        url=model.url,
        versions=[shapes.DeployedVersion.model_validate(asdict(item)) for item in model.versions],
        revision=model.revision,
        former=model.former,
        former_revision=model.former_revision,
        can_roll_back=shapes.Can(allowed=not model.no_way_back, reason=model.no_way_back or None),
    )
