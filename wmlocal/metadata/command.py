"""Runs `wmill generate-metadata` against a fake server."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from wmlocal.lint.files import CannotCheck, Files
from wmlocal.metadata.fake_server import WORKSPACE, FakeServer, serving
from wmlocal.metadata.locks import DEFAULT_PYTHON, NoLock, python_lock

DONE, FAILED, CANNOT_START = 0, 1, 2
WRITES = re.compile(r"(\.lock|\.script\.yaml|/flow\.yaml|^wmill-lock\.yaml)$")
HERE = Path(__file__)


def run(
    paths: list[str], root: Path, python: str = DEFAULT_PYTHON, options: tuple[str, ...] = (), as_json: bool = False
) -> int:
    """0 done, 1 when something could not be written, 2 when it could not start."""
    try:
        files = Files.below(root)
    except CannotCheck as error:
        return _stop(str(error))
    wmill = _wmill(root)
    if wmill is None:
        return _stop("wmill is missing; install it (npm install windmill-cli)")
    before = _texts(root)
    fake_server = FakeServer(Locks(files, python).of)
    with serving(fake_server) as address, tempfile.TemporaryDirectory() as config:
        common = [
            wmill,
            "generate-metadata",
            "--yes",
            *options,
            "--base-url",
            address,
            "--workspace",
            WORKSPACE,
            "--token",
            fake_server.token,
            "--config-dir",
            config,
        ]
        codes = [_cli([*common, *([path] if path else [])], root, as_json) for path in paths or [""]]
    if as_json:
        changed = sorted(name for name, text in _texts(root).items() if before.get(name) != text)
        print(json.dumps({"success": not any(codes), "written": changed}))
    return DONE if not any(codes) else FAILED


def _texts(root: Path) -> dict[str, bytes]:
    """The files that it may write."""
    return {name: (root / name).read_bytes() for name in Files.below(root).names if WRITES.search(name)}


class Locks:
    """Locks of the bundle's scripts, each set compiled once."""

    def __init__(self, files: Files, python: str) -> None:
        self.files, self.python = files, python
        self.made: dict[tuple[str, ...], str] = {}

    def of(self, code: str, language: str, path: str, sets: dict[str, str]) -> str:
        if language != "python3":
            raise NoLock(
                f"{path} is of {language}; only Python locks are made without a server,"
                " run wmill generate-metadata for the others"
            )
        key = (code, path, *(f"{name}\0{text}" for name, text in sorted(sets.items())))
        if key not in self.made:
            self.made[key] = python_lock(code, path, sets, self._read, self.python)
        return self.made[key]

    def _read(self, path: str) -> str | None:
        script = self.files.scripts.get(path)
        file = script.file if script else path
        return self.files.text(file) if file in self.files.set else None


def _cli(command: list[str], root: Path, as_json: bool) -> int:
    """as_json: stdout is ours, what it says goes to stderr."""
    # A proxy of the environment must not see a request to loopback.
    environment = os.environ | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "NO_COLOR": "1"}
    done = subprocess.run(
        command,
        cwd=root,
        env=environment,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr if as_json else None,
    )
    return done.returncode


def _wmill(root: Path) -> str | None:
    folders = [root.resolve() / "node_modules/.bin", HERE.parents[2] / "node_modules/.bin"]
    return next(
        (found for folder in folders if (found := shutil.which("wmill", path=str(folder)))), shutil.which("wmill")
    )


def _stop(message: str) -> int:
    print(f"flexcore: {message}", file=sys.stderr)
    return CANNOT_START
