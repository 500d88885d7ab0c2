# requirements: flexcore_kubernetes
"""Deletes one object for good. Deleted is what was seen: by uid, its pods first, and found to be gone."""

from __future__ import annotations

import time
from collections.abc import Callable

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes_api import api_errors, client

# Pods get up to 30 s to end by themselves; then Kubernetes kills them.
DELETION_TIMEOUT_S = 45.0
POLL_INTERVAL_S = 0.25
# Giving up must not be given up because of one lost answer.
RETRY_S = 20.0


def delete_object(
    kubernetes: client.Kubernetes,
    path: str,
    uid: str,
    call: api_errors.Call,
    *,
    timeout_s: float = DELETION_TIMEOUT_S,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """True once the object with this uid is gone; False when it is marked for deletion but still ends its pods,
    or when the cluster could not be asked or refused."""
    try:
        kubernetes.delete(path, uid, api_errors.Call("delete", call.resource, call.namespace, call.name), RETRY_S)
    except errors.FlexcoreError:
        # Why it is given up matters more than that it stays: its own deadline ends it.
        return False
    return wait_until_gone(kubernetes, path, uid, call, timeout_s=timeout_s, clock=clock, sleep=sleep)


def wait_until_gone(
    kubernetes: client.Kubernetes,
    path: str,
    uid: str,
    call: api_errors.Call,
    *,
    timeout_s: float = DELETION_TIMEOUT_S,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Whether an object that is being deleted was seen to be gone in time."""
    until = clock() + timeout_s
    while clock() < until:
        try:
            stored = kubernetes.get(path, call, retry_s=0)
        except errors.TransientError:
            sleep(POLL_INTERVAL_S)
            continue
        if stored is None or stored["metadata"]["uid"] != uid:
            return True
        sleep(POLL_INTERVAL_S)
    return False
