"""The command line on a small bundle, with wmill profiles of its own and a served engine in the place of a server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from typer.testing import CliRunner

from flexcore.cli import app
from tests.wmlocal.engine.conftest import (  # noqa: F401
    Command,
    Writer,
    begin,
    environments,
    home,
    raw,
    write,
)
from wmlocal.engine import Engine

SCHEMA = {
    "properties": {"rows": {"type": "integer", "minimum": 1, "default": 3}, "project": {"type": "object"}},
    "required": ["rows"],
    "type": "object",
}


@pytest.fixture(autouse=True)
def wmill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the wmill profiles; none of this machine's own are seen."""
    for name in ("FLEXCORE_TOKEN", "WM_TOKEN", "WM_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WMILL_CONFIG_DIR", str(tmp_path / "config"))
    folder = tmp_path / "config/windmill"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(autouse=True)
def bundle(write: Writer) -> None:  # noqa: F811
    count = "def main(n=0):\n    print('counting', n)\n    return n\n"
    write.flow("f/x/counting", [raw("count", count, {"n": "flow_input.rows"})])
    document = write.root / "f/x/counting__flow/flow.yaml"
    document.write_text(document.read_text() + "schema: " + json.dumps(SCHEMA) + "\n")
    failing = "class {0}(Exception):\n    pass\ndef main():\n    raise {0}('no')\n"
    for name in ("ValueError_", "InvalidInput", "Unreachable", "DeadlineExceeded"):
        write.flow(f"f/x/{name.lower()}", [raw("a", failing.format(name))])
    write.flow(
        "f/x/waits", [raw("a", "import time\ndef main():\n    print('begun', flush=True)\n    time.sleep(60)\n")]
    )


@pytest.fixture
def flexcore(write: Writer, home: Path, monkeypatch: pytest.MonkeyPatch) -> Command:  # noqa: F811
    """Runs a command in this process: starting one of its own takes longer than most commands do."""
    monkeypatch.chdir(write.root)
    monkeypatch.setenv("FLEXCORE_HOME", str(home))

    def run(*arguments: str) -> CompletedProcess[str]:
        done = CliRunner().invoke(app, arguments)
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)

    return run


@pytest.fixture
def server(write: Writer, home: Path) -> Iterator[str]:  # noqa: F811
    """The URL of an engine that serves the same bundle, in the place of a server."""
    with Engine(write.root, home) as engine:
        engine.serve()
        yield engine.url
