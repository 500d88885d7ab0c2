"""The dashboard's steps on a local engine, beside small flows that end, fail, wait and sleep as a test needs it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ray.fake_dashboard import FakeDashboard
from tests.wmlocal.engine.conftest import call as step
from tests.wmlocal.engine.conftest import raw
from wmlocal.engine import Engine
from wmlocal.engine.engine import JobResult

ROOT = Path(__file__).parent.parent.parent
STOPPABLE = """# requirements: flexcore_base
from f.flexcore.lib.windmill import stops
def main():
    stops.refuse_stopped()
    return 1
"""
HOLDS = """# requirements: flexcore_base
def main(cluster):
    print(cluster["headers"]["Cookie"], flush=True)
"""
HOLDS_SCHEMA = {"type": "object", "properties": {"cluster": {"type": "object", "format": "resource-c_ray_cluster"}}}
FAILS = """
class Bad(Exception):
    pass
def main(note):
    print("password=hunter2222", flush=True)
    e = Bad("the table <b>t</b> is missing")
    e.category, e.subject, e.remedy, e.retryable = "not_found", "t", "Create t.", False
    raise e
"""
ENDS = """
def main(note):
    step = {"success": True, "runtime": "ray", "execution_key": "fc-1", "attempt": 2, "data": {},
            "output": {"kind": "data", "uri": "file:///x", "format": "jsonl", "rows": 7,
                       "streams": [{"name": "a", "rows": 7, "bytes": 9}]},
            "timings": {"queued": 1.5, "starting": None, "running": 2.0, "finishing": 0.5,
                        "began_at": "2026-11-29T11:40:00Z"},
            "resource_usage": {}, "remote": {"kind": "ray_job", "name": "fc-1-2", "uid": "u1", "url": None}}
    return step | {"wm_labels": ["flexcore", "flexcore:0.0.9", "workflow:toy", "runtime:ray"]}
"""
STRANGE = """
def main():
    return {"success": True, "execution_key": "fc-1", "runtime": "ray", "attempt": 1, "remote": "fc-1-1",
            "resource_usage": {"cpu_seconds": 2, "watts": 9}, "diagnosis": {"category": "oom"}}
"""
FAILS_STRANGELY = """
def main():
    e = ValueError("it broke")
    e.category, e.remedy, e.details = 7, ["look"], {"remote": "fc-1-2", "diagnosis": {"category": 3}, "timings": "soon"}
    raise e
"""
NAP = "import time\ndef main():\n    print('zzz', flush=True)\n    time.sleep(60)\n"
TOYS: dict[str, list[dict[str, Any]]] = {
    "toy": [raw("work", ENDS, {"note": "flow_input.note"}, summary="Do the work")],
    "toy_fails": [raw("first", "def main():\n    return 1\n"), raw("second", FAILS, {"note": "flow_input.note"})],
    "toy_sleeps": [raw("nap", NAP)],
    "toy_labeled": [raw("nap", NAP)],
    "toy_stops": [step("first", "script", "f/flexcore/toys/first"), raw("nap", NAP)],
    "toy_holds": [
        step("held", "script", "f/flexcore/toys/holds", cluster='({"headers": {"Cookie": "ck-2dEf5gHi"}, "name": "c"})')
    ],
    "toy_strange": [
        raw(
            "odd", "def main():\n    return {'execution_key': 'fc-1', 'runtime': 7, 'timings': 'soon', 'tomorrow': 1}\n"
        )
    ],
}
TOYS["toy_strange_fails"] = [raw("odd", STRANGE), raw("bad", FAILS_STRANGELY)]
# Of the flow itself, so its jobs have them from their start.
FLOW_LABELS = {"toy_labeled": ["runtime:kubernetes"]}
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "order": ["note", "pin"],
    "required": [],
    "properties": {
        "note": {"type": "string"},
        "pin": {"type": "string", "password": True},
        "notify": {"type": "object", "format": "resource-c_flexcore_notifications"},
        "form": {
            "type": "object",
            "properties": {"project": {"type": "object", "format": "resource-c_meltano_project"}},
        },
    },
}


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("dashboard") / "bundle"
    shutil.copytree(ROOT / "f", root / "f", ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    for folder in ("locks", "dependencies"):
        shutil.copytree(ROOT / folder, root / folder)
    toys = root / "f/flexcore/toys"
    toys.mkdir()
    for name, code, schema in (("first", STOPPABLE, {}), ("holds", HOLDS, HOLDS_SCHEMA)):
        (toys / f"{name}.py").write_text(code)
        meta = {"summary": "", "kind": "script", "lock": "!inline locks/flexcore_base.requirements.in.lock"}
        (toys / f"{name}.script.yaml").write_text(yaml.safe_dump(meta | ({"schema": schema} if schema else {})))
    for name, modules in TOYS.items():
        file = root / f"f/flexcore/templates/{name}__flow/flow.yaml"
        file.parent.mkdir(parents=True)
        flow = {"summary": name, "schema": SCHEMA, "value": {"modules": modules}}
        file.write_text(yaml.safe_dump(flow | {"labels": FLOW_LABELS.get(name, [])}))
    return root


@pytest.fixture(scope="module")
def engine(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with Engine(bundle, tmp_path_factory.mktemp("home")) as made:
        made.serve()
        yield made


@pytest.fixture(scope="module")
def read(engine: Engine) -> Callable[..., dict[str, Any]]:
    """The answer of read_dashboard, run as the page runs it."""

    def run(*want: str, **more: Any) -> dict[str, Any]:
        done = engine.run("f/flexcore/dashboard/read_dashboard", {"want": list(want), **more})
        assert done.success, done.result
        found: dict[str, Any] = json.loads(json.dumps(done.result))
        return found

    return run


def call(engine: Engine, step_name: str, /, **arguments: Any) -> JobResult:
    return engine.run(f"f/flexcore/dashboard/{step_name}", arguments)


def run_flow(engine: Engine, name: str, **arguments: Any) -> JobResult:
    return engine.run(f"f/flexcore/templates/{name}", arguments)


def until(check: Callable[[], Any], seconds: float = 60) -> Any:
    """What `check` says once it is true."""
    end = time.monotonic() + seconds
    while not (said := check()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.1)
    return said


@pytest.fixture
def ray_head() -> Iterator[FakeDashboard]:
    """The API of a Ray head on loopback."""
    with FakeDashboard() as running:
        yield running


@pytest.fixture
def as_caller(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process speaks to the engine as a job does."""
    env = {"BASE_INTERNAL_URL": engine.url, "WM_WORKSPACE": engine.workspace, "WM_TOKEN": engine.token}
    for name, value in env.items():
        monkeypatch.setenv(name, value)
