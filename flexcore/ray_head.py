"""A Ray head of one's own on this machine, for as long as one needs it.

    with RayHead(folder) as head:
        head.address    # http://127.0.0.1:PORT, the dashboard and its Jobs API
        head.resource   # the same with its token, as a c_ray_cluster

The head asks for a token, which only `folder` and this object have: on a machine with several users, loopback alone
keeps nobody out of an API that runs programs.
`ray start --block` runs as a child in a process group of its own; it ends its daemons when it is told to stop, and it
is told so when its parent dies. All ports are free ones, so several heads live side by side.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from f.flexcore.lib.core import errors
from f.flexcore.lib.ray import local_head

# The dashboard answers a few seconds after the start; on a loaded two-core machine it has taken 40.
START_TIMEOUT_S = 120.0
# Ray's daemons end within seconds of SIGTERM, or wait for an application that they serve; then they are killed.
STOP_TIMEOUT_S = 5.0
# Data of a table of some million rows; Ray's default of 30 % of the machine's memory is too much for a laptop.
OBJECT_STORE_BYTES = local_head.OBJECT_STORE_BYTES
# Ray Serve's replica, Ray Train's worker and Ray Data's tasks reserve whole CPUs side by side, and mostly wait.
LEAST_CPUS = 4
# What `ray start` writes once its node is there.
STARTED = b"Ray runtime started"
PR_SET_PDEATHSIG = 1
TEMP_PREFIX = "fc-ray-"
# Where the head reads its token, which then stands in no argument list.
TOKEN_FILE = "auth_token"
# Every process of a head inherits it; its value is the head's own folder.
MARK = "FLEXCORE_RAY_HEAD"


class RayHead:
    """Starts on `start()` or `with`; `address` is known before the head answers. Raises RayHeadError.

    token: what the head shall ask for; by default a new one at each start."""

    def __init__(
        self,
        folder: Path,
        num_cpus: int | None = None,
        object_store_bytes: int = OBJECT_STORE_BYTES,
        token: str | None = None,
    ) -> None:
        self.folder = folder
        self.num_cpus = num_cpus or max(LEAST_CPUS, os.cpu_count() or 1)
        self.object_store_bytes = object_store_bytes
        self.log = folder / "head.log"
        self.address = ""
        self._given_token, self.token = token, ""
        self._process: subprocess.Popen[bytes] | None = None
        self._temp: Path | None = None

    @property
    def resource(self) -> dict[str, str]:
        """The fields of a c_ray_cluster for this head."""
        return {"address": self.address, "token": self.token}

    @property
    def temp(self) -> Path | None:
        """The folder of this start, by which `end_leftovers` knows what it has started; None when there is none."""
        return self._temp

    def is_running(self) -> bool:
        """Whether the head's own process lives: it ends by itself when one of its daemons has died."""
        return self._process is not None and self._process.poll() is None

    @property
    def headers(self) -> dict[str, str]:
        """Headers of a request that the head answers."""
        return {"Authorization": f"Bearer {self.token}"}

    def __enter__(self) -> RayHead:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, wait: bool = True) -> RayHead:
        """Starts the head; without `wait` it returns at once, and `wait_ready` may be called later."""
        self.folder.mkdir(parents=True, exist_ok=True)
        dashboard, client, agent, agent_grpc, runtime_env, metrics = free_ports(6)
        # A socket's path may have 107 characters, and Ray needs about 60 of them.
        self._temp = Path(tempfile.mkdtemp(prefix=TEMP_PREFIX, dir="/tmp"))
        self.address = f"http://127.0.0.1:{dashboard}"
        token_file = self._write_token()
        ray = [sys.executable, "-c", "from ray.scripts.scripts import main; main()"]
        options = {
            "node-ip-address": "127.0.0.1",
            "port": 0,
            "num-cpus": self.num_cpus,
            "dashboard-host": "127.0.0.1",
            "dashboard-port": dashboard,
            "ray-client-server-port": client,
            "dashboard-agent-listen-port": agent,
            "dashboard-agent-grpc-port": agent_grpc,
            "runtime-env-agent-port": runtime_env,
            "metrics-export-port": metrics,
            "object-store-memory": self.object_store_bytes,
            "temp-dir": self._temp,
            "include-dashboard": "true",
        }
        arguments = [f"--{name}={value}" for name, value in options.items()]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*ray, "start", "--head", "--block", "--disable-usage-stats", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=head_environment(token_file) | {MARK: str(self._temp)},
                start_new_session=True,
                preexec_fn=die_with_parent(os.getpid()),
            )
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Returns when the head says that it runs, and its dashboard answers and has an agent that can take jobs.

        The dashboard alone is not a sign: it answers before the node has registered, and ends with a head whose node
        does not do so within Ray's own 30 s."""
        deadline = time.monotonic() + timeout_s
        ready = (f"{self.address}/api/version", f"{self.address}/api/jobs/")
        while not (STARTED in self.log.read_bytes() and all(self._answers(url) for url in ready)):
            if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                tail = self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""
                self.stop()
                raise RayHeadError(f"The Ray head did not start; see its log {self.log}, and try again:\n{tail}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Ends the head and every process that it started; harmless when there is none."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)
        if self._temp is not None:
            _kill_processes(self._temp)
            shutil.rmtree(self._temp, ignore_errors=True)
            self._temp = None

    def _write_token(self) -> Path:
        """A new token in a file that its owner alone may read. Jobs of this head read it there, too."""
        self.token = self._given_token or secrets.token_hex(32)
        file = self.folder.resolve() / TOKEN_FILE
        file.unlink(missing_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(self.token)
        return file

    def _answers(self, url: str) -> bool:
        request = urllib.request.Request(url, headers=self.headers)
        # It is on loopback: a proxy of the environment would not reach it, and would see its token.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


class RayHeadError(errors.Unavailable):
    """The local Ray head did not come up."""


def end_leftovers(temp: Path) -> None:
    """Ends what a head has left whose keeper died, by the folder of its start; harmless when nothing is left."""
    if temp.name.startswith(TEMP_PREFIX):
        _kill_processes(temp)
        shutil.rmtree(temp, ignore_errors=True)


def head_environment(token_file: Path) -> dict[str, str]:
    """This process's environment without what would make the head join another cluster or talk too much."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    env.pop("PYTHONPATH", None)
    # Compiling Ray's modules anew in each of its dozen processes takes longer than all they do.
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    return env | {
        # A job starts as `python …`: it must be the interpreter that has Ray.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', os.defpath)}",
        **local_head.make_ray_settings(token_file),
    }


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    try:
        return local_head.free_ports(count)
    except errors.Unavailable as error:
        raise RayHeadError(str(error)) from None


def die_with_parent(parent: int) -> Callable[[], None]:
    """For the child: SIGTERM when its parent has died, even by SIGKILL (Linux; elsewhere nothing)."""
    if sys.platform != "linux":
        return lambda: None
    prctl = ctypes.CDLL(None).prctl

    def arm() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        # Ray cancels a task by SIGINT, which a shell's `&` makes ignored in all that it starts.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if os.getppid() != parent:
            os._exit(1)

    return arm


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _kill_processes(temp: Path) -> None:
    """Kills whatever still carries the head's mark: a job's own process runs in a session of its own and outlives
    the daemons."""
    until = time.monotonic() + STOP_TIMEOUT_S
    while (found := list(_find_marked(temp))) and time.monotonic() < until:
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def _find_marked(temp: Path) -> Iterator[int]:
    """Processes that were started, however indirectly, by the head with this folder (Linux; elsewhere none)."""
    mark = f"{MARK}={temp}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                yield int(entry.name)
