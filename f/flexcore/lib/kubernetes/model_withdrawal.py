# requirements: flexcore_kubernetes
"""The operation behind kubernetes/withdraw_model: a placed model is taken down wherever it stands.

The record ends first, so that no pass moves the model meanwhile; a copy whose cluster does not answer is left to
operations/reconcile.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from f.flexcore.lib.core import contracts, errors, identity, resources
from f.flexcore.lib.kubernetes import (
    cluster_contact,
    placement_moves,
    placement_records,
)
from f.flexcore.lib.storage import object_store

Record = placement_records.PlacementRecord


def withdraw_model(
    name: str,
    namespace: str,
    timeout_s: float,
    settings: Any,
    read_resource: cluster_contact.ReadResource,
    env: Mapping[str, str] = os.environ,
) -> dict[str, Any]:
    """The plain result; data.clusters says what became of each copy. Raises NotFound, with the names that there are."""
    chosen = errors.validate(resources.Settings, settings or {}, "settings")
    key = identity.execution_key(env)
    book = placement_records.PlacementBook(object_store.Store(chosen))
    id = placement_records.make_model_id(name, namespace or "", identity.label_value(key.workspace))
    record = _end(book, id, name)
    rows = [_remove(copy, chosen, timeout_s, read_resource) for copy in record.left]
    for row in rows:
        print(f"{name} on {row['cluster']}: {row['state']}", flush=True)
        if row["state"] in ("removed", "had gone"):
            _forget(book, id, row)
    return contracts.StepResult(
        success=True,
        runtime="kubernetes",
        execution_key=key.value,
        attempt=1,
        data={"removed": name, "clusters": rows},
    ).plain()


def _forget(book: placement_records.PlacementBook, id: str, row: Mapping[str, str]) -> None:
    book.change("models", id, lambda now: now and placement_records.forget_left(now, row["cluster"], row["uid"]))


def _end(book: placement_records.PlacementBook, id: str, name: str) -> Record:
    """The record with every copy among those that are left."""
    if book.read("models", id) is None:
        names = sorted(item.name for item in book.list() if item.kind == "models" and item.ended_at is None)
        raise errors.NotFound(
            f"{name} is no placed model of this namespace",
            subject="name",
            remedy=f"Placed models: {', '.join(names) or 'none'}; undeploy_model takes down what deploy_model made.",
        )

    def change(stored: Record | None) -> Record | None:
        if stored is None:
            return None
        record, now = stored, time.time()
        for copy in stored.copies:
            record = placement_records.replace_copy(record, copy.cluster, None, "taken down", now)
        return record.model_copy(update={"ended_at": stored.ended_at or now})

    return book.change("models", id, change)


def _remove(
    copy: placement_moves.PlacedCopy,
    settings: resources.Settings,
    timeout_s: float,
    read_resource: cluster_contact.ReadResource,
) -> dict[str, str]:
    from f.flexcore.lib.kubernetes import cluster_objects, connection, undeployment

    row = {"cluster": copy.cluster, "name": copy.name, "namespace": copy.namespace, "uid": copy.uid}
    try:
        session = connection.connect(read_resource(copy.cluster), copy.namespace, settings)
        place = cluster_objects.Namespace(session.kubernetes, session.namespace)
        undeployment.Undeployment(place, copy.name).run(timeout_s)
    except errors.NotFound:
        return {**row, "state": "had gone", "error": ""}
    except errors.FlexcoreError as error:
        state = "left until its cluster answers" if cluster_contact.is_lost_contact(error) else "not removed"
        return {**row, "state": state, "error": str(error)}
    return {**row, "state": "removed", "error": ""}
