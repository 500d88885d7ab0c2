"""A run whose engine was killed is taken up again where it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.wmlocal.engine.conftest import Command, Writer, call, eventually, raw
from wmlocal.engine import Engine
from wmlocal.engine.errors import UnknownPath
from wmlocal.engine.store import Store

Begin = Callable[..., subprocess.Popen[str]]
# Writes down that it ran, and as what; one that is to hold does so until there is a file.
STEP = """
    import json, os, time
    from pathlib import Path
    def main(folder, name, value=None, fail_first=False, hold=False):
        ran = Path(folder, name)
        first = not ran.exists()
        with ran.open("a") as file:
            file.write(os.environ["WM_JOB_ID"] + " " + os.environ["WM_FLOW_JOB_ID"] + "\\n")
        if fail_first and first:
            raise ValueError("the first time")
        while hold and not Path(folder, "go").exists():
            time.sleep(0.02)
        return value
    """


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "ran"
    made.mkdir()
    return made


def runs_of(folder: Path, name: str) -> list[list[str]]:
    file = folder / name
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


def wide(write: Writer, folder: Path) -> None:
    """A flow of many kinds of modules, whose step `hold` is where it dies; a suspension and a subflow are behind it."""
    here = json.dumps(str(folder))

    def step(id: str, value: str, name: str = "", inputs: Any = None, **more: Any) -> dict[str, Any]:
        given = {"folder": here, "name": name or json.dumps(id), "value": value, **(inputs or {})}
        return raw(id, STEP, given, **more)

    write.flow("f/x/inner", [step("inner", "flow_input.n + 1")])
    retry = {"constant": {"attempts": 2, "seconds": 0}}
    loop = {
        "type": "forloopflow",
        "iterator": {"type": "static", "value": [1, 2, 3]},
        "parallel": True,
        "modules": [step("each", "flow_input.iter.value * 10", "`each${flow_input.iter.value}`")],
        "skip_failures": False,
    }
    branch = {
        "type": "branchone",
        "default": [],
        "branches": [
            {
                "expr": "results.loop[2] == 30",
                "modules": [step("held", "'held'", inputs={"hold": "true"}), step("after", "results.held + '!'")],
            }
        ],
    }
    write.flow(
        "f/x/y",
        [
            step("first", "flow_input.n", inputs={"fail_first": "true"}, retry=retry),
            call("sub", "flow", "f/x/inner", n="results.first"),
            step("wait", "'waited'", suspend={"required_events": 1, "timeout": 30}),
            {"id": "loop", "value": loop},
            {"id": "branch", "value": branch},
            step("last", "[results.first, results.sub, results.loop, results.branch]"),
        ],
    )


def kill_at(command: subprocess.Popen[str], folder: Path, name: str = "held") -> None:
    eventually(lambda: runs_of(folder, name), 30)
    os.killpg(command.pid, signal.SIGKILL)
    command.wait()


def resume(home: Path) -> None:
    """As `operations/reconcile` does once the flow is suspended."""
    store = Store(home)
    (flow,) = eventually(lambda: store.jobs("status = 'suspended'", columns=["id"]), 30)
    store.add_resume(flow["id"], 1, flow["id"], None, None, True)
    store.close()


@pytest.mark.fault(1, "I1", "I2", real=True)
@pytest.mark.parametrize("again", ["recover", "serve"])
def test_a_killed_run_goes_on_and_what_had_ended_is_not_run_again(
    begin: Begin, flexcore: Command, write: Writer, home: Path, folder: Path, again: str
) -> None:
    wide(write, folder)
    command = begin("workflow", "execute", "f/x/y", "--args", '{"n": 1}')
    resume(home)
    kill_at(command, folder)
    (folder / "go").touch()
    if again == "recover":
        run = json.loads(flexcore("workflow", "list", "--executions", "--json").stdout)[0]
        done = flexcore("recover", run["id"][:-4], "--json")
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        assert answer["id"] == run["id"]
        result = answer["result"]
    else:
        begin("serve", "--port", "0")
        store = Store(home)
        (row,) = eventually(lambda: store.jobs("parent IS NULL AND status = 'success'"), 30)
        result = row["result"]
    assert result == [1, 2, [10, 20, 30], "held!"]
    counts = {file.name: len(runs_of(folder, file.name)) for file in folder.iterdir() if file.name != "go"}
    assert counts == {
        "first": 2,
        "inner": 1,
        "wait": 1,
        "each1": 1,
        "each2": 1,
        "each3": 1,
        "held": 2,
        "after": 1,
        "last": 1,
    }
    before, after = runs_of(folder, "held")
    assert before == after, "the same job of the same flow, so that it finds what it has started"
    listed = Store(home).jobs("1", limit=1000)
    assert {job["status"] for job in listed if job["step_id"] != "first"} == {"success"}


def test_a_run_dies_twice_and_goes_on(begin: Begin, flexcore: Command, write: Writer, home: Path, folder: Path) -> None:
    step = raw("held", STEP, {"folder": json.dumps(str(folder)), "name": "'held'", "value": "7", "hold": "true"})
    write.flow("f/x/y", [step])
    kill_at(begin("workflow", "execute", "f/x/y"), folder)
    run = json.loads(flexcore("workflow", "list", "--executions", "--json").stdout)[0]
    command = begin("recover", run["id"])
    eventually(lambda: len(runs_of(folder, "held")) == 2)
    os.killpg(command.pid, signal.SIGKILL)
    (folder / "go").touch()
    done = flexcore("recover", run["id"], "--json")
    assert json.loads(done.stdout) == {"id": run["id"], "success": True, "result": 7}
    again = flexcore("recover", run["id"])
    assert again.returncode == 2 and "not a run whose engine died" in again.stderr


def test_a_suspended_run_is_taken_up_and_waits_on(begin: Begin, write: Writer, home: Path, folder: Path) -> None:
    step = raw("a", "def main():\n    return 1\n", suspend={"required_events": 1, "timeout": 60})
    write.flow("f/x/y", [step, raw("b", "def main():\n    return 2\n")])
    command = begin("workflow", "execute", "f/x/y")
    store = Store(home)
    (flow,) = eventually(lambda: store.jobs("status = 'suspended'", columns=["id"]), 30)
    os.killpg(command.pid, signal.SIGKILL)
    command.wait()
    with Engine(write.root, home, take_up=True) as engine:
        eventually(lambda: engine.store.jobs("status = 'suspended'"))
        assert engine.store.jobs("status = 'suspended'")[0]["id"] == flow["id"]
        resume(home)
        assert engine.wait(engine.runtime.live[flow["id"]]).result == 2


def test_a_run_that_was_being_canceled_stays_so(begin: Begin, write: Writer, home: Path, folder: Path) -> None:
    step = raw("held", STEP, {"folder": json.dumps(str(folder)), "name": "'held'", "hold": "true"})
    write.flow("f/x/y", [step])
    kill_at(begin("workflow", "execute", "f/x/y"), folder)
    store = Store(home)
    (flow,) = store.jobs("parent IS NULL", columns=["id"])
    # What an engine writes before it stops anything.
    store.update_job(flow["id"], canceled_by="me", canceled_reason="enough")
    with Engine(write.root, home, take_up=True) as engine:
        ended = eventually(lambda: engine.store.jobs("parent IS NULL AND status = 'canceled'"))
    assert ended[0]["result"]["error"]["message"] == "Job canceled: enough by me"
    assert len(runs_of(folder, "held")) == 1


def test_a_secret_that_a_step_returned_is_asked_for_again_and_one_in_the_arguments_ends_the_run(
    begin: Begin, flexcore: Command, write: Writer, home: Path, folder: Path
) -> None:
    """Neither is kept; a reference to one is."""
    Store(home).set_variable("f/x/key", "open-sesame", True, None)
    write.script("f/x/s", "def main(key):\n    return key\n")
    given = {"folder": json.dumps(str(folder)), "name": "'held'", "value": "results.read", "hold": "true"}
    write.flow("f/x/y", [call("read", "script", "f/x/s", key="flow_input.key"), raw("held", STEP, given)])
    kill_at(begin("workflow", "execute", "f/x/y", "--args", '{"key": "$var:f/x/key"}'), folder)
    (folder / "go").touch()
    run = json.loads(flexcore("workflow", "list", "--executions", "--json").stdout)[0]
    with Engine(write.root, home) as engine:
        assert engine.wait(engine.recover(run["id"])).result == "open-sesame"
        engine.variables.variable("f/x/key")
        job = engine.start("f/x/s", {"key": "open-sesame"})
        assert engine.wait(job).success
        engine.store.update_job(job.id, result={"error": {"name": "EngineDied", "message": ""}})
        with pytest.raises(UnknownPath, match="held a secret"):
            engine.recover(job.id)
    written = [file for file in home.rglob("*") if file.is_file() and "envs" not in file.parts]
    assert [file.name for file in written if b"open-sesame" in file.read_bytes()] == ["secrets.json"]
    assert (home / "secrets.json").stat().st_mode & 0o77 == 0
