"""Nothing that the engine started outlives what ended it: cancel, time-out, Ctrl-C, a killed engine."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.wmlocal.engine.conftest import Command, Writer, eventually, is_alive, pids_in, raw
from wmlocal.engine import Engine

# A step with a child of its own: both write down who they are, and ignore every signal that can be ignored.
ROOT = Path(__file__).parents[3]
FAMILY = """
    import json, os, signal, subprocess, time
    def main(file):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        child = subprocess.Popen(["sleep", "300"])
        with open(file + ".new", "w") as f:
            json.dump([os.getpid(), child.pid], f)
        os.rename(file + ".new", file)
        time.sleep(300)
    """


@pytest.fixture
def family(write: Writer, tmp_path: Path) -> Path:
    """A flow whose step never ends; the file tells its process ids."""
    file = tmp_path / "pids.json"
    write.flow(
        "f/x/y",
        [raw("a", FAMILY, {"file": json.dumps(str(file))}), raw("b", "def main():\n    return 1\n")],
        failure_module=raw("failure", "def main():\n    return 'handled'\n"),
    )
    return file


def all_gone(file: Path) -> Callable[[], bool]:
    pids = eventually(lambda: pids_in(file))
    return lambda: not any(map(is_alive, pids))


@pytest.mark.fault(2, "I4", real=True)
def test_a_cancel_kills_the_whole_process_group_and_asks_no_failure_module(engine: Engine, family: Path) -> None:
    job = engine.start("f/x/y")
    gone = all_gone(family)
    assert engine.cancel(job.id, "enough", "me")
    done = engine.wait(job)
    eventually(gone, 2)
    assert done.result == {
        "error": {"message": "Job canceled: enough by me", "name": "Canceled", "reason": "enough", "canceler": "me"}
    }
    assert [row["status"] for row in engine.store.jobs("root = ?", [job.id])] == ["canceled", "canceled"]


@pytest.mark.fault(3, "I4", real=True)
def test_a_time_out_kills_the_whole_process_group(engine: Engine, write: Writer, tmp_path: Path) -> None:
    file = tmp_path / "pids.json"
    write.flow("f/x/y", [raw("a", FAMILY, {"file": json.dumps(str(file))}, timeout={"type": "static", "value": 1})])
    done = engine.run("f/x/y")
    assert "due to timeout" in done.result["error"]["message"]
    eventually(all_gone(file), 2)


def test_closing_the_engine_ends_what_runs(write: Writer, home: Path, family: Path) -> None:
    with Engine(write.root, home) as engine:
        engine.start("f/x/y")
        gone = all_gone(family)
    assert gone()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 5)])
def test_a_signal_ends_the_run_its_processes_and_the_command(
    begin: Callable[..., subprocess.Popen[str]], family: Path, number: signal.Signals, code: int
) -> None:
    command = begin("workflow", "execute", "f/x/y", "--json")
    gone = all_gone(family)
    command.send_signal(number)
    out, err = command.communicate(timeout=10)
    assert gone() and command.returncode == code and "Traceback" not in err
    assert json.loads(out)["result"]["error"]["name"] == "Canceled"


@pytest.mark.fault(1, "I4", real=True)
def test_a_killed_engine_takes_its_steps_along_and_the_next_one_says_so(
    begin: Callable[..., subprocess.Popen[str]], flexcore: Command, write: Writer, family: Path
) -> None:
    command = begin("workflow", "execute", "f/x/y")
    gone = all_gone(family)
    os.killpg(command.pid, signal.SIGKILL)
    eventually(gone, 5)
    write.script("f/x/s", "def main():\n    return 1\n")
    assert flexcore("workflow", "execute", "f/x/s").returncode == 0
    listed = json.loads(flexcore("workflow", "list", "--executions", "--json").stdout)
    assert [(job["workflow"], job["status"]) for job in listed] == [("f/x/s", "success"), ("f/x/y", "failure")]


def test_the_command_line_cancels_a_run_of_another_process(
    begin: Callable[..., subprocess.Popen[str]], flexcore: Command, family: Path
) -> None:
    command = begin("workflow", "execute", "f/x/y")
    gone = all_gone(family)
    job = json.loads(flexcore("workflow", "list", "--executions", "--json").stdout)[0]
    canceled = flexcore("workflow", "cancel", job["id"][:-4])
    assert canceled.returncode == 0, canceled.stderr
    assert command.wait(10) == 5 and gone()
    assert flexcore("workflow", "cancel", job["id"]).returncode == 2


def test_a_cancel_does_not_wait_for_an_environment_to_be_made(
    engine: Engine, write: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "bin" / "uv"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\necho [$$] > {tmp_path}/uv.json\nexec sleep 300\n", encoding="utf-8")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    write.script("f/x/s", "def main():\n    return 1\n", lock="some-package-that-takes-long==1.0\n")
    job = engine.start("f/x/s")
    gone = all_gone(tmp_path / "uv.json")
    begun = time.monotonic()
    engine.cancel(job.id)
    assert engine.wait(job).result["error"]["name"] == "Canceled"
    assert time.monotonic() - begun < 2
    eventually(gone, 2)


def test_a_child_that_keeps_the_output_open_does_not_hold_up_the_step(engine: Engine, write: Writer) -> None:
    write.script("f/x/s", "import subprocess\ndef main():\n    return subprocess.Popen(['sleep', '20']).pid\n")
    begun = time.monotonic()
    done = engine.run("f/x/s")
    assert time.monotonic() - begun < 5
    os.kill(done.result, signal.SIGKILL)


def test_a_sleeping_retry_and_a_waiting_parallel_job_can_be_canceled(engine: Engine, write: Writer) -> None:
    write.flow(
        "f/x/y", [raw("a", "def main():\n    raise ValueError\n", retry={"constant": {"attempts": 3, "seconds": 60}})]
    )
    job = engine.start("f/x/y")
    eventually(lambda: engine.store.jobs("parent = ? AND status = 'failure'", [job.id]))
    engine.cancel(job.id)
    assert engine.wait(job).result["error"]["name"] == "Canceled"
    assert not engine.store.jobs("status IN ('queued', 'running')")


def test_parallel_steps_run_at_the_same_time_up_to_the_limit(engine: Engine, write: Writer) -> None:
    def loop(at_once: int) -> dict[str, object]:
        step = raw(
            "b", "import time\ndef main():\n    t = time.time()\n    time.sleep(0.5)\n    return [t, time.time()]\n"
        )
        value = {
            "type": "forloopflow",
            "iterator": {"type": "static", "value": [1, 2, 3]},
            "parallel": True,
            "parallelism": {"type": "static", "value": at_once},
            "modules": [step],
            "skip_failures": False,
        }
        return {"id": "l", "value": value}

    def most(spans: list[list[float]]) -> int:
        return max(sum(begin <= at < end for begin, end in spans) for at, _ in spans)

    write.flow("f/x/one", [loop(1)])
    write.flow("f/x/all", [loop(3)])
    assert most(engine.run("f/x/one").result) == 1
    assert most(engine.run("f/x/all").result) == 3


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has arenas")
def test_the_threads_of_an_engine_take_memory_from_one_arena(write: Writer, home: Path) -> None:
    """malloc_info lists the arenas, each as a heap."""
    write.flow("f/x/y", [raw("a", "def main():\n    return 1\n")])
    code = """
import ctypes, sys
from wmlocal.engine import Engine
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
libc.fclose.argtypes = [ctypes.c_void_p]
with Engine(sys.argv[1], sys.argv[2]) as engine:
    jobs = [engine.start("f/x/y") for _ in range(6)]
    for job in jobs:
        assert engine.wait(job).success
    file = libc.fopen(sys.argv[3].encode(), b"w")
    libc.malloc_info(0, file)
    libc.fclose(file)
"""
    found = home / "malloc.xml"
    command = [sys.executable, "-c", code, str(write.root), str(home), str(found)]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=120)
    assert found.read_text().count("<heap nr=") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_interrupts_a_command_for_which_nothing_runs(engine: Engine, number: signal.Signals) -> None:
    with engine.handling_signals(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
