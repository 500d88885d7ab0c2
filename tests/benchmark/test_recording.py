"""The end of one run of the race when its step is killed and repeated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.benchmark import fingerprint, outputs, tables
from f.flexcore.lib.core import contracts, resources
from f.flexcore.lib.storage import object_store
from f.flexcore.operations.record_benchmark_run import main
from tests.operations.fake_windmill import FakeWindmill

FLOW = "flow-1"
LEG = {
    "number": 1,
    "turn": 1,
    "work": "extract",
    "table": "narrow",
    "runtime": "meltano",
    "workflow_type": "benchmark/extract-narrow",
    "source": "s",
    "loaded": "s_loaded",
}
ROWS = [{"id": n, "customer": n, "amount": "1.50", "created": "2020-01-01T00:00:00Z", "note": "x"} for n in range(5)]


class Killed(BaseException):
    """What nothing catches, as SIGKILL."""


@pytest.fixture(autouse=True)
def windmill(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeWindmill]:
    """One that knows how long the work took."""
    with FakeWindmill() as running:
        modules = [{"id": "run", "job": "run-1"}]
        running.ended[FLOW] = {"id": FLOW, "type": "QueuedJob", "flow_status": {"modules": modules}}
        running.ended["run-1"] = {"id": "run-1", "type": "CompletedJob", "duration_ms": 2000}
        env = {"BASE_INTERNAL_URL": running.address, "WM_TOKEN": "token", "WM_WORKSPACE": "test", "WM_JOB_ID": "job-1"}
        for name, value in {**env, "WM_FLOW_JOB_ID": FLOW, "WM_FLOW_STEP_ID": "record"}.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def arguments(tmp_path: Path) -> dict[str, Any]:
    """Of the step, behind a run whose output is right."""
    folder = tmp_path / "store" / "fc-0" / "1" / "data"
    folder.mkdir(parents=True)
    (folder / "narrow.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    size = (folder / "narrow.jsonl").stat().st_size
    file = contracts.File(path="narrow.jsonl", bytes=size, checksum=f"sha256:{'0' * 64}")
    stream = contracts.Stream(name="narrow", bytes=size, files=[file])
    output = contracts.DataManifest(uri=f"file://{folder}", format="jsonl", bytes=size, streams=[stream])
    settings = {"storage_uri": f"file://{tmp_path}/store"}
    store = object_store.Store(resources.Settings(**settings))
    columns = tables.COLUMNS["narrow"]
    marks = fingerprint.compute_fingerprint(outputs.read_manifest(output, store, columns), columns)
    result = contracts.StepResult(success=True, runtime="meltano", execution_key="fc-0", attempt=1, output=output)
    source = {"fingerprint": marks.model_dump(), "rows": len(ROWS), "bytes": size}
    return {"leg": LEG, "result": result.plain(), "source": source, "database": {}, "settings": settings}


def data_files(arguments: dict[str, Any]) -> list[str]:
    root = Path(arguments["settings"]["storage_uri"].removeprefix("file://"))
    return [path.name for path in root.rglob("*.jsonl")]


@pytest.mark.fault(1, "I2")
def test_a_right_run_whose_output_is_gone_already_is_as_right_for_the_repeat(arguments: dict[str, Any]) -> None:
    first = main(**arguments)
    assert first["success"] and first["run"]["duration_s"] == 2.0 and first["wm_labels"]
    assert data_files(arguments) == []
    assert main(**arguments) == first


@pytest.mark.fault(1, "I2")
def test_a_step_that_is_killed_before_the_output_is_removed_removes_it_when_it_is_repeated(
    arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(outputs, "remove_output", die)
        main(**arguments)
    assert data_files(arguments) == ["narrow.jsonl"]
    assert main(**arguments)["success"]
    assert data_files(arguments) == []


def test_each_run_of_the_race_is_measured_for_itself(
    arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(**arguments)["success"]
    monkeypatch.setenv("WM_FLOW_JOB_ID", "flow-2")
    failed = main(**arguments | {"result": {"error": {"message": "out of memory"}}})
    assert failed["success"] is False and failed["measurement"]["error"] == "out of memory"
