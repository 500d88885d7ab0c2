# requirements: flexcore_base
"""A lease in the key-value store of a Ray head: one change of its Serve applications at a time. Shipped as source.

    PREFIX/<token>   {owner, beat, released}        the record with the highest token is the lease

Only a new token is ever written without looking: a put that fails when the key is there makes it atomic. So taking the
lease, also from a holder that has died, is creating the next token; a holder that was only slow finds a higher one and
is fenced off. Nobody's clock is compared with another's: a lease is over when its beat has stood still for LEASE_TTL_S
by the clock of whoever waits for it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from f.flexcore.lib.ray.remote import shared_storage

PREFIX = "flexcore/serve-lease/"
# A change takes well below a second; a driver on a loaded head may be held up for some.
LEASE_TTL_S = 15.0
BEAT_INTERVAL_S = 3.0
POLL_INTERVAL_S = 0.1
LEASE_TIMEOUT_S = 120.0
# A token is a number of this width, so that keys sort as numbers.
TOKEN_DIGITS = 12


class KeyValues(Protocol):
    """A store of texts whose put_new is atomic."""

    def put_new(self, key: str, value: str) -> bool: ...
    def put(self, key: str, value: str) -> None: ...
    def get(self, key: str) -> str | None: ...
    def keys(self, prefix: str) -> list[str]: ...
    def delete(self, key: str) -> None: ...


class HeadKeyValues:
    """That of the head which this process is connected to."""

    def __init__(self) -> None:
        from ray.experimental import internal_kv

        self._kv: Any = internal_kv

    def put_new(self, key: str, value: str) -> bool:
        return not self._kv._internal_kv_put(key, value, overwrite=False)

    def put(self, key: str, value: str) -> None:
        self._kv._internal_kv_put(key, value, overwrite=True)

    def get(self, key: str) -> str | None:
        value = self._kv._internal_kv_get(key)
        return value.decode() if value is not None else None

    def keys(self, prefix: str) -> list[str]:
        return [key.decode() for key in self._kv._internal_kv_list(prefix)]

    def delete(self, key: str) -> None:
        self._kv._internal_kv_del(key)


class Lease:
    """Held from `take` to `release`; `check` before each write."""

    def __init__(
        self,
        kv: KeyValues,
        owner: str,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.kv, self.owner, self.clock, self.sleep = kv, owner, clock, sleep
        self.token = 0
        self._ended = threading.Event()

    def take(self, timeout_s: float = LEASE_TIMEOUT_S) -> int:
        """The token. Raises DeadlineExceeded that names the holder."""
        deadline, seen, since = self.clock() + timeout_s, ("", ""), self.clock()
        while True:
            token = self._highest()
            text = self.kv.get(key_of(token)) if token else None
            if (str(token), text or "") != seen:
                seen, since = (str(token), text or ""), self.clock()
            is_over = text is None or json.loads(text)["released"] or self.clock() - since >= LEASE_TTL_S
            if is_over and self.kv.put_new(key_of(token + 1), self._record(0)):
                # Whoever was slow may have created a token that was used and cleared away long ago.
                if self._highest() == token + 1:
                    self._clear(token)
                    self.token = token + 1
                    return self.token
                self.kv.delete(key_of(token + 1))
            if self.clock() > deadline:
                holder = json.loads(text)["owner"] if text else "another change"
                raise shared_storage.Problem(
                    "DeadlineExceeded",
                    f"The applications of this head are being changed by {holder} for longer than {timeout_s:g} s",
                    "cluster",
                    "Wait for that run to end, or cancel it; then run the step again.",
                )
            self.sleep(POLL_INTERVAL_S)

    def check(self) -> None:
        """Raises Unavailable when another change has taken the lease over: this one was taken for dead."""
        if self._highest() != self.token:
            raise shared_storage.Problem(
                "Unavailable",
                "Another change of this head's applications has taken the lease over: this one stood still too long",
                "cluster",
                "Run the step again; it looks at what is there first.",
            )

    def beat(self, number: int) -> None:
        self.check()
        self.kv.put(key_of(self.token), self._record(number))

    def release(self) -> None:
        self._ended.set()
        if self._highest() == self.token:
            self.kv.put(key_of(self.token), self._record(-1, released=True))

    def keep_beating(self) -> None:
        """Beats in a thread of its own until the release."""

        def run() -> None:
            number = 1
            while not self._ended.wait(BEAT_INTERVAL_S):
                try:
                    self.beat(number)
                except shared_storage.Problem:
                    return
                number += 1

        threading.Thread(target=run, daemon=True).start()

    def _record(self, beat: int, released: bool = False) -> str:
        return json.dumps({"owner": self.owner, "beat": beat, "released": released})

    def _highest(self) -> int:
        return max((int(key.rsplit("/", 1)[1]) for key in self.kv.keys(PREFIX)), default=0)

    def _clear(self, last: int) -> None:
        for key in self.kv.keys(PREFIX):
            if int(key.rsplit("/", 1)[1]) <= last:
                self.kv.delete(key)


def key_of(token: int) -> str:
    return f"{PREFIX}{token:0{TOKEN_DIGITS}d}"


@contextmanager
def hold(owner: str, kv: KeyValues | None = None, timeout_s: float = LEASE_TIMEOUT_S) -> Iterator[Lease]:
    """The lease of the head that this process is connected to. Raises DeadlineExceeded."""
    lease = Lease(kv or HeadKeyValues(), owner)
    lease.take(timeout_s)
    lease.keep_beating()
    try:
        yield lease
    finally:
        lease.release()
