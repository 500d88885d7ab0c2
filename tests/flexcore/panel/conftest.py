"""A small bundle with a dashboard of two scripts, its page built as the real one is, on the embedded engine."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from flexcore.panel.engine import PanelEngine
from tests.docs.pages import ROOT
from tests.wmlocal.engine.conftest import Writer, environments, home, write  # noqa: F401

APP = "f/flexcore/dashboard__raw_app"
# Beside its packages, where `make dashboard` puts it.
BUILD = ROOT / ".flexcore/panel/build.mjs"
# What the page of an app does with `./wmill`; tests call the rest by hand.
INDEX = """
import './style.css'
import { backend, backendAsync, getJob, streamJob, waitJob } from './wmill'

Object.assign(window, { backend, backendAsync, getJob, streamJob, waitJob })
const main = document.createElement('main')
document.getElementById('root')!.append(main)
backend.read_dashboard({ want: ['executions'] }).then(
  (answer: any) => (main.textContent = `seen: ${answer.want}`),
  (error: Error) => (main.textContent = error.message)
)
"""
READ = "def main(want: list[str]):\n    return {'want': want}\n"
CANCEL = """
class Refused(Exception):
    def __init__(self, message):
        super().__init__(message)
        self.remedy = "Ask its owner."

def main(execution: str):
    raise Refused(f"{execution} is not yours")
"""


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the small app."""
    if not BUILD.is_file():
        pytest.fail("what builds the page is not installed: run `make dashboard`")
    folder = tmp_path_factory.mktemp("app")
    (folder / "index.tsx").write_text(INDEX)
    (folder / "style.css").write_text("body { margin: 0 }")
    subprocess.run(["node", BUILD, folder, folder / "static", folder], check=True)
    return folder / "static"


@pytest.fixture
def engine(write: Writer, home: Path, built: Path) -> Iterator[PanelEngine]:  # noqa: F811
    for name, text in {"read_dashboard": READ, "cancel_execution": CANCEL}.items():
        write.script(f"f/flexcore/dashboard/{name}", text)
        write.file(f"{APP}/backend/{name}.yaml", f"type: script\npath: f/flexcore/dashboard/{name}\n")
    write.script("f/sales/erase", "def main():\n    return 'erased'\n")
    with PanelEngine(write.root, home, folder=built) as opened:
        opened.serve()
        yield opened
