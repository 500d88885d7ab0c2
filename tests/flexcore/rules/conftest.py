"""A bundle with one runtime, one operation and its step, as small as the rules allow."""

from __future__ import annotations

from pathlib import Path

import pytest

FILES = {
    "wmill.yaml": "includes: [f/flexcore/**]\n",
    "f/flexcore/lib/core/operation.py": """\
# requirements: base
from dataclasses import dataclass
from types import SimpleNamespace as Runtime


@dataclass
class Operation:
    runtime: str
    name: str
    request: type
    check: object
    plan: object
    execute: object
    service_field: str = "cluster"
""",
    "f/flexcore/lib/toy/jobs.py": """\
# requirements: base
from f.flexcore.lib.core import operation
from f.flexcore.lib.toy import client


def check(request, service, settings):
    return None


def execute(invocation):
    return {}


RUN = operation.Operation(
    runtime="toy",
    name="run",
    request=client.Request,
    check=check,
    plan=client.plan,
    execute=execute,
)


def health(place):
    return None


class Objects:
    def find(self): ...
    def stop(self, item): ...
    def delete(self, item): ...
""",
    "f/flexcore/lib/toy/client.py": """\
# requirements: base
class Request: ...


def plan(invocation):
    return None
""",
    "f/flexcore/lib/runtimes.py": """\
# requirements: base
from f.flexcore.lib.core import operation


class RemoteObjects:
    def find(self): ...
    def stop(self, item): ...
    def delete(self, item): ...


RUNTIMES = {
    "toy": operation.Runtime(
        name="toy",
        operations={"run": "f.flexcore.lib.toy.jobs:RUN"},
        pipeline_operations=("run",),
        health="f.flexcore.lib.toy.jobs:health",
        objects="f.flexcore.lib.toy.jobs:Objects",
    )
}
""",
    "f/flexcore/toy/run.py": """\
# requirements: base
from f.flexcore.lib.toy import jobs


def main(seconds: int = 3):
    return jobs.RUN.run(locals())
""",
    "f/flexcore/toy/run.script.yaml": """\
summary: Run a command
lock: '!inline locks/base.requirements.in.lock'
kind: script
""",
    "f/flexcore/templates/daily__flow/flow.yaml": """\
summary: Daily
value:
  modules:
    - id: a
      value:
        type: script
        path: f/flexcore/toy/run
        input_transforms: {}
""",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def replace(root: Path, file: str, before: str, after: str) -> int:
    """Writes the change, and returns the line of what was written."""
    text = (root / file).read_text()
    assert text.count(before) == 1
    (root / file).write_text(text.replace(before, after))
    return text[: text.index(before)].count("\n") + 1
