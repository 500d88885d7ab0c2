"""A head of the worker's own machine: started for its first lease, ended with its last, never under a new one."""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core import errors, resources
from f.flexcore.lib.ray import heartbeat, lease, local_head_files
from f.flexcore.lib.ray.local_head import LocalHead
from f.flexcore.ray.ensure_cluster import main as ensure_cluster
from f.flexcore.ray.release_cluster import main as release_cluster
from f.flexcore.ray.run_job import main as run_job
from tests.ray.test_managed_clusters import as_flow, in_threads

# What answers as Ray's dashboard would, at the port that it was started with, to who has the token.
FAKE_RAY = """#!{python}
import http.server, json, os, sys
options = dict(item[2:].split("=", 1) for item in sys.argv[1:] if "=" in item)
token = open(os.environ["RAY_AUTH_TOKEN_PATH"]).read()
node = {{"node_id": "n", "is_head_node": True, "resources_total": {{"CPU": 1.0}}}}
answers = {{"/api/version": {{"ray_version": "2.60.0"}}, "/api/jobs/": [], "/api/cluster_status": {{}},
           "/api/v0/nodes": {{"data": {{"result": {{"result": [node]}}}}}}}}
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        right = self.headers.get("Authorization") == f"Bearer {{token}}"
        found = answers.get(self.path.split("?")[0])
        body = json.dumps(found if right else "no").encode()
        self.send_response((200 if found is not None else 501) if right else 403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
if {exit_code}: sys.exit({exit_code})
http.server.ThreadingHTTPServer(("127.0.0.1", int(options["dashboard-port"])), Handler).serve_forever()
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("FLEXCORE_HOME", str(tmp_path))
    install(tmp_path, monkeypatch)
    as_flow(monkeypatch, "one")
    yield tmp_path
    for path in (tmp_path / "ray").glob("*/head.json"):
        os.kill(json.loads(path.read_text())["supervisor"], signal.SIGTERM)
    wait_for(lambda: not marked(tmp_path))


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, exit_code: int = 0) -> None:
    program = folder / "fake-ray"
    program.write_text(FAKE_RAY.format(python=sys.executable, exit_code=exit_code))
    program.chmod(0o755)
    monkeypatch.setenv("FLEXCORE_RAY", str(program))


def wait_for(check: Callable[[], Any], timeout_s: float = 20.0) -> Any:
    until = time.monotonic() + timeout_s
    while not (found := check()):
        assert time.monotonic() < until, "not in time"
        time.sleep(0.05)
    return found


def marked(home: Path) -> list[int]:
    """The processes that a head of this home has started."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"FLEXCORE_RAY_HEAD={home}".encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def is_running(head: LocalHead) -> bool:
    return head.find_problem() is None and (head.folder / "head.json").exists()


def owner(name: str) -> lease.Owner:
    return lease.Owner(f"fc-{name}", name, name, "a", "test")


def ensure(**arguments: Any) -> dict[str, Any]:
    return dict(ensure_cluster(**{"cluster": {"local_head": "mine"}, "timeout_s": 60, **arguments})["data"])


def test_a_head_is_started_shared_and_ends_with_its_last_lease(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ensure()
    assert (first["created"], first["ray_version"]) == (True, "2.60.0")
    as_flow(monkeypatch, "two")
    second = ensure()
    assert (second["created"], second["lease"]["token"]) == (False, 2)
    assert len(marked(home)) == 1
    assert release_cluster(cluster=first["cluster"])["data"]["outcome"] == "released"
    assert release_cluster(cluster=second["cluster"])["data"]["outcome"] == "deleted"
    assert marked(home) == []
    assert release_cluster(cluster=second["cluster"])["data"]["outcome"] == "gone"
    # The next lease starts another head, and its token goes on from the last.
    assert ensure()["lease"]["token"] == 3


def test_the_token_is_in_a_file_of_its_owner_alone(home: Path, capsys: Any) -> None:
    data = ensure()
    file = home / "ray/mine/auth_token"
    token = file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert len(token) == 64
    arguments = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in marked(home)]
    assert token not in json.dumps(data) + capsys.readouterr().out + repr(arguments)
    release_cluster(cluster=data["cluster"])
    assert not file.exists()


def test_a_worker_without_ray_is_told_what_to_install(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEXCORE_RAY", str(home / "nothing"))
    with pytest.raises(errors.NotFound, match="Ray is not installed") as caught:
        ensure()
    assert caught.value.category == "ray_absent"
    assert not (home / "ray").exists()


def test_a_reference_on_another_machine_is_told(home: Path) -> None:
    with pytest.raises(errors.NotFound, match="There is no local Ray head mine") as caught:
        run_job(cluster={"local_head": "mine"}, program="result = 1")
    assert "on a worker of this machine" in caught.value.remedy


def test_a_head_that_ends_by_itself_is_told_with_the_end_of_its_log(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(home, monkeypatch, exit_code=3)
    with pytest.raises(errors.ExecutionFailed, match="ended by itself with exit code 3") as caught:
        ensure()
    assert caught.value.category == "head_ended"
    # The repair works without anything being removed by hand.
    install(home, monkeypatch)
    assert ensure()["ray_version"] == "2.60.0"


@pytest.mark.fault(1, "I4")
def test_a_head_ends_when_nobody_renews_its_leases(home: Path) -> None:
    ensure(lease_s=2)
    wait_for(lambda: marked(home) == [])


@pytest.mark.fault(1, "I1")
def test_a_supervisor_that_was_killed_leaves_no_second_head(home: Path) -> None:
    ensure()
    (before,) = marked(home)
    os.kill(json.loads((home / "ray/mine/head.json").read_text())["supervisor"], signal.SIGKILL)
    head = LocalHead("mine")
    wait_for(lambda: not head.is_supervised())
    data = ensure()
    (after,) = marked(home)
    assert before != after
    assert release_cluster(cluster=data["cluster"])["data"]["outcome"] == "deleted"
    assert marked(home) == []


def test_two_ensures_at_once_start_one_head(home: Path) -> None:
    heads = [LocalHead("mine") for _ in range(2)]
    found = in_threads([partial(head.acquire, owner(f"{n}"), 60, 0) for n, head in enumerate(heads)])
    assert sorted(held.token for held, _ in found) == [1, 2]
    assert [is_new for _, is_new in found].count(True) == 1
    wait_for(lambda: (home / "ray/mine/head.json").exists())
    assert len(wait_for(lambda: marked(home))) == 1


@pytest.mark.fault(37, "I8")
def test_a_release_never_ends_a_head_under_a_new_lease(home: Path) -> None:
    held, _ = LocalHead("mine").acquire(owner("first"), 60, 0)
    for number in range(4):
        barrier = threading.Barrier(2)

        def release(held: lease.Lease = held, barrier: threading.Barrier = barrier) -> str:
            barrier.wait()
            return LocalHead("mine").release(held.reference)

        def acquire(number: int = number, barrier: threading.Barrier = barrier) -> lease.Lease:
            barrier.wait()
            time.sleep(0.2 * number)
            return LocalHead("mine").acquire(owner(f"x{number}"), 60, 0)[0]

        _, held = in_threads([release, acquire])
        head = LocalHead("mine")
        # Whoever has a lease has a head, the old one or a new one.
        assert [item.reference for item in head.leases.read().leases] == [held.reference]
        wait_for(partial(is_running, head))
        time.sleep(0.7)
        assert head.is_supervised()


def test_a_heartbeat_renews_the_lease_and_one_that_has_ended_is_told(home: Path) -> None:
    data = ensure(lease_s=30)
    reference = errors.validate(resources.RayCluster, data["cluster"], "cluster")
    before = local_head_files.open_leases("mine").read().leases[0].renewed
    time.sleep(0.05)
    heartbeat.Heartbeat(reference).beat()
    assert local_head_files.open_leases("mine").read().leases[0].renewed > before
    release_cluster(cluster=data["cluster"])
    with pytest.raises(errors.Conflict, match="has ended"):
        heartbeat.Heartbeat(reference).beat()


@pytest.mark.slow
def test_a_real_head_runs_a_job_by_its_reference_and_is_gone_after_its_release(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEXCORE_RAY", str(Path(sys.executable).parent / "ray"))
    data = ensure(local_cpus=1, timeout_s=180)
    as_flow(monkeypatch, "one", "job")
    result = run_job(cluster=data["cluster"], program="import ray\nray.init()\nresult = ray.cluster_resources()['CPU']")
    assert result["data"]["result"] == 1.0
    as_flow(monkeypatch, "one", "release")
    assert release_cluster(cluster=data["cluster"])["data"]["outcome"] == "deleted"
    assert marked(home) == []
