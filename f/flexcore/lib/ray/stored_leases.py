# requirements: flexcore_base
"""Leases of a cluster that keeps none itself (an existing address, a local head): a record in the store for each.

`leases/<digest>/<version>.json` holds {cluster, book}: `cluster` is the reference without lease, by which reconcile
finds what the leases are about.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.ray import lease
from f.flexcore.lib.storage import object_store, versioned_record

FOLDER = "leases"
MAX_TRIES = 200
MAX_PAUSE_S = 0.2
Change = Callable[[lease.LeaseBook], lease.Change]


@dataclass(slots=True)
class StoredLeases:
    """cluster: a reference that holds no secret; two that are equal share their leases."""

    store: object_store.Store
    cluster: dict[str, Any]
    clock: Callable[[], float] = field(default=time.time)
    sleep: Callable[[float], None] = field(default=time.sleep)

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(self.cluster, sort_keys=True).encode()).hexdigest()[:20]

    @property
    def record(self) -> versioned_record.VersionedRecord:
        return versioned_record.VersionedRecord(self.store, self.store.uri(FOLDER, self.digest), self.clock)

    def read(self) -> lease.LeaseBook:
        return _parse(self.record.read()[1])

    def is_ended(self) -> bool:
        """Whether the cluster itself was ended after its last lease: the next lease starts another one."""
        _, value = self.record.read()
        return value is None or bool(value.get("ended"))

    def end_if_over(self, now: float) -> bool:
        """Marks the cluster as ended when nobody has a lease and its idle time is over; whether it is."""
        record = self.record
        version, value = record.read()
        if value is None or value.get("ended"):
            return True
        after = _parse(value).delete_after
        return after is not None and now >= after and record.write(version, {**value, "ended": True})

    def change(self, change: Change) -> lease.Change:
        """The change as it was made, on top of all others. Raises what `change` raises."""
        record = self.record
        for _ in range(MAX_TRIES):
            version, value = record.read()
            book = _parse(value)
            changed = change(book)
            if changed.book == book:
                return changed
            if record.write(version, {"cluster": self.cluster, "book": lease.dump(changed.book)}):
                return changed
            self.sleep(random.uniform(0, MAX_PAUSE_S))
        raise errors.Unavailable(
            f"The leases of the Ray cluster are changed by others all the time ({MAX_TRIES} tries)",
            subject="cluster",
            category="busy",
            remedy="Try again.",
        )


def _parse(value: Any) -> lease.LeaseBook:
    """The book in a record; of an ended cluster only its last token counts on."""
    if value is None:
        return lease.LeaseBook()
    book = lease.parse(value.get("book") if isinstance(value, dict) else None)
    return lease.LeaseBook(last_token=book.last_token) if value.get("ended") else book


def list_stored(store: object_store.Store) -> list[StoredLeases]:
    """The leases of every cluster that has a record; one that cannot be read is left out, and said."""
    found = []
    for folder in versioned_record.list_records(store, store.uri(FOLDER)):
        try:
            _, value = versioned_record.VersionedRecord(store, folder).read()
        except errors.DataError as error:
            print(error, flush=True)
            continue
        if isinstance(value, dict) and isinstance(value.get("cluster"), dict):
            found.append(StoredLeases(store, value["cluster"]))
    return found
