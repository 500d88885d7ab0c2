"""meltano/run when lines are odd, the disk is full, the state cannot be stored, and a dead run has left its lock: real
Meltano, a tap and a target that misbehave on cue."""

from __future__ import annotations

import json
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core.errors import EmptyData, ExecutionFailed, FlexcoreError, Unavailable, Unreachable
from tests.faults.invariants import State, check
from tests.meltano.conftest import Step, alive, wait_for
from tests.meltano.test_run import TIMEOUT_S, ids, run

pytestmark = pytest.mark.slow


@pytest.mark.fault(30, "I2", "I7", real=True)
@pytest.mark.parametrize("mode", ["malformed", "long", "nan", "huge"])
def test_an_odd_line_loses_no_row_and_its_failure_is_typed(
    project: dict[str, Any], worker: Callable[[str], None], mode: str
) -> None:
    try:
        loaded = ids(run(project, config=[f"tap-toy.mode={mode}", "tap-toy.rows=4"]))
    except ExecutionFailed as error:
        assert error.category in ("extractor_failed", "loader_failed", "meltano_failed") and error.details["log_tail"]
        loaded = ids(run(project, config=["tap-toy.rows=4"]))
    assert loaded == [1, 2, 3, 4]
    worker("flow-2")
    with pytest.raises(EmptyData):
        run(project, config=["tap-toy.rows=4"])
    check([State(1, "orders", bookmark=4, confirmed=len(loaded))])


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file can grow beyond `size` bytes: the same error path as a disk without space, for this process and all that
    it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.fault(31, "I2", "I7", real=True)
@pytest.mark.parametrize("size", [100, 300_000])
def test_a_full_disk_is_an_error_of_its_own_and_loses_no_row(
    project: dict[str, Any], worker: Callable[[str], None], size: int
) -> None:
    assert ids(run(project)) == [1, 2, 3]
    worker("flow-2")
    many = ["tap-toy.rows=10000"]
    # pytest's own capture writes to files as well.
    with full_disk(size), pytest.raises(FlexcoreError) as caught:
        run(project, config=many)
    assert not isinstance(caught.value, EmptyData)
    assert ids(run(project, config=many)) == list(range(4, 10001))


@pytest.mark.fault(32, "I2", "I7", real=True)
def test_a_state_that_cannot_be_stored_after_the_load_fails_the_step_and_is_stored_by_the_repeat(
    project: dict[str, Any], tmp_path: Path, worker: Callable[[str], None]
) -> None:
    states = tmp_path / "states"
    place = {**project, "state_backend_uri": f"file://{states}"}
    # The tap itself puts a file where the folder of the states would be.
    with pytest.raises(Unreachable, match=r"state at .* cannot be used"):
        run(place, config=[f"tap-toy.marker={states}"])
    states.unlink()
    settled = run(place)
    assert settled.attempt == 1 and ids(settled) == [1, 2, 3]
    worker("flow-2")
    assert ids(run(place, config=["tap-toy.rows=4"])) == [4]


@pytest.mark.fault(29, "I1", "I7", real=True)
def test_the_lock_of_a_run_that_was_killed_as_a_whole_blocks_no_other_run(
    project: dict[str, Any], tmp_path: Path, start: Callable[..., Step], worker: Callable[[str], None]
) -> None:
    marker, rows = tmp_path / "marker", tmp_path / "rows"
    place = {**project, "env": {"TARGET_TOY_FILE": str(rows)}}
    assert run(place, target="target-toy").data["streams"] == {"orders": 3}
    worker("flow-2")
    config = ["tap-toy.mode=hang", f"tap-toy.marker={marker}", "tap-toy.rows=5"]
    step = start(
        {"project": place, "taps": ["tap-toy"], "target": "target-toy", "config": config, "timeout_s": TIMEOUT_S}
    )
    pids = json.loads(wait_for(lambda: marker.exists() and marker.read_text(), "the tap has started"))["pids"]
    supervisor = parent_of(pids[1])
    # Neither the step nor the supervisor nor Meltano can clean up.
    for pid in (step.process.pid, supervisor, *reversed(pids)):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not any(alive(pid) for pid in (supervisor, *pids)), "all have ended")
    worker("flow-3")
    assert run(place, target="target-toy", config=["tap-toy.rows=5"]).data["streams"] == {"orders": 2}
    assert [json.loads(line)["id"] for line in rows.read_text().splitlines()] == [1, 2, 3, 4, 5]


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def test_a_broken_store_leaves_no_lock_behind(project: dict[str, Any], home: Path) -> None:
    (home / "store").write_text("no folder")
    with pytest.raises((Unavailable, Unreachable)):
        run(project)
    (home / "store").unlink()
    assert ids(run(project)) == [1, 2, 3]
