# requirements: flexcore_base
"""Meltano itself: installed once for all runs of a worker, in an environment of its own, by uv.

Below home()/meltano: tool-<version>/ the tool, plugins/<hash>/ environments of plugins, modules/<hash>/ modules of ours
that run in the tool's Python, state/<project>/ state, catalogs/<project>/ discovered catalogs, answers/ what Meltano
says of projects, encrypted, databases/ empty system databases, git/ and inline/ projects, work/<attempt>/ while it
runs, locks/<key>.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from f.flexcore.lib.core import errors, module_source, operation, redaction, tls_errors
from f.flexcore.lib.storage import object_store

# The package of what is shipped to Meltano's own Python.
REMOTE = "f.flexcore.lib.meltano.remote"
MELTANO_VERSION = "4.4.1"
PYTHON = "3.11"
# State in S3 and a system database in PostgreSQL are common; each costs a few megabytes, once.
REQUIREMENT = f"meltano[postgres,s3]=={MELTANO_VERSION}"
INSTALL_TIMEOUT_S = 900
# Stands in a folder that was filled to its end.
COMPLETE = ".complete"
# What a program of the machine needs to run and to reach the network. Everything else of the worker stays behind: its
# PYTHONPATH would break another environment, and no plugin needs its WM_TOKEN.
PASSED_VARIABLES = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "AWS_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
)
# An installation also reads the machine's package settings (indexes, caches, find-links).
INSTALLER_PREFIXES = ("UV_", "PIP_")
# Set by the machine for uv's own project environments; for a tool they would point at the wrong place.
DROPPED_VARIABLES = ("UV_PYTHON", "UV_PROJECT_ENVIRONMENT", "UV_TOOL_DIR", "UV_TOOL_BIN_DIR")


def folder(*parts: str) -> Path:
    """A folder below home()/meltano, made if need be, for this user alone."""
    path = object_store.home().joinpath("meltano", *parts)
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Environments hold their own path, so it must not lead over a link that may go away.
    return path.resolve()


def inspection_folder() -> Path:
    """Meltano's own folder while it is inspected, so that nothing is written to the project's."""
    return folder("inspection")


def base_environment(env: Mapping[str, str] = os.environ) -> dict[str, str]:
    return {"PATH": os.defpath, "LANG": "C.UTF-8", **{key: env[key] for key in PASSED_VARIABLES if key in env}}


def installer_environment(env: Mapping[str, str] = os.environ) -> dict[str, str]:
    own = {key: env[key] for key in env if key.startswith(INSTALLER_PREFIXES) and key not in DROPPED_VARIABLES}
    return {**base_environment(env), **uv_configuration(env), **own}


def uv_configuration(env: Mapping[str, str]) -> dict[str, str]:
    """The user's or the machine's uv.toml and nothing else: uv would also take in the pyproject.toml of any folder
    above the current one, whose constraints have nothing to do with a plugin."""
    user = Path(env.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "uv" / "uv.toml"
    found = next((path for path in (user, Path("/etc/uv/uv.toml")) if path.is_file()), None)
    return {"UV_CONFIG_FILE": str(found)} if found else {"UV_NO_CONFIG": "1"}


def meltano_command() -> Path:
    """The meltano executable, installed first if need be (about 20 s, once per worker)."""
    tool = folder(f"tool-{MELTANO_VERSION}")
    if not is_usable(tool):
        with hold_lock(tool / "lock", INSTALL_TIMEOUT_S):
            if not is_usable(tool):
                install_meltano(tool)
    return tool / "bin" / "meltano"


def meltano_python() -> Path:
    """The interpreter of Meltano's own environment, which is installed first if need be."""
    return tool_python(meltano_command().parent.parent)


def install_modules(names: Sequence[str]) -> Path:
    """A folder from which Meltano's interpreter can import these modules of `remote`; made once for each content. None
    of them is imported here for it."""
    sources = {f"{REMOTE}.{name}": module_source.find_source(f"{REMOTE}.{name}") for name in names}
    place = folder("modules", hashlib.sha256(json.dumps(sources).encode()).hexdigest()[:16])
    if not (place / COMPLETE).exists():
        for name, source in sources.items():
            path = place.joinpath(*name.split(".")).with_suffix(".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            # Two steps may do this at once.
            part = path.with_suffix(f".{os.getpid()}")
            part.write_text(source, encoding="utf-8")
            part.replace(path)
        (place / COMPLETE).touch()
    return place


def tool_python(tool: Path) -> Path:
    return tool / "tools" / "meltano" / "bin" / "python"


def is_usable(tool: Path) -> bool:
    # The interpreter is a link: on a persistent volume it may lead to one that the worker's image has no more.
    return (tool / "bin" / "meltano").exists() and tool_python(tool).exists()


def install_meltano(tool: Path) -> None:
    print(f"Installing Meltano {MELTANO_VERSION}, once on this worker", flush=True)
    env = {
        **installer_environment(),
        "UV_TOOL_DIR": str(tool / "tools"),
        "UV_TOOL_BIN_DIR": str(tool / "bin"),
        "UV_COMPILE_BYTECODE": "1",
    }
    run_installer([find_uv(), "tool", "install", "--force", "--python", PYTHON, REQUIREMENT], env, "Meltano")


def run_installer(
    command: Sequence[str], env: Mapping[str, str], what: str, redactor: redaction.Redactor | None = None
) -> None:
    """Runs uv; ExecutionFailed that names `what`, with uv's last lines, when it fails."""
    redactor = redactor or redaction.Redactor()
    try:
        done = subprocess.run(
            command, env=dict(env), capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False
        )
        code, output = done.returncode, done.stderr + done.stdout
    except subprocess.TimeoutExpired:
        code, output = 124, f"it did not end within {INSTALL_TIMEOUT_S} s"
    if code:
        tail = redactor.text("\n".join(output.strip().splitlines()[-12:]))
        certificates = tls_errors.tls_remedy(output)
        raise errors.ExecutionFailed(
            f"{what} cannot be installed: {find_cause(tail)}",
            subject=what,
            remedy=certificates or "Check its name and version, and that the package index can be reached.",
            category="tls" if certificates else "install_failed",
            log_tail=tail,
        )


# What uv draws before a cause.
DECORATION = " \u00d7\u2570\u2500\u25b6\u2502"


def find_cause(output: str) -> str:
    """The line of uv's output that says most."""
    lines = [line.strip(DECORATION) for line in output.splitlines() if line.strip()]
    because = [line for line in lines if "ecause" in line]
    # Causes nest; the last one is what happened.
    causes = [line for line in lines if "cause:" in line.lower() or line.startswith("Caused by:")]
    return (because[:1] or causes[-1:] or lines[-1:] or ["no output"])[0][:300]


def find_uv() -> str:
    """uv of the machine: on the PATH, beside this interpreter, or as a Python package."""
    beside = Path(sys.executable).with_name("uv")
    found = shutil.which("uv") or (str(beside) if beside.exists() else "")
    if not found:
        raise errors.MissingSetting(
            "uv is not on the worker's PATH",
            subject="uv",
            remedy="Install it there (pip install uv); Windmill's image has it.",
        )
    return found


@contextlib.contextmanager
def report_disk_errors() -> Iterator[None]:
    """Turns the errors of a disk that is full or broken into Unavailable: a retry may find space again."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise errors.Unavailable(
            f"The worker's disk cannot hold the run's files: {reason}",
            subject="FLEXCORE_HOME",
            category="disk",
            remedy=f"Free space below {object_store.home()}, or set FLEXCORE_HOME to a larger volume.",
        ) from None


@contextlib.contextmanager
def hold_lock(path: Path, timeout_s: float) -> Iterator[int]:
    """Holds an advisory lock on `path`; Unavailable when another process holds it for longer than `timeout_s`.

    Yields the descriptor: a child that inherits it keeps the lock until it ends too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        end = time.monotonic() + timeout_s
        while not try_lock(descriptor):
            if time.monotonic() > end:
                raise errors.Unavailable(
                    f"Another run holds the lock {path.name}",
                    subject=str(path),
                    remedy="Wait for it to end, then run again.",
                )
            time.sleep(0.1)
        yield descriptor
    finally:
        os.close(descriptor)


def remove_older_files(place: Path, seconds: float) -> None:
    """Removes files of a folder that were made longer ago: locks of executions that are long over."""
    oldest = time.time() - seconds
    for path in place.iterdir():
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < oldest:
                path.unlink()


def remove_dead_attempts(work: Path, locks: Path) -> None:
    """Removes the folders of attempts whose step was killed before Meltano and its supervisor had started: the lock of
    a living one is held. They hold plugins' settings."""
    for path in work.glob("fc-*-*"):
        with contextlib.suppress(OSError, errors.Unavailable), hold_lock(locks / path.name.rpartition("-")[0], 0):
            shutil.rmtree(path, ignore_errors=True)


def try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


# --- health: Meltano has no server of its own; what counts is what a run needs here

# Meltano and a few plugins take about as much.
MIN_FREE_BYTES = 2 * 2**30


def health(place: str) -> operation.Health:
    """Raises MissingSetting when uv, which installs Meltano and its plugins, is not there."""
    find_uv()
    problems = []
    installed = is_usable(folder(f"tool-{MELTANO_VERSION}"))
    if not installed:
        problems.append("Meltano is not installed on this worker yet; the first run installs it (about 20 s)")
    free = shutil.disk_usage(folder()).free
    if free < MIN_FREE_BYTES:
        problems.append(f"Only {free / 2**30:.1f} GiB are free in {folder()}: free some, or set FLEXCORE_HOME")
    return operation.Health(
        runtime="meltano",
        place=place,
        state="limited" if problems else "ready",
        version=MELTANO_VERSION if installed else None,
        cpus_total=os.cpu_count(),
        detail="; ".join(problems),
        capabilities={"installed": installed, "plugin_environments": _count_environments(), "disk_free_bytes": free},
    )


def _count_environments() -> int | None:
    try:
        return sum(1 for path in folder("plugins").iterdir() if (path / COMPLETE).exists())
    except (OSError, errors.FlexcoreError):
        return None
