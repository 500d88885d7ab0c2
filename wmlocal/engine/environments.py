"""One virtual environment for each distinct lock, made once with uv and kept.

An environment is built where it will stay (console scripts carry its path) and counts only when its marker file is
there; builders of the same lock wait for one another on a file lock, so a killed build is simply built again.
"""

from __future__ import annotations

import ast
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from wmlocal.engine.errors import EnvironmentFailed
from wmlocal.engine.jobs import Cancel
from wmlocal.engine.own_environment import copy_environment
from wmlocal.engine.watchdog import Watchdog

MARKER = ".complete"
# Of the caller's Python: uv would use it in place of what it makes.
NOT_PASSED_ON = ("VIRTUAL_ENV", "PYTHONPATH")
# A wheel of a data stack can take minutes on a slow line; an hour means that something hangs.
BUILD_TIMEOUT_S = 3600
MAX_KEPT_LINES = 15
# Another builder of the same lock takes seconds; a cancel must not wait for it.
LOCK_LOOK_S = 0.05
# Distributions whose import name is not theirs; Windmill has such a table too.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "dotenv": "python-dotenv",
    "google.cloud": "google-cloud",
    "jwt": "pyjwt",
    "psycopg2": "psycopg2-binary",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}

ModuleSource = Callable[[str], str | None]


class Environments:
    def __init__(self, home: Path, watchdog: Watchdog | None = None) -> None:
        self.folder = home / "envs"
        self._watchdog = watchdog
        self.folder.mkdir(parents=True, exist_ok=True)
        self._known: dict[str, Path] = {}

    def python_for(self, lock: str, cancel: Cancel | None = None) -> Path:
        """The interpreter that has exactly what the lock names; builds it at first use."""
        requirements = requirement_lines(lock)
        text = "\n".join(requirements)
        if text not in self._known:
            self._known[text] = self._ensure(requirements, cancel or Cancel())
        return self._known[text]

    def _ensure(self, requirements: list[str], cancel: Cancel) -> Path:
        version = f"{sys.version_info.major}{sys.version_info.minor}"
        digest = hashlib.sha256("\n".join(requirements).encode()).hexdigest()[:16]
        target = self.folder / (f"py{version}-{digest}" if requirements else f"py{version}-bare")
        python = target / "bin" / "python"
        if (target / MARKER).exists() and python.exists():
            return python
        with _hold_lock(self.folder / f"{target.name}.lock", cancel):
            if not ((target / MARKER).exists() and python.exists()):
                self._build(target, requirements, cancel)
        return python

    def _build(self, target: Path, requirements: list[str], cancel: Cancel) -> None:
        shutil.rmtree(target, ignore_errors=True)
        base = getattr(sys, "_base_executable", None) or sys.executable
        self._uv(cancel, ["venv", "--quiet", "--no-project", "--python", base, str(target)], "make an environment")
        if requirements:
            listing = target / "requirements.txt"
            listing.write_text("\n".join(requirements) + "\n", encoding="utf-8")
            python = str(target / "bin" / "python")
            self._uv(
                cancel,
                ["pip", "install", "--quiet", "--no-deps", "--python", python, "-r", str(listing)],
                f"install the lock ({len(requirements)} packages)",
            )
        (target / MARKER).touch()

    def lock_for(self, source: str, module_source: ModuleSource, cancel: Cancel) -> str:
        """A lock for a script that has none: its requirements header, else its imports, resolved by uv."""
        requirements = sorted(inferred_requirements(source, module_source))
        if not requirements:
            return ""
        digest = hashlib.sha256("\n".join(requirements).encode()).hexdigest()[:16]
        stored = self.folder / f"inferred-{digest}.txt"
        with _hold_lock(self.folder / f"{stored.name}.lock", cancel):
            if not stored.exists():
                stored.write_text(self._compile(requirements, cancel), encoding="utf-8")
        return stored.read_text(encoding="utf-8")

    def _compile(self, requirements: list[str], cancel: Cancel) -> str:
        return self._uv(
            cancel,
            ["pip", "compile", "--quiet", "--no-header", "--strip-extras", "--no-annotate", "-"],
            "resolve " + ", ".join(requirements),
            "\n".join(requirements),
        )

    def _uv(self, cancel: Cancel, arguments: list[str], purpose: str, stdin: str = "") -> str:
        """Runs uv from the top folder: the project around the caller's folder has rules that are not for steps.

        It is a child like any step: it dies with a cancel and with the engine.
        """
        program = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
        environment = {key: value for key, value in copy_environment().items() if key not in NOT_PASSED_ON}
        try:
            process = subprocess.Popen(
                [program, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
                cwd="/",
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise EnvironmentFailed(f"could not {purpose}: uv is not installed; run `pip install uv`") from error
        out, err = self._finish(process, cancel, purpose, stdin)
        if process.returncode:
            tail = "\n".join((err or out).strip().splitlines()[-MAX_KEPT_LINES:])
            raise EnvironmentFailed(f"could not {purpose}; uv says:\n{tail}")
        return out

    def _finish(self, process: subprocess.Popen[str], cancel: Cancel, purpose: str, stdin: str) -> tuple[str, str]:
        def kill() -> None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

        if self._watchdog:
            self._watchdog.guard(process.pid)
        stop_listening = cancel.listen(kill)
        try:
            return process.communicate(stdin, timeout=BUILD_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            kill()
            process.communicate()
            raise EnvironmentFailed(f"could not {purpose}: uv took more than {BUILD_TIMEOUT_S} s") from error
        finally:
            stop_listening()
            if self._watchdog:
                self._watchdog.release(process.pid)


def requirement_lines(lock: str) -> list[str]:
    """The requirements proper: Windmill's headers (`# py: 3.11`, `# workspace-dependencies…`) are comments."""
    lines = (line.strip() for line in lock.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def inferred_requirements(source: str, module_source: ModuleSource) -> set[str]:
    """What Windmill resolves: `# requirements:` or PEP 723 replace the imports, `# extra_requirements:` adds."""
    manual = _list_requirements(source, "requirements")
    if manual is not None:
        return set(manual)
    block = _pep723(source)
    if block is not None:
        return set(block)
    return _find_imports(source, module_source, set()) | set(_list_requirements(source, "extra_requirements") or ())


def _list_requirements(source: str, header: str) -> list[str] | None:
    lines = source.splitlines()
    for number, line in enumerate(lines):
        if re.fullmatch(rf"#\s?{header}:\s*", line):
            block = lines[number + 1 :]
            end = next((index for index, item in enumerate(block) if not item.startswith("#")), len(block))
            return [item.lstrip("#").strip() for item in block[:end] if item.lstrip("#").strip()]
    return None


def _pep723(source: str) -> list[str] | None:
    import tomllib

    found = re.search(r"(?m)^# /// script\s*$\n((?:^#(?: .*)?$\n)+?)^# ///\s*$", source)
    if not found:
        return None
    text = "\n".join(line.removeprefix("#").removeprefix(" ") for line in found.group(1).splitlines())
    return [str(item) for item in tomllib.loads(text).get("dependencies", [])]


def _find_imports(source: str, module_source: ModuleSource, seen: set[str]) -> set[str]:
    names: set[str] = set()
    for module, pinned in _import_statements(source):
        top = module.split(".")[0]
        if pinned:
            names.add(pinned)
        elif top in ("f", "u"):
            text = module_source(module) if module not in seen else None
            seen.add(module)
            names |= _find_imports(text, module_source, seen) if text else set()
        elif top and top not in sys.stdlib_module_names:
            names.add(DISTRIBUTIONS.get(top, top).replace("_", "-"))
    return names


def _import_statements(source: str) -> Iterator[tuple[str, str | None]]:
    """Top-level imports before `main`, as Windmill scans them, each with its `# pin:` if there is one."""
    head = re.split(r"(?m)^(?:async )?def main\(", source, maxsplit=1)[0]
    try:
        statements = ast.parse(head).body
    except SyntaxError:
        return
    lines = head.splitlines()
    for statement in statements:
        pin = re.search(r"#\s*(?:re)?pin:\s*(\S+)", lines[statement.lineno - 1])
        pinned = pin.group(1) if pin else None
        if isinstance(statement, ast.Import):
            yield from ((alias.name, pinned) for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom) and not statement.level:
            yield statement.module or "", pinned


@contextmanager
def _hold_lock(file: Path, cancel: Cancel) -> Iterator[None]:
    with file.open("w") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if cancel.requested:
                    raise EnvironmentFailed("canceled while another job made the environment") from None
                time.sleep(LOCK_LOOK_S)
        yield
