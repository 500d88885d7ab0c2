# requirements: flexcore_base
"""The one snapshot at which all parts of a table are read, and who keeps it. Shipped as source.

A snapshot lives as long as the transaction that exported it. The holder keeps that transaction, and with it a lock
that lets others read and write but not change the table's columns; it lets go when the copy has ended, when
`max_age_s` has passed (a snapshot keeps the server from cleaning up), or when nobody has asked for it for
ORPHAN_GRACE_S, in which a next attempt can still come and go on with it.

    in the job's own process    for a small table; a killed job takes it along
    a detached actor            for a large one: it outlives the job, not the Ray head
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from f.flexcore.lib.ray.remote import postgres, shared_storage, table_catalog

NAMESPACE = "flexcore"
# A retry comes within seconds, a worker that died has its step run again after about a minute.
ORPHAN_GRACE_S = 300.0
WATCH_INTERVAL_S = 2.0
PING_INTERVAL_S = 20.0
READ_ONLY = "ISOLATION LEVEL REPEATABLE READ READ ONLY"


class Holder:
    """Keeps one snapshot, from `open` on. Times are of the monotonic clock of its process."""

    def __init__(self, database: postgres.Database, lock: str, max_age_s: float, grace_s: float | None = None) -> None:
        self.database, self.lock, self.max_age_s, self.grace_s = database, lock, max_age_s, grace_s
        self.session: postgres.Session | None = None
        # A server that was restarted gives out the same tokens again.
        self.name = uuid.uuid4().hex[:16]
        self.token, self.ended, self.mutex = "", "it was never taken", threading.Lock()
        self.since = self.touched = time.monotonic()

    def open(self) -> str:
        """The token by which others read at the snapshot. Raises Problem."""
        session = self.database.connect()
        try:
            session.run(f"BEGIN {READ_ONLY}")
            # Before the snapshot is taken: what it sees and the table's columns then belong together.
            session.run(f"LOCK TABLE {self.lock} IN ACCESS SHARE MODE")
            self.token = str(session.value("SELECT pg_export_snapshot()"))
        except shared_storage.Problem:
            session.close()
            raise
        self.session, self.ended = session, ""
        self.since = self.touched = time.monotonic()
        threading.Thread(target=self._watch, daemon=True).start()
        return self.token

    def ping(self) -> dict[str, Any]:
        """{token, name, age_s, ended}: ended says why it no longer lives, "" while it does."""
        self.touched = time.monotonic()
        with self.mutex:
            if not self.ended and self.session is not None and not self.session.is_alive():
                self._end("the database has closed its connection")
        age_s = time.monotonic() - self.since
        return {"token": self.token, "name": self.name, "age_s": age_s, "ended": self.ended}

    def release(self) -> None:
        with self.mutex:
            self._end("the copy has ended")

    def _watch(self) -> None:
        while not self.ended:
            time.sleep(WATCH_INTERVAL_S)
            now = time.monotonic()
            with self.mutex:
                if now - self.since > self.max_age_s:
                    self._end(f"it was {self.max_age_s:g} s old, which is its limit (snapshot_max_age_s)")
                elif self.grace_s is not None and now - self.touched > self.grace_s:
                    self._end("nobody has asked for it")

    def _end(self, why: str) -> None:
        if not self.ended and self.session is not None:
            self.ended = why
            self.session.close()


class Snapshot:
    """The snapshot that a job reads at. name: no other has it; is_resumed: an earlier attempt's, which still lives."""

    def __init__(self, holder: Any, is_resumed: bool = False) -> None:
        self.holder, self.is_resumed = holder, is_resumed
        state = self._ask("ping")
        self.token, self.name, self.ended = (state.get(name, "") for name in ("token", "name", "ended"))

    def check(self) -> None:
        """Raises Problem when it no longer lives."""
        state = self._ask("ping")
        if state["ended"]:
            raise shared_storage.Problem(
                "Unavailable",
                f"{postgres.SNAPSHOT_GONE[1]}: {state['ended']}",
                "snapshot_max_age_s",
                "Run again: the copy then starts anew. Raise snapshot_max_age_s, or num_workers, when it needs longer.",
            )

    @contextmanager
    def keep(self) -> Iterator[None]:
        """Asks for it all the while, by which its holder knows that a job works on it."""
        ended = threading.Event()

        def ask() -> None:
            while not ended.wait(PING_INTERVAL_S):
                self._ask("ping")

        threading.Thread(target=ask, daemon=True).start()
        try:
            yield
        finally:
            ended.set()

    def release(self) -> None:
        with suppress(Exception):
            self._ask("release")
        if not isinstance(self.holder, Holder):
            import ray

            with suppress(Exception):
                ray.kill(self.holder)

    def _ask(self, method: str) -> Any:
        if isinstance(self.holder, Holder):
            return getattr(self.holder, method)()
        import ray

        try:
            return ray.get(getattr(self.holder, method).remote(), timeout=30)
        except ray.exceptions.RayError:
            return {"ended": "the process that kept it is gone"}


def hold_here(database: postgres.Database, table: table_catalog.Table, max_age_s: float) -> Snapshot:
    holder = Holder(database, table.quoted, max_age_s)
    holder.open()
    return Snapshot(holder)


def hold_detached(database: postgres.Database, table: table_catalog.Table, max_age_s: float, name: str) -> Snapshot:
    """That of the actor of this name when it lives, else a new one."""
    import ray

    found = find_detached(name)
    if found is not None:
        return found
    actor: Any = ray.remote(Holder)
    # It waits for the database nearly all its time, and must not wait for a CPU that the parts' readers have.
    options = actor.options(
        name=name, namespace=NAMESPACE, lifetime="detached", num_cpus=0, max_restarts=0, max_concurrency=4
    )
    holder = options.remote(database, table.quoted, max_age_s, ORPHAN_GRACE_S)
    try:
        ray.get(holder.open.remote())
    except ray.exceptions.RayError as error:
        ray.kill(holder)
        cause = getattr(error, "cause", None)
        if isinstance(cause, shared_storage.Problem):
            raise cause from None
        raise shared_storage.Problem(
            "Unavailable",
            f"The snapshot cannot be kept on Ray: {type(error).__name__}",
            "cluster",
            "Read the end of the log, then run again.",
        ) from None
    return Snapshot(holder)


def find_detached(name: str) -> Snapshot | None:
    """The living snapshot of an earlier attempt; what no longer lives is taken away."""
    import ray

    try:
        holder = ray.get_actor(name, namespace=NAMESPACE)
    except ValueError:
        return None
    snapshot = Snapshot(holder, is_resumed=True)
    if not snapshot.ended:
        return snapshot
    print(f"The snapshot of the earlier attempt is gone: {snapshot.ended}")
    snapshot.release()
    return None


def enter(session: postgres.Session, token: str) -> None:
    """Begins a transaction that reads at the snapshot."""
    session.run(f"BEGIN {READ_ONLY}")
    session.run(f"SET TRANSACTION SNAPSHOT {postgres.quote_text(token)}")
