"""The supervisor: nothing outlives the owner, and what a tree used is measured."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from f.flexcore.lib.meltano import (
    process,
)
from f.flexcore.lib.meltano.installation import try_lock
from f.flexcore.lib.meltano.process import run_supervised
from tests.meltano.conftest import ROOT, alive, wait_for

BASE = {"PATH": os.environ["PATH"]}


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


def test_lines_of_both_streams_and_the_exit_code_come_back(tmp_path: Path) -> None:
    lines: list[str] = []
    code = "import sys; print('out', flush=True); print('err', file=sys.stderr); sys.exit(3)"
    outcome = run_supervised(python(code), BASE, tmp_path, 30, lines.append)
    assert sorted(lines) == ["err", "out"]
    assert (outcome.exit_code, outcome.stopped) == (3, "")


def test_a_signal_is_an_exit_code_of_its_own(tmp_path: Path) -> None:
    code = "import os; os.kill(os.getpid(), 11)"
    assert run_supervised(python(code), BASE, tmp_path, 30, lambda line: None).exit_code == 139


def test_a_bar_comes_back_as_its_last_state_and_bytes_as_text(tmp_path: Path) -> None:
    lines: list[str] = []
    code = (
        "import sys\nfor step in range(3000):\n    sys.stdout.write(f'\\r\\x1b[32mEpoch\\x1b[0m {step}')\n"
        "sys.stdout.flush(); sys.stdout.buffer.write(b'\\ncaf\\xe9\\n')"
    )
    assert run_supervised(python(code), BASE, tmp_path, 30, lines.append).exit_code == 0
    assert lines == ["Epoch 2999", "caf\ufffd"]


SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGCHLD")
IGNORED = """
import os, signal, sys
for name in %r:
    signal.signal(getattr(signal, name), signal.SIG_IGN)
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1], *sys.argv[2:]])
"""
ASKED = "import signal; print([str(signal.getsignal(getattr(signal, name))) for name in %r])"
RUN = """
import sys
from pathlib import Path
from f.flexcore.lib.meltano.process import run_supervised
print(run_supervised([sys.executable, "-S", "-c", sys.argv[1]], {}, Path("/"), 30, print).exit_code)
"""


def test_a_command_can_be_interrupted_though_whoever_started_the_step_ignores_signals() -> None:
    """As nohup and the `&` of a shell make it."""
    done = subprocess.run(
        [sys.executable, "-c", IGNORED % (SIGNALS,), RUN, ASKED % (SIGNALS,)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "SIG_IGN" not in done.stdout and done.stdout.splitlines()[-1] == "0"


def test_cpu_and_memory_are_those_of_the_whole_tree(tmp_path: Path) -> None:
    burn = (
        "import time\nx = bytearray(120_000_000)\nend = time.process_time() + 0.7\n"
        "while time.process_time() < end: pass"
    )
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {burn!r}])"
    outcome = run_supervised(python(code), BASE, tmp_path, 60, lambda line: None)
    assert outcome.cpu_seconds and 0.7 <= outcome.cpu_seconds < 5
    assert outcome.peak_memory_bytes and 120_000_000 < outcome.peak_memory_bytes < 400_000_000


def test_at_the_deadline_the_command_may_end_by_itself(tmp_path: Path) -> None:
    lines: list[str] = []
    code = (
        "import signal, sys, time\n"
        "def end(*_):\n    print('drained', flush=True); sys.exit(7)\n"
        "signal.signal(signal.SIGTERM, end)\ntime.sleep(600)"
    )
    outcome = run_supervised(python(code), BASE, tmp_path, 1.0, lines.append)
    assert (outcome.exit_code, outcome.stopped, lines) == (7, "deadline", ["drained"])


def test_what_ignores_the_request_and_what_left_the_group_are_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "GRACE_S", 0.3)
    pids: list[str] = []
    code = (
        "import signal, subprocess, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print(subprocess.Popen(['sleep', '600'], start_new_session=True).pid, flush=True)\ntime.sleep(600)"
    )
    started = time.monotonic()
    outcome = run_supervised(python(code), BASE, tmp_path, 1.0, pids.append)
    assert (outcome.exit_code, outcome.stopped) == (137, "deadline")
    assert time.monotonic() - started < 30
    assert not alive(int(pids[0]))


def test_a_child_left_behind_ends_with_the_command(tmp_path: Path) -> None:
    pids: list[str] = []
    code = "import subprocess; print(subprocess.Popen(['sleep', '600'], start_new_session=True).pid, flush=True)"
    assert run_supervised(python(code), BASE, tmp_path, 30, pids.append).exit_code == 0
    assert not alive(int(pids[0]))


OWNER = """
import os, sys
from pathlib import Path
from f.flexcore.lib.meltano import (process,)
process.GRACE_S = 0.5
code = ("import signal, subprocess, time, os; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print(os.getpid(), subprocess.Popen(['sleep', '600'], start_new_session=True).pid, flush=True); "
        "time.sleep(600)")
lock = os.open(sys.argv[1] + "/lock", os.O_RDWR | os.O_CREAT)
import fcntl; fcntl.flock(lock, fcntl.LOCK_EX)
process.run_supervised([sys.executable, "-S", "-c", code], dict(os.environ), Path(sys.argv[1]), 600,
                       lambda line: print(line, flush=True), [lock], Path(sys.argv[1]) / "work")
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.fault(1, "I4", real=True)
@pytest.mark.fault(28, "I4", real=True)
def test_when_the_owner_dies_its_tree_dies_its_folder_goes_and_only_then_its_lock_is_free(
    tmp_path: Path, number: int
) -> None:
    (tmp_path / "work").mkdir()
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert owner.stdout
    pids = [int(pid) for pid in owner.stdout.readline().split()]
    owner.send_signal(number)
    owner.wait(30)
    lock = os.open(tmp_path / "lock", os.O_RDWR)
    wait_for(lambda: try_lock(lock), "the lock is free")
    assert not any(alive(pid) for pid in pids)
    if number == signal.SIGKILL:
        assert not (tmp_path / "work").exists()
    fcntl.flock(lock, fcntl.LOCK_UN)
    os.close(lock)


def test_a_supervisor_whose_owner_is_gone_already_starts_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "started"
    arguments = ["1", "1", "60", "1", "", "touch", str(marker)]
    done = subprocess.run([sys.executable, "-I", "-S", "-c", process.SOURCE, *arguments], check=False)
    assert done.returncode == 1 and not marker.exists()


def test_the_report_is_plain_json(tmp_path: Path) -> None:
    read, write = os.pipe()
    arguments = [str(os.getpid()), str(write), "60", "1", "", "true"]
    subprocess.run([sys.executable, "-I", "-S", "-c", process.SOURCE, *arguments], pass_fds=[write], check=True)
    os.close(write)
    with os.fdopen(read) as report:
        assert json.load(report) | {"cpu_seconds": 0, "peak_memory_bytes": 0} == {
            "exit_code": 0,
            "stopped": "",
            "cpu_seconds": 0,
            "peak_memory_bytes": 0,
        }
