# requirements: flexcore_base
"""Attempts of work that runs on the worker itself, below its step and no longer than that.

In the store, below `<key>/<attempt>/`: attempt.json when it begins (owner labels, deadline, time to live), data/ what
it wrote, state.json the state to write back, manifest.json, and outcome.json last (storage/attempt_records). An attempt
without an outcome was killed: whoever looks holds the execution's lock, so nothing of it runs any more.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from f.flexcore.lib.core import attempts, contracts, errors, identity, redaction
from f.flexcore.lib.meltano import (
    installation,
)
from f.flexcore.lib.storage import attempt_records, object_store

# A retry comes long before; later, what the attempt left may be removed.
TTL_S = 7 * 24 * 3600


@dataclass
class LocalAttempts:
    """What the adapters of Meltano and dbt share. lock: the descriptor that work must hold until all of it is dead."""

    store: object_store.Store
    key: identity.ExecutionKey
    redactor: redaction.Redactor
    lock: int

    @property
    def records(self) -> attempt_records.StoreRecords:
        return attempt_records.StoreRecords(self.store, self.key)

    def find(self, number: int) -> attempts.Attempt | None:
        """An attempt of which only the beginning is recorded."""
        if self.store.read_json(self.records.uri(number, "attempt.json")) is None:
            return None
        return attempts.Attempt(number, "abandoned")

    def record_start(self, number: int, timeout_s: float, content: Mapping[str, Any]) -> None:
        """Writes attempt.json: from now on the number is taken."""
        now = time.time()
        times = {"started_at": now, "deadline": now + timeout_s, "expires_at": now + timeout_s + TTL_S}
        document = {"labels": self.key.labels(number), **times, **content}
        self.store.write_json(self.records.uri(number, "attempt.json"), document)

    def record_manifest(self, result: contracts.StepResult) -> None:
        if result.output:
            uri = self.records.uri(result.attempt, "manifest.json")
            self.store.write_json(uri, result.output.model_dump(mode="json"))


@contextmanager
def hold_execution(key: identity.ExecutionKey, timeout_s: float) -> Iterator[int]:
    """The descriptor of the execution's lock, held: a second copy of the step waits here for the first one's result.

    A worker that was thought dead may still run it. Raises Unavailable after timeout_s, and for a disk that is full."""
    locks = installation.folder("locks")
    installation.remove_older_files(locks, TTL_S)
    installation.remove_dead_attempts(installation.folder("work"), locks)
    with installation.report_disk_errors(), installation.hold_lock(locks / key.value, timeout_s) as lock:
        yield lock


def is_undecided(error: errors.FlexcoreError) -> bool:
    """Whether an attempt's error says nothing about the work itself: a store, a disk or a lock was not to be had. It is
    not recorded, and the next call makes another attempt."""
    return isinstance(error, errors.TransientError)
