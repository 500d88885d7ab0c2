"""`flexcore up` with its Ray head, part by part killed: what is needed comes back, and nothing stays behind.

It needs no server, but starts three heads, which is more than `make test` has time for: FLEXCORE_LIVE_UP=1.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from flexcore.panel.local_resources import RAY, RAY_TOKEN
from flexcore.panel.stack_state import StackState, StateFile
from flexcore.ray_head import MARK
from wmlocal.engine.store import Store

pytestmark = pytest.mark.skipif(not os.environ.get("FLEXCORE_LIVE_UP"), reason="FLEXCORE_LIVE_UP is not set")
Flexcore = Callable[..., dict[str, Any]]
# A head on two loaded cores.
TIMEOUT_S = 240.0


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def flexcore(home: Path) -> Iterator[Flexcore]:
    def run(*arguments: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "flexcore", *arguments, "--json"]
        env = os.environ | {"FLEXCORE_HOME": str(home)}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        assert done.returncode == 0, done.stderr
        shown: dict[str, Any] = json.loads(done.stdout)
        return shown

    yield run
    run("down")


def read_state(home: Path) -> StackState:
    state = StateFile(home).read()
    assert state is not None
    return state


def read_head(home: Path) -> tuple[str, str]:
    """(address, token) as a request that names the resource gets them."""
    store = Store(home)
    try:
        resource, token = store.resource(RAY), store.variable(RAY_TOKEN)
    finally:
        store.close()
    assert resource is not None and token is not None and resource["value"]["token"] == f"$var:{RAY_TOKEN}"
    return resource["value"]["address"], token["value"]


def answers(address: str, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.get(f"{address}/api/jobs/", headers=headers, timeout=10).status_code


def find_marked(temp: str) -> dict[int, str]:
    """Processes of the head with this folder, with what they run."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={temp}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                found[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
    return found


def eventually(condition: Callable[[], Any]) -> Any:
    until = time.monotonic() + TIMEOUT_S
    while time.monotonic() < until:
        try:
            if value := condition():
                return value
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise AssertionError("not in time")


def test_each_part_may_be_killed_and_down_leaves_nothing_but_the_data(flexcore: Flexcore, home: Path) -> None:
    shown = flexcore("up", "--port", "0")
    address, token = read_head(home)
    assert shown["ray"] == address and answers(address, token) == 200
    assert answers(address, "wrong") in (401, 403)

    # A daemon of the head: the head ends, and another one takes its place under the same name.
    temp = read_state(home).ray_temp
    (gcs,) = [pid for pid, command in find_marked(temp).items() if "gcs_server" in command.split(" ")[0]]
    os.kill(gcs, signal.SIGKILL)
    eventually(lambda: httpx.get(f"{shown['url']}/readyz").status_code == 503)
    eventually(lambda: httpx.get(f"{shown['url']}/readyz").status_code == 200)
    again = read_head(home)
    assert again[0] != address and answers(*again) == 200 and not find_marked(temp)

    # What keeps everything: the head and the engine end with it, and the next `up` starts anew.
    killed = read_state(home)
    os.kill(killed.process.pid, signal.SIGKILL)
    second = flexcore("up", "--port", "0")
    assert second["pid"] != killed.process.pid and not find_marked(killed.ray_temp)
    assert answers(*read_head(home)) == 200

    # Keeper and Ray's own parent at once: its daemons are left without anybody, until `down`.
    third = read_state(home)
    parents = [pid for pid, command in find_marked(third.ray_temp).items() if "--block" in command]
    for pid in [*parents, third.process.pid]:
        os.kill(pid, signal.SIGKILL)
    assert find_marked(third.ray_temp)
    assert flexcore("down")["stopped"] is False
    assert not find_marked(third.ray_temp) and not Path(third.ray_temp).exists()
    assert (home / "engine.db").exists() and (home / "token").exists()
