"""Reconcile by `flexcore up`: while something runs and for a while after it, and never twice at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from flexcore.panel.local_reconcile import INTERVAL_S, LINGER_S, PATH, LocalReconcile
from tests.wmlocal.engine.conftest import Writer, eventually
from wmlocal.engine import Engine

WAITS = """
import time
from pathlib import Path

def main(folder: str):
    while not (Path(folder) / "go").exists():
        time.sleep(0.05)
"""


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def reconcile(engine: Engine, write: Writer) -> LocalReconcile:
    write.script(PATH, "def main(settings):\n    return settings\n")
    write.script("f/x/waits", WAITS)
    engine.store.set_resource("u/admin/local_settings", {"storage_uri": "file:///s"}, None, None)
    return LocalReconcile(engine, Clock())


def go_on(reconcile: LocalReconcile, seconds: float) -> int:
    """How many passes there have been, once those that run are over."""
    assert isinstance(reconcile.clock, Clock)
    reconcile.clock.now += seconds
    reconcile.tick()
    store = reconcile.engine.store
    eventually(lambda: not store.jobs("path = ? AND status IN ('queued', 'running')", [PATH]))
    return len(store.jobs("path = ?", [PATH], limit=1000))


def test_a_pass_looks_after_the_stacks_own_head_each_minute(reconcile: LocalReconcile) -> None:
    assert [go_on(reconcile, INTERVAL_S / 2) for _ in range(4)] == [1, 1, 2, 2]
    assert reconcile.engine.store.jobs("path = ?", [PATH])[0]["result"] == {"storage_uri": "file:///s"}


def test_an_idle_stack_starts_no_jobs_until_something_runs_again(reconcile: LocalReconcile, tmp_path: Path) -> None:
    count = go_on(reconcile, LINGER_S)
    assert go_on(reconcile, INTERVAL_S) == count, "nothing has run since"
    job = reconcile.engine.start("f/x/waits", {"folder": str(tmp_path)})
    assert go_on(reconcile, INTERVAL_S) == count + 1
    (tmp_path / "go").touch()
    reconcile.engine.wait(job)
    assert go_on(reconcile, LINGER_S - INTERVAL_S) == count + 2, "what it has left may still run"
    assert go_on(reconcile, 2 * INTERVAL_S) == count + 2
