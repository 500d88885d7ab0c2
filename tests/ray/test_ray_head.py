"""The laptop's own Ray head: whatever ends it, nothing of it stays behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import httpx
import pytest

from f.flexcore.lib.core.errors import InvalidInput
from f.flexcore.ray import deploy_model
from flexcore.ray_head import RayHead, RayHeadError
from tests import shared_heads
from tests.ray.models import stored_model

pytestmark = pytest.mark.slow
HOLD = """
import sys, time
from pathlib import Path
from flexcore.ray_head import RayHead
head = RayHead(Path(sys.argv[1])).start()
print(head.address, head.token, flush=True)
time.sleep(600)
"""
WORK = "python -c 'import ray, time\nray.init()\n@ray.remote\ndef f(): time.sleep(600)\nf.remote(); time.sleep(600)'"


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="one process runs all tests")
def test_all_tests_of_the_sessions_head_run_in_one_process(head: RayHead, request: pytest.FixtureRequest) -> None:
    """Two shared heads, and runs of one Meltano project side by side, have failed for one another."""
    assert request.node.nodeid.endswith("@ray")
    items = [item for item in request.session.items if "head" in getattr(item, "fixturenames", ())]
    groups = {mark.args[0] for item in items for mark in item.iter_markers("xdist_group")}
    # Tests of real servers are started by hand, and not beside these.
    assert groups - {"live"} == {"ray"}


@pytest.fixture(scope="module")
def own_head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RayHead, set[int]]]:
    """A head on which Serve has never run, started where another Ray has left its token; what ran here before it."""
    folder, before = tmp_path_factory.mktemp("own"), descendants(os.getpid())
    (folder / ".ray").mkdir()
    (folder / ".ray/auth_token").write_text("0" * 64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        head = RayHead(folder / "ray").start()
    yield head, before
    head.stop()


def test_a_head_asks_for_its_own_token_and_not_for_one_that_another_ray_has_left(
    own_head: tuple[RayHead, set[int]],
) -> None:
    head, before = own_head
    url = f"{head.address}/api/jobs/"
    assert httpx.get(url).status_code == 401
    assert httpx.get(url, headers={"Authorization": f"Bearer {'0' * 64}"}).status_code == 403
    assert httpx.get(url, headers=head.headers).status_code == 200
    assert (head.folder / "auth_token").stat().st_mode & 0o777 == 0o600
    arguments = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in alive(descendants(os.getpid()) - before)]
    assert len(arguments) > 3 and not any(head.token.encode() in item for item in arguments)


def test_a_taken_port_is_told_before_serve_is_started(own_head: tuple[RayHead, set[int]], tmp_path: Path) -> None:
    """On the session's head Serve may run already, on a port that is long its own."""
    model = stored_model(tmp_path / "m", "first", "1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        cluster = {**own_head[0].resource, "serve_url": f"http://127.0.0.1:{port}"}
        with pytest.raises(InvalidInput, match=f"port {port} is taken") as caught:
            deploy_model.main(cluster, model.plain(), cpus=0.1)
    assert caught.value.subject == "cluster.serve_url"


def test_a_shared_head_ends_with_its_group_and_with_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    class Head:
        stopped = 0

        def stop(self) -> None:
            self.stopped += 1

    def item(nodeid: str) -> pytest.Item:
        return cast("pytest.Item", SimpleNamespace(nodeid=nodeid))

    head = Head()
    monkeypatch.setattr(shared_heads, "HEADS", {"ray": head})
    first, second, other = item("a::b@ray"), item("c::d[x@y]@ray"), item("e::f@beside_ray")
    # One process for all: no test has a group.
    shared_heads.end_head_of(item("a::b"), None)
    shared_heads.end_head_of(first, second)
    shared_heads.end_head_of(other, None)
    assert head.stopped == 0
    shared_heads.end_head_of(second, other)
    shared_heads.end_head_of(other, None)
    assert head.stopped == 1


def test_a_head_collects_no_metrics_for_which_it_would_remember_every_worker_that_there_ever_was(head: RayHead) -> None:
    assert head.temp is not None
    (exported,) = head.temp.glob("session_latest/metrics_export_port_*")
    assert exported.read_text() == "-1"


def descendants(of: int) -> set[int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = {of}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {of}


def alive(pids: set[int]) -> set[int]:
    def running(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    return {pid for pid in pids if running(pid)}


def told(pids: set[int]) -> list[str]:
    return [Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")[:200] for pid in alive(pids)]


def wait_until(true: Callable[[], bool], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if true():
            return True
        time.sleep(0.2)
    return true()


def busy(address: str, token: str) -> None:
    """Starts a driver and a task that would go on for ten minutes."""
    with httpx.Client(base_url=address, headers={"Authorization": f"Bearer {token}"}, timeout=60) as client:
        client.post("/api/jobs/", json={"entrypoint": WORK, "submission_id": "busy"}).raise_for_status()
        assert wait_until(lambda: client.get("/api/jobs/busy").json()["status"] == "RUNNING", 60)


def test_a_stopped_head_leaves_no_process_and_no_folder(tmp_path: Path) -> None:
    others = descendants(os.getpid())
    head = RayHead(tmp_path).start()
    busy(head.address, head.token)
    processes = descendants(os.getpid()) - others
    assert len(processes) > 5
    head.stop()
    assert wait_until(lambda: not alive(processes), 5), told(processes)
    head.stop()


def test_a_head_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    busy(*owner.stdout.readline().split())
    processes = descendants(owner.pid)
    assert len(processes) > 5
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    # Less than the 30 s for which Ray waits by default for another node to take over.
    assert wait_until(lambda: not alive(processes), 25), told(processes)


def test_a_head_that_does_not_answer_in_time_is_ended_and_says_where_its_log_is(tmp_path: Path) -> None:
    others = descendants(os.getpid())
    head = RayHead(tmp_path).start(wait=False)
    processes = descendants(os.getpid()) - others
    with pytest.raises(RayHeadError, match=r"head\.log"):
        head.wait_ready(0.1)
    assert wait_until(lambda: not alive(processes), 5), told(processes)
