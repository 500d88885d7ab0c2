"""A bundle that a test writes as it goes, and an engine on it with a home of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from wmlocal.engine import Engine


class Writer:
    """Writes the files of a bundle."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "f").mkdir(parents=True)

    def file(self, path: str, text: str) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(textwrap.dedent(text), encoding="utf-8")
        return target

    def script(self, path: str, text: str, lock: str | None = "", **meta: Any) -> None:
        self.file(f"{path}.py", text)
        if lock is not None:
            self.file(f"{path}.script.lock", f"# py: 3.11\n{lock}")
            meta["lock"] = f"!inline {path}.script.lock"
        self.file(f"{path}.script.yaml", yaml.safe_dump({"summary": "", "kind": "script", **meta}))

    def flow(
        self,
        path: str,
        modules: list[dict[str, Any]],
        suffix: str = "__flow",
        meta: dict[str, Any] | None = None,
        **value: Any,
    ) -> None:
        content = {"summary": "", **(meta or {}), "value": {"modules": modules, **value}}
        self.file(f"{path}{suffix}/flow.yaml", yaml.safe_dump(content))

    def item(self, path: str, kind: str, **content: Any) -> None:
        self.file(f"{path}.{kind}.yaml", yaml.safe_dump(content))


def raw(id: str, code: str, inputs: dict[str, Any] | None = None, **module: Any) -> dict[str, Any]:
    """A module with a script of its own; inputs are JavaScript if they are text."""
    transforms = {
        name: {"type": "javascript", "expr": value} if isinstance(value, str) else {"type": "static", "value": value}
        for name, value in (inputs or {}).items()
    }
    value = {
        "type": "rawscript",
        "language": "python3",
        "lock": "",
        "content": textwrap.dedent(code),
        "input_transforms": transforms,
    }
    return {"id": id, "value": value, **module}


def call(id: str, kind: str, path: str, **inputs: str) -> dict[str, Any]:
    transforms = {name: {"type": "javascript", "expr": expr} for name, expr in inputs.items()}
    return {"id": id, "value": {"type": kind, "path": path, "input_transforms": transforms}}


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    return Writer(tmp_path / "bundle")


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Environments are shared by all tests; making one takes longer than most of them."""
    return tmp_path_factory.mktemp("envs")


@pytest.fixture
def home(tmp_path: Path, environments: Path) -> Path:
    made = tmp_path / "home"
    made.mkdir()
    (made / "envs").symlink_to(environments)
    return made


@pytest.fixture
def engine(write: Writer, home: Path) -> Iterator[Engine]:
    with Engine(write.root, home) as made:
        yield made


def surroundings(home: Path) -> dict[str, str]:
    """None of this machine's own wmill profiles is seen."""
    return {"FLEXCORE_HOME": str(home), "WMILL_CONFIG_DIR": str(home)}


Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def flexcore(write: Writer, home: Path) -> Command:
    """Runs the command line to its end."""

    def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "flexcore", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=write.root,
            env=os.environ | surroundings(home),
            **options,
        )

    return run


@pytest.fixture
def begin(write: Writer, home: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the command line and leaves it running."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "flexcore", *arguments],
            text=True,
            cwd=write.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env=os.environ | surroundings(home),
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def eventually(condition: Callable[[], Any], seconds: float = 15) -> Any:
    """Waits for a process that the test cannot ask to tell it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s")


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def pids_in(file: Path) -> list[int]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return []
    return [int(pid) for pid in found]
