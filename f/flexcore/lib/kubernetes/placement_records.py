# requirements: flexcore_kubernetes
"""Where placed work stands, kept in the store before it is made so: two copies of a step find the same cluster, and a
copy that was left on a cluster which did not answer is not forgotten.

`placements/<jobs|models>/<id>/<version>.json`. What the record names stands; every other copy goes.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

from f.flexcore.lib.core import contracts, errors
from f.flexcore.lib.kubernetes import placement_moves
from f.flexcore.lib.storage import object_store, versioned_record

MAX_TRIES = 20
# A repeat of the step that has ended still finds the cluster where its result is.
KEEP_S = 7 * 86400.0


class Move(contracts.Contract):
    """at: seconds since the epoch; to: "" when the work was taken away."""

    at: float
    source: str
    to: str
    reason: str


class PlacementRecord(contracts.Contract):
    """copies: those that stand, the first one in use; standby: paths of clusters that take over, in order; left: copies
    that another has replaced and that were not yet seen to be gone. labels: of the owner. placement, deployment: the
    forms, for who moves it. ended_at: when its work had ended, or was taken down."""

    kind: Literal["jobs", "models"]
    id: str
    name: str
    namespace: str = ""
    labels: dict[str, str] = {}
    copies: list[placement_moves.PlacedCopy] = []
    left: list[placement_moves.PlacedCopy] = []
    moves: list[Move] = []
    placement: dict[str, Any] = {}
    deployment: dict[str, Any] = {}
    ended_at: float | None = None


class PlacementBook:
    """The records of one store. Raises the store's errors."""

    def __init__(self, store: object_store.Store, clock: Callable[[], float] = time.time) -> None:
        self.store, self.clock = store, clock

    def read(self, kind: str, id: str) -> PlacementRecord | None:
        value = self._open(kind, id).read()[1]
        return errors.validate(PlacementRecord, value, f"placements/{kind}/{id}") if value else None

    def change(
        self, kind: str, id: str, change: Callable[[PlacementRecord | None], PlacementRecord | None]
    ) -> PlacementRecord:
        """The record as it stands after `change`, which gets the newest and returns what shall be, or None for as it
        is; it may be called several times. Raises Unavailable when others keep changing it."""
        for _ in range(MAX_TRIES):
            version, value = self._open(kind, id).read()
            before = errors.validate(PlacementRecord, value, f"placements/{kind}/{id}") if value else None
            after = change(before)
            if after is None and before is not None:
                return before
            if after is not None and self._open(kind, id).write(version, after.model_dump(mode="json")):
                return after
        raise errors.Unavailable(
            f"The placement of {id} is being changed all the time", subject=id, remedy="Run again."
        )

    def list(self, most: int | None = None) -> Iterator[PlacementRecord]:
        """Every record that can be read; one that cannot be is left out, and said. most: of very many so many, others
        each time: a record costs two requests to the store."""
        folders = [
            (kind, folder.rstrip("/").rpartition("/")[2])
            for kind in ("jobs", "models")
            for folder in versioned_record.list_records(self.store, self.store.uri("placements", kind))
        ]
        if most is not None and len(folders) > most:
            folders = random.sample(folders, most)
        for kind, id in folders:
            try:
                found = self.read(kind, id)
            except (errors.UserError, errors.DataError) as error:
                print(f"The placement {kind}/{id} cannot be read: {error}", flush=True)
                continue
            if found:
                yield found

    def remove(self, kind: str, id: str) -> None:
        self._open(kind, id).remove()

    def _open(self, kind: str, id: str) -> versioned_record.VersionedRecord:
        return versioned_record.VersionedRecord(self.store, self.store.uri("placements", kind, id), self.clock)


def make_model_id(name: str, namespace: str, workspace: str) -> str:
    """Of the model served under a name; each workspace has its own."""
    return hashlib.sha256(f"{workspace}\n{namespace}\n{name}".encode()).hexdigest()[:20]


def replace_copy(
    record: PlacementRecord, cluster: str, copy: placement_moves.PlacedCopy | None, reason: str, now: float
) -> PlacementRecord:
    """The record with `copy` in place of the one on `cluster`, which is left there; None: with nothing in its place."""
    kept = [item for item in record.copies if item.cluster != cluster]
    gone = [item for item in record.copies if item.cluster == cluster]
    kept = [copy, *(item for item in kept if item.cluster != copy.cluster)] if copy else kept
    standing = {item.cluster for item in kept}
    left = [item.model_copy(update={"left_at": now, "reason": reason}) for item in gone if item.was_sent]
    return record.model_copy(
        update={
            "copies": kept,
            # What stands again is no longer left.
            "left": [item for item in [*record.left, *left] if item.cluster not in standing],
            "moves": [*record.moves, Move(at=now, source=cluster, to=copy.cluster if copy else "", reason=reason)],
        }
    )


def update_copy(record: PlacementRecord, cluster: str, **changes: Any) -> PlacementRecord:
    """The record with other facts about the copy on a cluster."""
    copies = [item.model_copy(update=changes) if item.cluster == cluster else item for item in record.copies]
    return record.model_copy(update={"copies": copies})


def forget_left(record: PlacementRecord, cluster: str, uid: str) -> PlacementRecord | None:
    """The record without a copy that is seen to be gone; None when it has none such."""
    left = [item for item in record.left if (item.cluster, item.uid) != (cluster, uid)]
    return record.model_copy(update={"left": left}) if len(left) < len(record.left) else None
