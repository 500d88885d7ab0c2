"""`flexcore up` and `down`: one stack for each home, whatever was killed, and whoever else is on the machine."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from flexcore.panel.local_resources import SHARED_SETTINGS, WRITTEN_BY, write_resources
from flexcore.panel.processes import Process, read_start
from flexcore.panel.scheduler import Scheduler
from flexcore.panel.stack import Stack
from flexcore.panel.stack_state import READY, StackState, StateFile
from tests.flexcore.commands.conftest import flexcore  # noqa: F401
from tests.wmlocal.engine.conftest import Command, Writer, eventually, is_alive, surroundings
from wmlocal.engine import Engine
from wmlocal.engine.store import Store

WAITS = """
import time
from pathlib import Path

def main(folder: str):
    (Path(folder) / "begun").write_text("")
    while not (Path(folder) / "go").exists():
        time.sleep(0.05)
    return "done"
"""
UP = ("up", "--without-ray", "--port", "0", "--json")
RAY = {"address": "http://127.0.0.1:1", "token": "secret-token"}
Shown = dict[str, Any]


@pytest.fixture
def up(write: Writer, home: Path, flexcore: Command) -> Iterator[Callable[[], Shown]]:  # noqa: F811
    write.script("f/x/waits", WAITS)

    def run() -> Shown:
        done = flexcore(*UP)
        assert done.returncode == 0, done.stderr
        shown: Shown = json.loads(done.stdout)
        return shown

    yield run
    flexcore("down")
    state = StateFile(home).read()
    assert state is None or not state.is_alive()


def api(shown: Shown, method: str, path: str, body: Any = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {Path(shown['token_file']).read_text()}"}
    return httpx.request(method, f"{shown['url']}/api/w/local/{path}", headers=headers, json=body, timeout=20)


def start_waiting(shown: Shown, folder: Path) -> str:
    job = api(shown, "POST", "jobs/run/p/f/x/waits", {"folder": str(folder)}).text
    eventually((folder / "begun").exists)
    return job


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not is_alive(pid))


def test_up_is_ready_when_it_returns_and_may_be_repeated(up: Callable[[], Shown], flexcore: Command) -> None:  # noqa: F811
    first = up()
    assert httpx.get(f"{first['url']}/readyz").json() == {"ready": True, "reasons": []}
    assert api(first, "GET", "resources/get_value/u/admin/local_settings").json()["storage_uri"].endswith("/store")
    assert up() == first
    stopped = json.loads(flexcore("down", "--json").stdout)
    assert stopped["stopped"] and not is_alive(first["pid"])
    assert json.loads(flexcore("down", "--json").stdout)["stopped"] is False


def test_down_cancels_what_runs_says_so_and_leaves_the_data(
    up: Callable[[], Shown],
    flexcore: Command,  # noqa: F811
    home: Path,
    tmp_path: Path,
) -> None:
    job = start_waiting(up(), tmp_path)
    done = flexcore("down")
    assert f"Canceled: {job}" in done.stdout and str(home) in done.stdout
    again = api(up(), "GET", f"jobs_u/get/{job}").json()
    assert (again["canceled"], again["canceled_reason"]) == (True, "the engine stops")


def test_what_was_running_when_the_stack_was_killed_goes_on(
    up: Callable[[], Shown],
    flexcore: Command,  # noqa: F811
    tmp_path: Path,
) -> None:
    first = up()
    job = start_waiting(first, tmp_path)
    (tmp_path / "begun").unlink()
    kill(first["pid"])
    # A look meanwhile has an engine of its own, which must not take the run for lost.
    listed = json.loads(flexcore("workflow", "status", job, "--json").stdout)
    assert listed["status"] == "running", listed
    second = up()
    assert second["pid"] != first["pid"]
    eventually((tmp_path / "begun").exists)
    (tmp_path / "go").write_text("")
    result = eventually(lambda: api(second, "GET", f"jobs_u/completed/get_result_maybe/{job}").json()["result"])
    assert result == "done"


def test_what_a_killed_stack_has_left_can_be_canceled_or_taken_up_by_hand(
    up: Callable[[], Shown],
    flexcore: Command,  # noqa: F811
    tmp_path: Path,
) -> None:
    first = up()
    jobs = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        jobs.append(start_waiting(first, tmp_path / name))
    kill(first["pid"])
    assert flexcore("workflow", "cancel", jobs[0]).returncode == 0
    assert json.loads(flexcore("workflow", "status", jobs[0], "--json").stdout)["status"] == "canceled"
    (tmp_path / "two" / "go").write_text("")
    done = flexcore("recover", jobs[1], "--json")
    assert json.loads(done.stdout)["result"] == "done", done.stderr


def test_up_says_what_runs_otherwise_than_asked(up: Callable[[], Shown], flexcore: Command) -> None:  # noqa: F811
    shown = up()
    again = flexcore("up", "--port", "9", "--json")
    assert json.loads(again.stdout) == shown
    assert f"on port {shown['url'].rpartition(':')[2]}; to change that: flexcore down" in again.stderr
    assert "without a Ray head; to change that" in flexcore("up").stderr
    assert "to change that" not in flexcore(*UP).stderr


def test_the_home_is_closed_to_other_users_also_one_that_was_open(up: Callable[[], Shown], home: Path) -> None:
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o755)
    up()
    assert home.stat().st_mode & 0o77 == 0


def test_a_relative_home_is_the_same_for_the_stack_and_its_steps(write: Writer, home: Path) -> None:
    script = "import os\n\ndef main():\n    return os.environ['FLEXCORE_HOME']\n"
    write.script("f/x/home", script)
    environment = os.environ | surroundings(home) | {"FLEXCORE_HOME": os.path.relpath(home, write.root)}
    begin = [sys.executable, "-m", "flexcore"]
    options: Any = {"cwd": write.root, "env": environment, "text": True, "capture_output": True, "timeout": 90}
    try:
        started = subprocess.run([*begin, *UP], check=False, **options)
        assert started.returncode == 0, started.stderr
        shown = json.loads(started.stdout)
        job = api(shown, "POST", "jobs/run/p/f/x/home", {}).text
        found = eventually(lambda: api(shown, "GET", f"jobs_u/completed/get_result_maybe/{job}").json()["result"])
        assert Path(found).is_absolute() and Path(found).resolve() == home.resolve()
    finally:
        subprocess.run([*begin, "down"], check=False, **options)


def test_two_at_once_end_with_one_stack(up: Callable[[], Shown], write: Writer, home: Path) -> None:
    both = [
        subprocess.Popen(
            [sys.executable, "-m", "flexcore", *UP],
            cwd=write.root,
            env=os.environ | surroundings(home),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    shown = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], shown
    assert json.loads(shown[0][0]) == json.loads(shown[1][0]) == up()


def test_a_port_that_is_taken_is_named_with_its_remedy_and_nothing_stays(
    up: Callable[[], Shown],
    flexcore: Command,  # noqa: F811
    home: Path,
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = flexcore("up", "--port", str(port))
    assert done.returncode == 2 and f"port {port} cannot be used" in done.stderr and "--port" in done.stderr
    state = StateFile(home).read()
    # Ray was not started for nothing.
    assert state is not None and not state.is_alive() and not state.ray


def test_a_stack_of_another_bundle_is_not_taken_for_this_one(
    up: Callable[[], Shown],
    flexcore: Command,  # noqa: F811
    tmp_path: Path,
) -> None:
    up()
    (tmp_path / "other/f").mkdir(parents=True)
    done = flexcore("up", "--root", str(tmp_path / "other"))
    assert done.returncode == 2 and "flexcore down" in done.stderr


def test_a_stack_that_does_not_answer_is_not_taken_for_dead(
    up: Callable[[], Shown],
    flexcore: Command,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from flexcore.commands import up as command
    from flexcore.panel import stack_state

    monkeypatch.setattr(command, "HEALTH_TIMEOUT_S", 0.5)
    shown = up()
    os.kill(shown["pid"], signal.SIGSTOP)
    try:
        assert not command._is_healthy(shown["url"])
        assert read_start(shown["pid"]) is not None and stack_state.READY == "ready"
    finally:
        os.kill(shown["pid"], signal.SIGCONT)
    assert up() == shown


def test_down_never_ends_another_process_of_the_same_number(home: Path, flexcore: Command) -> None:  # noqa: F811
    with subprocess.Popen(["sleep", "60"]) as stranger:
        file = StateFile(home)
        file.folder.mkdir()
        file.write(StackState(Process(stranger.pid, "another boot 1"), "/b", READY, "http://127.0.0.1:1"))
        done = flexcore("down")
        assert done.returncode == 0 and "Nothing of `flexcore up` was running" in done.stdout
        assert is_alive(stranger.pid)
        stranger.kill()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"process": 1}', '{"process": {"pid": 1}, "unknown": 2}'])
def test_a_state_that_cannot_be_read_is_no_stack(home: Path, text: str) -> None:
    file = StateFile(home)
    file.folder.mkdir()
    (file.folder / "state.json").write_text(text)
    assert file.read() is None


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    opened = Store(home)
    yield opened
    opened.close()


def test_settings_that_somebody_has_put_where_operations_look_are_kept(store: Store, write: Writer, home: Path) -> None:
    write_resources(store, write.root, home, RAY)
    shared, own = store.resource(SHARED_SETTINGS), store.resource("u/admin/local_settings")
    assert shared is not None and own is not None and shared == own | {"path": SHARED_SETTINGS}
    assert "secret-token" not in (home / "engine.db").read_bytes().decode(errors="replace")
    store.set_resource(SHARED_SETTINGS, {"storage_uri": "s3://mine"}, "c_flexcore_settings", "Ours")
    write_resources(store, write.root, home, None)
    kept = store.resource(SHARED_SETTINGS)
    assert kept is not None and kept["value"] == {"storage_uri": "s3://mine"} and kept["description"] != WRITTEN_BY
    assert store.resource("u/admin/local_ray") is None


def shared_value(store: Store) -> Any:
    return (store.resource(SHARED_SETTINGS) or {}).get("value")


def test_a_value_that_a_program_has_changed_is_kept_though_its_description_still_names_up(
    store: Store, write: Writer, home: Path
) -> None:
    write_resources(store, write.root, home, RAY)
    # As wmill.set_resource does.
    store.set_resource(SHARED_SETTINGS, {"storage_uri": "s3://mine"}, "c_flexcore_settings", WRITTEN_BY)
    for head in (None, RAY):
        write_resources(store, write.root, home, head)
        assert shared_value(store) == {"storage_uri": "s3://mine"}


def test_settings_that_up_has_written_follow_the_next_up(store: Store, write: Writer, home: Path) -> None:
    for head in (RAY, None, RAY):
        write_resources(store, write.root, home, head)
        assert ("ray_clusters" in shared_value(store)) is (head is not None)


@pytest.mark.parametrize("name", ["settings", "settings.local"])
def test_settings_in_a_file_of_the_bundle_are_not_hidden(store: Store, write: Writer, home: Path, name: str) -> None:
    # An earlier up, before the file was there.
    write_resources(store, write.root, home, RAY)
    write.file(f"f/flexcore/{name}.resource.yaml", "value: {storage_uri: s3://x}\n")
    write_resources(store, write.root, home, None)
    assert store.resource(SHARED_SETTINGS) is None


def test_a_file_of_settings_that_is_broken_is_not_replaced_in_silence(store: Store, write: Writer, home: Path) -> None:
    write.file("f/flexcore/settings.resource.yaml", "value: [")
    write_resources(store, write.root, home, RAY)
    assert store.resource(SHARED_SETTINGS) is None


def test_a_head_that_cannot_be_started_again_ends_nothing_and_readiness_says_why(write: Writer, home: Path) -> None:
    (home / "up").mkdir()
    stack = Stack(write.root, 0, True, home)
    stack._pause, stack._started = 0.0, time.monotonic()
    assert stack.head is not None
    # Where the head's folder would be.
    (home / "up/ray").write_text("")
    stack._restart_head(stack.head)
    assert stack.find_reasons() == [stack.problem] and "No Ray head: " in stack.problem and "ray" in stack.problem
    assert not stack.head.is_running()


def test_readiness_says_when_schedules_are_not_followed(write: Writer, home: Path) -> None:
    stack = Stack(write.root, 0, False, home)
    with Engine(write.root, home) as engine:
        stack._scheduler = Scheduler(engine, lambda text: None)
        assert stack.find_reasons() == []
        write.script("f/x/s", "def main():\n    return 1\n")
        write.file("f/x/s.schedule.yaml", "enabled: true\nschedule: '* * * * * *'\nscript_path: f/x/s\n")
        engine.store._db.execute("PRAGMA query_only = ON")
        stack._scheduler._last = int(time.time()) - 2
        stack._scheduler.follow()
        assert ["Schedules are not followed" in reason for reason in stack.find_reasons()] == [True]
        engine.store._db.execute("PRAGMA query_only = OFF")
