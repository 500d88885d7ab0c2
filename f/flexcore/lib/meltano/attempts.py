# requirements: flexcore_base
"""Create-or-attach for a run on this machine: one execution key, one run at a time, one result.

In the store, below `<key>/<attempt>/`: attempt.json when it begins (owner labels, deadline, time to live), data/ what
it wrote, state.json the state to write back, manifest.json, and result.json last. A result that is there and still
verifies is the answer; a failure.json tells of what would fail again in the same way; an attempt without either has
failed or was killed, and the next number is tried. A second copy of the step waits for the first by a file lock.
"""

from __future__ import annotations

import time
from itertools import count
from typing import Any

from f.flexcore.lib.core import contracts, errors, identity
from f.flexcore.lib.storage import object_store

# After that long nobody asks for an attempt again, and what it left may be removed.
TTL_S = 7 * 24 * 3600


def finished_or_next(store: object_store.Store, key: identity.ExecutionKey) -> contracts.StepResult | int:
    """The key's stored result when it has one that still holds, else the number of the attempt to make.

    Raises the error of an attempt that would fail again in the same way, or ExecutionFailed after too many.
    """
    for attempt in count(1):
        identity.check_attempt(key, attempt)
        if store.read_json(uri(store, key, attempt, "attempt.json")) is None:
            return attempt
        result = stored_result(store, key, attempt)
        if result:
            return result
        if failed := store.read_json(uri(store, key, attempt, "failure.json")):
            raise errors.recalled(failed)
    raise AssertionError


def stored_result(store: object_store.Store, key: identity.ExecutionKey, attempt: int) -> contracts.StepResult | None:
    value = store.read_json(uri(store, key, attempt, "result.json"))
    if value is None:
        return None
    result = errors.validated(contracts.StepResult, value, "result")
    if isinstance(result.output, contracts.DataManifest):
        try:
            store.verify(result.output)
        except errors.DataError as error:
            print(f"Attempt {attempt} is not used again: {error}", flush=True)
            return None
    return result


def begin(
    store: object_store.Store, key: identity.ExecutionKey, attempt: int, timeout_s: float, what: dict[str, Any]
) -> None:
    now = time.time()
    labels = key.labels(attempt)
    times = {"started_at": now, "deadline": now + timeout_s, "expires_at": now + timeout_s + TTL_S}
    store.write_json(uri(store, key, attempt, "attempt.json"), {"labels": labels, **times, **what})


def finish(store: object_store.Store, key: identity.ExecutionKey, result: contracts.StepResult) -> None:
    if result.output:
        store.write_json(uri(store, key, result.attempt, "manifest.json"), result.output.model_dump(mode="json"))
    store.write_json(uri(store, key, result.attempt, "result.json"), result.plain())


def fail(store: object_store.Store, key: identity.ExecutionKey, attempt: int, error: errors.FlexcoreError) -> None:
    """Notes the end of an attempt, if another one would end in the same way."""
    if isinstance(error, errors.UserError | errors.DataError):
        store.write_json(uri(store, key, attempt, "failure.json"), errors.stored_error(error))


def uri(store: object_store.Store, key: identity.ExecutionKey, attempt: int, *parts: str) -> str:
    return store.uri(key.value, str(attempt), *parts)
