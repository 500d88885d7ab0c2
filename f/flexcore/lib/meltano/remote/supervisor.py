# requirements: flexcore_base
"""Runs one command so that nothing of it outlives its owner: the program that stands between a step and Meltano.

It is started from its source (`python -I -S -c`), in a session of its own, and uses the standard library alone. A
worker kills a step with SIGKILL: no handler of the step can clean up, but the kernel tells this process (parent-death
signal).

on SIGTERM, SIGINT, the owner's death or the deadline: SIGTERM to the command, which drains; after the grace SIGKILL to
its process group and to every descendant that left the group (orphans come here: child subreaper).
On the command's own end: whatever it left behind is killed. Then a JSON report goes to the report descriptor:
  exit_code     128 + signal when a signal ended it
  stopped       "" | "deadline" | "signal": why it was stopped from outside
  cpu_seconds   user and system time of the command and all its descendants (wait4 of the kernel)
  peak_memory_bytes   highest sum of resident memory over the tree, sampled every SAMPLE_S
The descriptors that it inherits (locks) stay open until all is dead, so a lock is never free while work still runs.

Arguments: owner pid, report descriptor, deadline in seconds, grace in seconds, folder to remove when the owner died,
then the command. Linux only, like the workers.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from typing import TypedDict

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
# Short enough to see a load's peak, long enough to cost nothing (0.2 ms of CPU each).
SAMPLE_INTERVAL_S = 0.25
SIGNALS = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT}
# What nohup and a shell's `&` make a program ignore, and all that it starts.
RESET_SIGNALS = (*SIGNALS, signal.SIGHUP, signal.SIGQUIT)
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Report(TypedDict):
    exit_code: int
    stopped: str
    cpu_seconds: float
    peak_memory_bytes: int | None


def supervise(arguments: list[str]) -> int:
    owner, report, deadline_s, grace_s = int(arguments[0]), int(arguments[1]), float(arguments[2]), float(arguments[3])
    leftovers, command = arguments[4], arguments[5:]
    set_default_signals()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != owner:
        return 1
    outcome = run(command, time.monotonic() + deadline_s, grace_s)
    if os.getppid() != owner:
        shutil.rmtree(leftovers, ignore_errors=True)
    # The owner may be gone and its end of the pipe with it.
    with contextlib.suppress(OSError):
        os.write(report, json.dumps(outcome).encode())
    return outcome["exit_code"] & 0xFF


def run(command: list[str], deadline: float, grace_s: float) -> Report:
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0, preexec_fn=prepare_child)
    cpu, peak, stopped, kill_at = 0.0, 0, "", float("inf")
    status: int | None = None
    while status is None:
        received = signal.sigtimedwait(SIGNALS, SAMPLE_INTERVAL_S)
        now = time.monotonic()
        peak = max(peak, resident_bytes())
        if not stopped and (now > deadline or (received and received.si_signo != signal.SIGCHLD)):
            stopped = "deadline" if now > deadline else "signal"
            kill_at = now + grace_s
            os.kill(child.pid, signal.SIGTERM)
        if now > kill_at:
            kill_all(child.pid)
        status, used = reap(child.pid)
        cpu += used
    return {
        "exit_code": os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status),
        "stopped": stopped,
        "cpu_seconds": round(cpu + kill_leftovers(child.pid), 3),
        "peak_memory_bytes": peak or None,
    }


def prepare_child() -> None:
    # When this process itself is killed, the command gets a signal; and it must not inherit blocked ones.
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def set_default_signals() -> None:
    """Undoes what this process has inherited from a starter that ignores signals: without SIGCHLD no child is seen to
    end, without SIGINT a plugin cannot be interrupted."""
    for number in RESET_SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def reap(leader: int) -> tuple[int | None, float]:
    """Collects what has ended: the leader's wait status when it is among them, and the CPU seconds of all."""
    status, cpu = None, 0.0
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, ended, usage = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                break
            cpu += usage.ru_utime + usage.ru_stime
            if pid == leader:
                status = ended
    return status, cpu


def kill_leftovers(leader: int) -> float:
    """Kills and collects all that the leader left behind; returns their CPU seconds."""
    cpu = 0.0
    while list_descendants():
        kill_all(leader)
        cpu += reap(leader)[1]
        time.sleep(0.01)
    return cpu


def kill_all(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)
    for pid in list_descendants():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def list_descendants() -> list[int]:
    found, queue = [], [os.getpid()]
    while queue:
        children = list_children(queue.pop())
        found += children
        queue += children
    return found


def list_children(pid: int) -> list[int]:
    # Children belong to the thread that made them.
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.scandir(f"/proc/{pid}/task"):
            found += [int(child) for child in read_proc(f"{task.path}/children").split()]
    return found


def resident_bytes() -> int:
    pages = (read_proc(f"/proc/{pid}/statm").split() for pid in list_descendants())
    return sum(int(numbers[1]) for numbers in pages if len(numbers) > 1) * PAGE_BYTES


def read_proc(path: str) -> bytes:
    """A short file of /proc; empty when its process has gone."""
    with contextlib.suppress(OSError):
        file = os.open(path, os.O_RDONLY)
        try:
            return os.read(file, 65536)
        finally:
            os.close(file)
    return b""


def prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(supervise(sys.argv[1:]))
