# requirements: flexcore_base
"""A Ray head on the worker's own machine, kept by a supervisor of its own for as long as somebody has a lease of it.

Below the worker's home: `ray/NAME/` (config, token, log) and `ray/leases/` (the leases' record). The folder is the
owner's alone, and the token stands in a file, in no argument list. A reference to it works on this machine alone.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from f.flexcore.lib.core import contracts, errors, module_source
from f.flexcore.lib.ray import dashboard, kuberay_diagnosis, lease, local_head_files, stored_leases
from f.flexcore.lib.storage import object_store

NAME = re.compile(r"[a-z]([-a-z0-9]{0,30}[a-z0-9])?")
# Above those of Ray's workers and below those that the system gives out by itself: a port of the latter may be another
# process's, one of this very head's even, before the daemon that it was meant for has started.
PORTS = range(20000, 30000)
OBJECT_STORE_BYTES = 400 * 1024 * 1024
SPAWN_TIMEOUT_S = 10.0
# What a head takes over from the worker; the rest (Windmill's token, settings of another Ray) is none of its business.
INHERITED = re.compile(
    r"PATH|HOME|USER|LANG|LC_\w+|TZ|TMPDIR|LD_LIBRARY_PATH|SSL_CERT_\w+|(?:CUDA|NVIDIA|UV|PIP)_\w+"
    r"|(?i:https?_proxy|no_proxy)"
)
STOP_TIMEOUT_S = 30.0
Object = dict[str, Any]


@dataclass(slots=True)
class LocalHead:
    """num_cpus: what Ray counts with; 0 means the machine's own. Raises InvalidInput for a wrong name."""

    name: str
    num_cpus: int = 0
    env: Mapping[str, str] = field(default_factory=lambda: os.environ)
    clock: Callable[[], float] = field(default=time.time)
    report: Callable[[str], None] = field(default=print)

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise errors.InvalidInput(
                f"cluster.local_head: {self.name!r} is not a name",
                subject="cluster.local_head",
                remedy="Use lower-case letters, digits and dashes, a letter first, at most 32.",
            )

    @property
    def folder(self) -> Path:
        return local_head_files.heads_folder(self.env) / self.name

    @property
    def leases(self) -> stored_leases.StoredLeases:
        return local_head_files.open_leases(self.name, self.env)

    @property
    def min_workers(self) -> int:
        return 0

    # --- leases

    def acquire(self, owner: lease.Owner, lease_s: float, keep_idle_s: float) -> tuple[lease.Lease, bool]:
        """(lease, whether the head has to be started for it). Raises NotFound where Ray is not installed."""
        find_ray(self.env)
        is_new = False

        def change(book: lease.LeaseBook) -> lease.Change:
            nonlocal is_new
            is_new = not book.leases and book.idle_since is None
            return lease.acquire(book, owner, self.clock(), lease_s, keep_idle_s)

        changed = self.leases.change(change)
        assert changed.lease is not None
        self.ensure_running()
        return changed.lease, is_new

    def release(self, reference: str) -> str:
        """What became of it: released (others hold it, or it is kept for a while), deleted, gone."""
        leases = self.leases
        if leases.is_ended():
            return "gone"
        changed = leases.change(lambda book: lease.release(book, reference, self.clock()))
        after = changed.book.delete_after
        if after is None or self.clock() < after:
            return "released"
        until = time.monotonic() + STOP_TIMEOUT_S
        while time.monotonic() < until:
            if leases.is_ended() and not self.is_supervised():
                return "deleted"
            if leases.read().leases:
                # Somebody else got a lease before the supervisor ended it.
                return "released"
            if not self.is_supervised() and not leases.is_ended():
                self._end_without_supervisor()
            time.sleep(0.1)
        return "released"

    # --- the head

    def ensure_running(self) -> None:
        """Starts a supervisor unless one lives. Safe to repeat."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder.chmod(0o700)
        with (self.folder / "spawn.lock").open("w") as spawning:
            # Of several ensures one writes the configuration and starts; the others then find a supervisor.
            fcntl.flock(spawning.fileno(), fcntl.LOCK_EX)
            if not self.is_supervised():
                self._spawn()

    def _spawn(self) -> None:
        self._write_config()
        with (self.folder / "supervisor.log").open("ab") as log:
            # It leaves a process of its own behind and returns.
            subprocess.run(
                [sys.executable, str(self.folder / "head_supervisor.py"), str(self.folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={name: value for name, value in self.env.items() if INHERITED.fullmatch(name)},
                start_new_session=True,
                check=True,
            )
        self.report(f"Starting the local Ray head {self.name}")
        until = time.monotonic() + SPAWN_TIMEOUT_S
        while not self.is_supervised() and time.monotonic() < until:
            time.sleep(0.05)

    def is_supervised(self) -> bool:
        """Whether a supervisor lives: it holds the lock."""
        try:
            with (self.folder / "lock").open("r") as lock:
                fcntl.flock(lock.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False
        return False

    def find_problem(self) -> kuberay_diagnosis.Finding | None:
        ended = local_head_files.read_json(self.folder / "exit.json")
        if ended is not None:
            error = errors.ExecutionFailed(
                f"The local Ray head {self.name} ended by itself with exit code {ended.get('code')}",
                subject="cluster",
                category="head_ended",
                remedy=f"Read the end of its log, {self.folder / 'head.log'}.",
                log_tail=str(ended.get("log")),
            )
            return kuberay_diagnosis.Finding(error)
        self.ensure_running()
        return None

    def open_api(self) -> dashboard.RayApi | None:
        if local_head_files.read_json(self.folder / "head.json") is None:
            return None
        return dashboard.RayApi(local_head_files.read_address(self.name, self.env))

    def reference(self, held: lease.Lease | None = None) -> Object:
        return {"local_head": self.name, **({"lease": held.reference} if held else {})}

    def remote(self) -> contracts.Remote:
        running = local_head_files.read_json(self.folder / "head.json") or {}
        return contracts.Remote(kind="local_ray_head", name=self.name, uid=str(running.get("pid") or "") or None)

    def _write_config(self) -> None:
        (self.folder / "exit.json").unlink(missing_ok=True)
        source = module_source.find_source("f.flexcore.lib.ray.remote.head_supervisor")
        (self.folder / "head_supervisor.py").write_text(source)
        token_file = self.folder / "auth_token"
        _write_private(token_file, secrets.token_hex(32))
        # A socket's path may have 107 characters, and Ray needs about 60 of them.
        temp = f"/tmp/fc-ray-{secrets.token_hex(4)}"
        ports = free_ports(6)
        ray = find_ray(self.env)
        config = {
            "command": [ray, "start", "--head", "--block", "--disable-usage-stats", *self._options(temp, ports)],
            "environment": head_environment(token_file, ray, self.env),
            "temp": temp,
            "leases": str(object_store.local_path(self.leases.record.folder)),
            "address": f"http://127.0.0.1:{ports[0]}",
        }
        _write_private(self.folder / "config.json", json.dumps(config))

    def _options(self, temp: str, ports: list[int]) -> list[str]:
        names = (
            "dashboard-port",
            "ray-client-server-port",
            "dashboard-agent-listen-port",
            "dashboard-agent-grpc-port",
            "runtime-env-agent-port",
            "metrics-export-port",
        )
        options: Object = {
            "node-ip-address": "127.0.0.1",
            "port": 0,
            "num-cpus": self.num_cpus or os.cpu_count() or 1,
            "dashboard-host": "127.0.0.1",
            "object-store-memory": OBJECT_STORE_BYTES,
            "temp-dir": temp,
            "include-dashboard": "true",
            **dict(zip(names, ports, strict=True)),
        }
        return [f"--{name}={value}" for name, value in options.items()]

    def _end_without_supervisor(self) -> None:
        """Marks a head as ended whose supervisor is gone: there is nothing left that could do it."""
        self.leases.end_if_over(self.clock())


def find_ray(env: Mapping[str, str]) -> str:
    """The program `ray`. Raises NotFound where it is not installed."""
    found = env.get("FLEXCORE_RAY") or shutil.which("ray", path=env.get("PATH"))
    if not found or not os.access(found, os.X_OK):
        raise errors.NotFound(
            f"Ray is not installed on {socket.gethostname()}: there is no program `ray`",
            subject="cluster.local_head",
            category="ray_absent",
            remedy="Install ray[default] on the worker's machine and put `ray` on its PATH or name it in FLEXCORE_RAY, "
            "or use a Ray cluster by its address or on Kubernetes.",
        )
    return str(found)


def head_environment(token_file: Path, ray: str, env: Mapping[str, str]) -> dict[str, str]:
    """What the head's environment has beside the worker's own."""
    return {
        # A job starts as `python3 …`: it must be the interpreter that has Ray.
        "PATH": f"{Path(ray).resolve().parent}{os.pathsep}{Path(ray).parent}{os.pathsep}{env.get('PATH', os.defpath)}",
        **make_ray_settings(token_file),
    }


def make_ray_settings(token_file: Path) -> dict[str, str]:
    """Environment variables of every head of ours on this machine, a laptop's too (flexcore/ray_head.py)."""
    return {
        # Ray takes 127.0.0.1 for a mistake and listens on all interfaces, unless this is off.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        # Without it Ray starts an idle worker per CPU at once, each of which costs a second of CPU and 70 MB.
        "RAY_enable_worker_prestart": "0",
        # A head that is started below `uv run` would start each of its workers by another `uv run`, a second each.
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        # On a busy machine Ray's own 30 s for a node's first word are too short.
        "RAY_raylet_start_wait_time_s": "120",
        # A head that is told to end would first wait 30 s for another node to take over its work; there is none.
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        # Ray's agent keeps the counters of every worker process that there ever was, and nobody reads them here.
        "RAY_enable_metrics_collection": "0",
        # uv and pip ask an index again by themselves; a package that does not exist took three environments, one after
        # the other.
        "RUNTIME_ENV_RETRY_TIMES": "1",
        # Named, a token that a plain ray.init() of this user has left in the home folder is not taken instead.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_file),
        "RAY_DISABLE_IMPORT_WARNING": "1",
        "PYTHONUNBUFFERED": "1",
    }


def free_ports(count: int) -> list[int]:
    """Ports of PORTS that nobody listens on. Raises Unavailable."""
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise errors.Unavailable(f"There are no {count} free ports between {PORTS[0]} and {PORTS[-1]}", subject="cluster")


def _write_private(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)
    part.replace(path)
