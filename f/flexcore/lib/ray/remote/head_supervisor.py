# requirements: flexcore_base
"""Keeps one Ray head of this machine for as long as somebody has a lease of it, then ends it and all that it started.

Runs as a program of its own, `python head_supervisor.py FOLDER`, by the standard library alone: the step that starts it
has long ended when the head does. FOLDER holds
    config.json   {command, environment, temp, leases}: how to start, and the folder of the leases' record
    lock          held while a supervisor lives: of two that start at once one goes on
    head.json     {pid, started} while the head runs          exit.json   {code, log} of a head that ended by itself
Ending is a change of the record like any other (`ended`), made on top of the version that had no lease: a lease that
comes meanwhile wins, or finds the head ended and starts another.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

POLL_INTERVAL_S = 0.5
# What an ensure needs between its lease and the start of this program, and the other way round.
LOCK_TIMEOUT_S = 60.0
STOP_GRACE_S = 5.0
LOG_TAIL_BYTES = 3000
# Every process of a head inherits it; its value is the head's own folder.
MARK = "FLEXCORE_RAY_HEAD"
DIGITS = 12


def keep(folder: Path) -> None:
    if os.fork():
        # Whoever starts it need not wait for it.
        os._exit(0)
    config = json.loads((folder / "config.json").read_text())
    with (folder / "lock").open("w") as lock:
        if not take_lock(lock.fileno()):
            return
        (folder / "exit.json").unlink(missing_ok=True)
        supervise(folder, config)


def take_lock(handle: int, timeout_s: float = LOCK_TIMEOUT_S) -> bool:
    until = time.monotonic() + timeout_s
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if time.monotonic() > until:
            return False
        time.sleep(0.1)


def supervise(folder: Path, config: dict[str, Any]) -> None:
    temp = Path(config["temp"])
    temp.mkdir(parents=True, exist_ok=True)
    # One that was killed together with its supervisor may have left processes behind.
    kill_marked(folder)
    with (folder / "head.log").open("wb") as log:
        head = subprocess.Popen(
            config["command"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **config["environment"], MARK: str(folder)},
            start_new_session=True,
        )
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    write(folder / "head.json", {"pid": head.pid, "supervisor": os.getpid(), "started": time.time()})
    try:
        while head.poll() is None and not stopped and not claim_end(Path(config["leases"])):
            time.sleep(POLL_INTERVAL_S)
        if head.returncode is not None:
            content = (folder / "head.log").read_bytes()[-LOG_TAIL_BYTES:]
            write(folder / "exit.json", {"code": head.returncode, "log": content.decode(errors="replace")})
    finally:
        (folder / "head.json").unlink(missing_ok=True)
        end(head, folder)
        (folder / "auth_token").unlink(missing_ok=True)
        shutil.rmtree(temp, ignore_errors=True)


def claim_end(leases: Path) -> bool:
    """Whether the head's time is over: nobody has a lease that still runs, and nobody got one before it was said."""
    version, value = read_record(leases)
    if value is None or value.get("ended"):
        return value is not None
    if time.time() < find_deadline(value["book"]):
        return False
    part = leases / f"{os.getpid()}.part"
    part.write_text(json.dumps({"written": time.time(), "value": {**value, "ended": True}}))
    try:
        os.link(part, leases / f"{version + 1:0{DIGITS}d}.json")
    except FileExistsError:
        return False
    finally:
        part.unlink()
    return True


def find_deadline(book: dict[str, Any]) -> float:
    """When the last lease is over; without one, when the idle time is."""
    if book["leases"]:
        return max(float(item["renewed"]) + float(item["duration_s"]) for item in book["leases"])
    return float(book["idle_since"] or 0) + float(book["keep_idle_s"])


def read_record(leases: Path) -> tuple[int, dict[str, Any] | None]:
    for path in sorted(leases.glob("*.json"), reverse=True):
        with suppress(OSError, ValueError):
            return int(path.stem), json.loads(path.read_text())["value"]
    return 0, None


def write(path: Path, value: Any) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value))
    part.replace(path)


def end(head: subprocess.Popen[bytes], folder: Path) -> None:
    if head.poll() is None:
        head.terminate()
        with suppress(subprocess.TimeoutExpired):
            head.wait(STOP_GRACE_S)
    with suppress(ProcessLookupError):
        os.killpg(head.pid, signal.SIGKILL)
    head.wait()
    kill_marked(folder)


def kill_marked(folder: Path) -> None:
    """Kills whatever still carries the head's mark: a job's own process runs in a session of its own."""
    mark = f"{MARK}={folder}".encode()
    until = time.monotonic() + STOP_GRACE_S
    while time.monotonic() < until:
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
        if not found:
            return
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
