"""Runs one Python step in a process of its own, under the contract of a Windmill worker.

The environment holds what a worker gives and nothing else; the script finds stdin empty; the working directory is the
job directory. Cancel and time-out are a SIGKILL to the whole process group: no signal handler, no `finally`. Nothing is
polled: one thread drains the output, one waits for the exit, a timer enforces the time limit.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from wmlocal.engine.environments import Environments
from wmlocal.engine.errors import BadBundle, EnvironmentFailed, Rejected
from wmlocal.engine.jobs import Job
from wmlocal.engine.own_environment import copy_environment
from wmlocal.engine.signature import Unparsable, read_signature
from wmlocal.engine.watchdog import Watchdog
from wmlocal.engine.wrapper import write_job_files

# Log lines are written together this often: a write for each line would slow a chatty step.
LOG_INTERVAL_S = 0.2
# A child that outlives the step may hold the pipe open; Windmill waits as long for the rest of the output.
DRAIN_S = 0.05
# Windmill's default for the longest job.
DEFAULT_TIMEOUT_S = 7 * 24 * 3600
# Windmill quotes as much of the log when a process ends without a result.
LOG_TAIL = 600
# A line that never ends is cut, so that it neither piles up in memory nor stays invisible.
MAX_LINE_CHARS = 1 << 16
STREAM = "WM_STREAM: "
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
# What a laptop needs beyond a worker: where the engine keeps things, and certificates and indexes of this machine.
PASSED_ON = ("FLEXCORE_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
PASSED_ON_PREFIXES = ("PIP_", "UV_")


@dataclass(frozen=True, slots=True)
class Task:
    """A script to run as a job."""

    job: Job
    source: str
    lock: str | None
    envs: dict[str, str] = field(default_factory=dict)
    runnable_id: str = ""
    # Whether the script's own `preprocessor` is to make its arguments.
    preprocess: bool = False
    # The function that is run: `preprocessor` for a flow's own.
    entrypoint: str = "main"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`text` is the JSON of `value`: the result, or the error of a failure; `args` those of a preprocessor."""

    success: bool
    value: Any
    text: str
    args: dict[str, Any] | None = None


@dataclass(frozen=True)
class Surroundings:
    """What a worker needs to know of its engine."""

    home: Path
    root: Path
    workspace: str
    user: str
    email: str
    environments: Environments
    watchdog: Watchdog
    base_url: Callable[[], str]
    token_for: Callable[[Job], str]
    resolve: Callable[[dict[str, Any]], dict[str, Any]]
    mask: Callable[[str], str]
    add_log: Callable[[Job, str], None]
    read_logs: Callable[[Job], str]
    module_source: Callable[[str], str | None]


def run_task(task: Task, around: Surroundings) -> Outcome:
    job = task.job
    if job.cancel.requested:
        return build_failure(job.cancel.as_error())
    job_dir = around.home / "jobs" / job.id
    job_dir.mkdir(parents=True)
    try:
        return _run_in(job_dir, task, around)
    except (BadBundle, Rejected, Unparsable) as error:
        return build_failure(_execution_error(job, str(error)))
    except EnvironmentFailed as error:
        if job.cancel.requested:
            return build_failure(job.cancel.as_error())
        around.add_log(job, f"{error}\n")
        return build_failure(_execution_error(job, str(error)))
    finally:
        shutil.rmtree(job_dir, ignore_errors=True)


def _run_in(job_dir: Path, task: Task, around: Surroundings) -> Outcome:
    job = task.job
    lock = (
        task.lock
        if task.lock is not None
        else around.environments.lock_for(task.source, around.module_source, job.cancel)
    )
    python = around.environments.python_for(lock, job.cancel)
    preprocessor = read_signature(task.source, "preprocessor") if task.preprocess else None
    signature = read_signature(task.source, task.entrypoint)
    write_job_files(job_dir, job.runnable_path, task.source, signature, around.root, preprocessor, task.entrypoint)
    arguments = json.dumps(around.resolve(job.args))
    (job_dir / "args.json").write_text(around.mask(arguments), encoding="utf-8")
    _make_shared(job_dir, job, around.home / "shared")
    around.add_log(job, f"\n\n--- PYTHON ({sys.version_info.major}.{sys.version_info.minor}) CODE EXECUTION ---\n")
    with tempfile.TemporaryFile() as given:
        given.write(arguments.encode())
        given.seek(0)
        process = _Process(python, job_dir, build_environment(task, around), job, around, given)
    outcome = _outcome(process.wait(), process, job_dir, job, around)
    if task.preprocess and outcome.success:
        return replace(outcome, args=json.loads((job_dir / "args.json").read_text(encoding="utf-8")))
    return outcome


def _make_shared(job_dir: Path, job: Job, folders: Path) -> None:
    """`./shared` is there always; with same_worker it is that of the outermost flow which has same_worker."""
    owner = job
    while owner.same_worker and owner.parent:
        owner = owner.parent
    if owner is job:
        (job_dir / "shared").mkdir()
        return
    (folders / owner.id).mkdir(parents=True, exist_ok=True)
    (job_dir / "shared").symlink_to(folders / owner.id)


class _Process:
    def __init__(
        self, python: Path, job_dir: Path, env: dict[str, str], job: Job, around: Surroundings, given: IO[bytes]
    ) -> None:
        self.killed_for = ""
        self.streamed: list[str] = []
        self._job, self._around = job, around
        self._ended = threading.Event()
        self._lock = threading.Lock()
        reading, writing = os.pipe()
        try:
            self._process = subprocess.Popen(
                [str(python), "-u", "-m", "wrapper"],
                cwd=job_dir,
                env=env,
                stdin=given,
                stdout=writing,
                stderr=writing,
                start_new_session=True,
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        around.watchdog.guard(self._process.pid)
        self._reader = threading.Thread(target=self._drain, args=(reading,), daemon=True)
        self._reader.start()

    def wait(self) -> int:
        limit = DEFAULT_TIMEOUT_S if self._job.timeout is None else self._job.timeout
        # A timer beyond a thread's limit raises; no step runs that long anyway.
        timer = threading.Timer(min(limit, DEFAULT_TIMEOUT_S), self._kill, ["timeout"])
        timer.daemon = True
        timer.start()
        stop_listening = self._job.cancel.listen(lambda: self._kill("cancellation"))
        try:
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        finally:
            timer.cancel()
            stop_listening()
        with self._lock:  # from here on the process id may be reused, so nothing may be killed any more
            self._ended.set()
            code = self._process.wait()
        self._reader.join()
        self._around.watchdog.release(self._process.pid)
        return code

    def _kill(self, reason: str) -> None:
        with self._lock:
            if not self._ended.is_set():
                self.killed_for = self.killed_for or reason
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)

    def _drain(self, reading: int) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        pending, next_write, deadline = "", 0.0, 0.0
        with contextlib.closing(os.fdopen(reading, "rb", buffering=0)) as pipe:
            while True:
                if self._ended.is_set():
                    deadline = deadline or time.monotonic() + DRAIN_S
                ready, _, _ = select.select([pipe], [], [], LOG_INTERVAL_S if not deadline else DRAIN_S)
                chunk = pipe.read(1 << 16) if ready else None
                pending += decoder.decode(chunk or b"", final=chunk == b"")
                finished = chunk == b"" or (deadline and time.monotonic() > deadline)
                if pending and (finished or time.monotonic() >= next_write):
                    pending = self._log(pending, bool(finished))
                    next_write = time.monotonic() + LOG_INTERVAL_S
                if finished:
                    return

    def _log(self, text: str, last: bool) -> str:
        """Writes whole lines and returns the rest; stream lines are part of the result, not of the log."""
        whole, _, rest = (text, "", "") if last else text.rpartition("\n")
        if not whole and (len(text) < MAX_LINE_CHARS or text.startswith(STREAM)):
            return text
        whole, rest = (whole, rest) if whole else (text, "")
        kept = []
        for line in whole.split("\n"):
            if line.startswith(STREAM):
                self.streamed.append(line.removeprefix(STREAM).replace("\\n", "\n"))
            elif line:
                kept.append(line + "\n")
        if kept:
            self._around.add_log(self._job, "".join(kept))
        return rest


def _outcome(code: int, process: _Process, job_dir: Path, job: Job, around: Surroundings) -> Outcome:
    if process.killed_for == "cancellation":
        return build_failure(job.cancel.as_error())
    if process.killed_for == "timeout":
        limit = "job-specific" if job.timeout is not None else "instance-wide"
        return build_failure(
            _execution_error(job, f"job process terminated due to timeout after exceeding {limit} duration limit")
        )
    if code < 0:
        return build_failure(
            _execution_error(
                job, f"process terminated by signal: Some(\n    {-code},\n), stopped_signal: None, core_dumped: false"
            )
        )
    file = job_dir / "result.json"
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    if code == 0:
        return _read_success(text, process.streamed)
    if text:
        # What the step leaves there is passed on only when it is strict JSON.
        try:
            return build_failure(json.loads(text, parse_constant=_refuse))
        except ValueError:
            return build_failure({"message": f"Non serializable error: {text}"})
    tail = around.read_logs(job)[-LOG_TAIL:].split("CODE EXECUTION ---")[-1]
    error = {
        "message": f'exit code for "python run": {code}, last log lines:\n{ANSI.sub("", tail.strip())}',
        "name": "ExecutionErr",
        "exit_code": code,
    }
    return build_failure(error | ({"step_id": job.step_id} if job.step_id else {}))


def _read_success(text: str, streamed: list[str]) -> Outcome:
    if not text:
        return build_failure({"message": "Internal: Result of job is invalid json (empty)", "name": "InternalErr"})
    value = json.loads(text)
    if streamed and value is None:
        value = "".join(streamed)
    elif streamed and isinstance(value, dict):
        value["wm_stream"] = "".join(streamed)
    else:
        return Outcome(True, value, text)
    return Outcome(True, value, json.dumps(value))


def build_failure(error: Any) -> Outcome:
    value = {"error": error}
    return Outcome(False, value, json.dumps(value))


def _refuse(name: str) -> Any:
    raise ValueError(name)


def _execution_error(job: Job, message: str) -> dict[str, Any]:
    error = {"message": f"execution error:\n{message}", "name": "ExecutionErr"}
    return error | ({"step_id": job.step_id} if job.step_id else {})


def build_environment(task: Task, around: Surroundings) -> dict[str, str]:
    own = copy_environment()
    allowed = [name.strip() for name in own.get("WHITELIST_ENVS", "").split(",") if name.strip()]
    passed = {
        name: value
        for name, value in own.items()
        if name in (*PASSED_ON, *PROXIES, *allowed) or name.startswith(PASSED_ON_PREFIXES)
    }
    if home := passed.get("FLEXCORE_HOME"):
        # A step runs in a folder of its own.
        passed["FLEXCORE_HOME"] = str(Path(home).absolute())
    url = around.base_url()
    return {
        **task.envs,
        **passed,
        **_identity(task, around),
        "PATH": own.get("PATH", os.defpath),
        "HOME": own.get("HOME", "/tmp"),
        "TZ": own.get("TZ", ""),
        "BASE_INTERNAL_URL": url,
        "WM_BASE_URL": url,
    }


def _identity(task: Task, around: Surroundings) -> dict[str, str]:
    job = task.job
    flow_path = job.parent.runnable_path if job.parent else ""
    scheduled = datetime.fromtimestamp(job.scheduled or job.created, UTC)
    return {
        "WM_WORKSPACE": around.workspace,
        "WM_TOKEN": around.token_for(job),
        "WM_EMAIL": around.email,
        "WM_USERNAME": around.user,
        "WM_END_USER_EMAIL": "",
        "WM_PERMISSIONED_AS": f"u/{around.user}",
        "WM_JOB_ID": job.id,
        "WM_JOB_PATH": job.path or "",
        "WM_FLOW_JOB_ID": job.parent.id if job.parent else "",
        "WM_ROOT_FLOW_JOB_ID": job.innermost or "",
        "WM_ROOT_JOB_ID": job.root,
        "WM_FLOW_PATH": flow_path,
        "WM_FLOW_STEP_ID": job.step_id or "",
        "WM_SCHEDULE_PATH": "",
        "WM_SCHEDULED_FOR": scheduled.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "WM_STATE_PATH": _state_path(job, flow_path, around.user),
        "WM_OBJECT_PATH": _object_path(job, flow_path),
        "WM_WORKER_GROUP": "default",
        "WM_RUNNABLE_ID": task.runnable_id,
        "WM_TESTED_RUNNABLE": "",
    }


def _state_path(job: Job, flow_path: str, user: str) -> str:
    if job.parent:
        return f"{flow_path}/{job.step_id or 'nostep'}_user"
    if job.path:
        return f"{job.path}state/user" if job.path.endswith("/") else f"{job.path}/user"
    return f"u/{user}/tmp_state"


def _object_path(job: Job, flow_path: str) -> str:
    unique = f"{int(time.time() * 1000)}_{job.id}"
    if job.parent:
        return f"{flow_path.replace('/', '_')}/manual/{job.step_id or ''}/{unique}"
    return f"{(job.path or '').replace('/', '_')}/manual/{unique}"
