"""What the engine keeps, as its file shows it."""

from __future__ import annotations

import time
from pathlib import Path

from wmlocal.engine.store import MAX_KEPT_LOG_BYTES, Store

SIZE = 200_000


def keep_runs(store: Store, count: int) -> None:
    for number in range(count):
        store.add_job(id=f"run-{number}", kind="script", root=f"run-{number}", status="running")
        store.finish_job(f"run-{number}", "success", '"' + "x" * SIZE + '"')


def size_of(home: Path) -> int:
    return (home / "engine.db").stat().st_size


def test_a_file_gives_back_what_pruned_runs_have_taken_and_its_log_is_cut(tmp_path: Path) -> None:
    store = Store(tmp_path)
    keep_runs(store, 100)
    store._db.execute("PRAGMA wal_checkpoint(PASSIVE)")
    assert size_of(tmp_path) > 100 * SIZE
    store.prune(time.time() + 1)
    store._db.execute("PRAGMA wal_checkpoint(PASSIVE)")
    assert store.jobs() == []
    assert size_of(tmp_path) < SIZE
    keep_runs(store, 3)
    assert (tmp_path / "engine.db-wal").stat().st_size <= MAX_KEPT_LOG_BYTES + SIZE
    store.close()


def test_a_file_of_an_engine_before_that_is_pruned_as_it_is(tmp_path: Path) -> None:
    old = Store(tmp_path)
    old._db.execute("PRAGMA auto_vacuum = NONE")
    old._db.execute("VACUUM")
    keep_runs(old, 3)
    old.close()
    store = Store(tmp_path)
    store.prune(time.time() + 1)
    assert store.jobs() == []
    store.close()
