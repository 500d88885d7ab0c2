"""Batch inference on a real Ray head that is killed at bad moments: a whole output or none, and nothing twice."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from f.flexcore.lib.core import module_source
from f.flexcore.lib.core.errors import FlexcoreError, InvalidInput
from f.flexcore.lib.core.identity import execution_key
from f.flexcore.lib.ray import job_observer, predict_job
from f.flexcore.lib.storage.object_store import local_path
from f.flexcore.ray import predict
from flexcore.ray_head import RayHead
from tests.ray.data import flowers
from tests.ray.models import stored_model

pytestmark = pytest.mark.slow
Extracted = Callable[..., dict[str, Any]]
ROWS = 6000
PREDICT = "f.flexcore.lib.ray.remote.predict"
# Appended to what is shipped, so that there is a middle to be killed in on a fast machine, too.
SLOW = """

import time as _time

_predict, _write = RowPredictor.__call__, write_predictions


def _predict_slowly(self, rows):
    _time.sleep(0.2)
    return _predict(self, rows)


def write_predictions(*given):
    _write(*given)
    _time.sleep(3)


RowPredictor.__call__ = _predict_slowly
"""


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    find = module_source.find_source
    monkeypatch.setattr(module_source, "find_source", lambda name: find(name) + (SLOW if name == PREDICT else ""))


def numbered(count: int) -> list[dict[str, Any]]:
    return [{"id": f"row-{number}", **row} for number, row in enumerate(flowers(count))]


def read_output(output: dict[str, Any]) -> list[dict[str, Any]]:
    folder = local_path(output["uri"])
    files = [file["path"] for stream in output["streams"] for file in stream["files"]]
    return [row for name in files for row in pq.read_table(Path(folder, name)).to_pylist()]


def find_driver(submission: str) -> int | None:
    """The process of a job's program."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = Path(folder, "environ").read_bytes() + Path(folder, "cmdline").read_bytes()
            except OSError:
                continue
            if b"flexcore_job.py" in words and submission.encode() in words:
                return int(folder.name)
    return None


def wait_for(check: Callable[[], Any], timeout_s: float = 90) -> Any:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = check()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come about in time")


@pytest.mark.usefixtures("same_step", "slowly")
def test_a_head_that_dies_in_the_middle_costs_some_rows_and_no_row_comes_twice(
    tmp_path: Path, extracted: Extracted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_observer, "LOST_CONTACT_TIMEOUT_S", 5.0)
    monkeypatch.setattr(predict_job, "CHECKPOINT_ROWS", 100)
    model = stored_model(tmp_path / "m", "daisy", "1").plain()
    source = extracted(numbered(ROWS))
    store = tmp_path / "home/store"
    first: list[Any] = []

    def run(cluster: dict[str, Any]) -> None:
        try:
            first.append(predict.main(cluster, model, source, id_column="id", timeout_s=120))
        except FlexcoreError as error:
            first.append(error)

    with RayHead(tmp_path / "one") as head:
        thread = threading.Thread(target=run, args=(head.resource,))
        thread.start()
        done = wait_for(lambda: len([*store.glob("fc-*/predictions/checkpoint/*[!g].parquet")]) >= 1)
        head.stop()
        thread.join(120)
    assert done
    assert isinstance(first[0], FlexcoreError)
    assert not [*store.glob("fc-*/predictions/manifest.json")], "half an output is none"

    with RayHead(tmp_path / "two") as head:
        result = predict.main(head.resource, model, source, id_column="id", timeout_s=300)
        rows = read_output(result["output"])
        assert result["output"]["rows"] == ROWS
        assert 0 < result["data"]["resumed_rows"] <= ROWS
        assert Counter(row["id"] for row in rows) == Counter(row["id"] for row in numbered(ROWS))
        assert not [*store.glob("fc-*/predictions/checkpoint")]

        # A repeat of a run that has ended predicts nothing again: its record, and without it the manifest, says so.
        manifest = next(iter(store.glob("fc-*/predictions/manifest.json")))
        before = manifest.stat().st_mtime_ns
        again = predict.main(head.resource, model, source, id_column="id", timeout_s=300)
        assert again["output"] == result["output"]
        assert manifest.stat().st_mtime_ns == before


@pytest.mark.usefixtures("same_step", "slowly")
@pytest.mark.parametrize("id_column", ["id", ""])
def test_a_program_that_is_killed_is_followed_by_one_that_publishes_all(
    cluster: dict[str, Any], tmp_path: Path, extracted: Extracted, monkeypatch: pytest.MonkeyPatch, id_column: str
) -> None:
    monkeypatch.setattr(predict_job, "CHECKPOINT_ROWS", 100)
    model = stored_model(tmp_path / "m", "daisy", "1").plain()
    source, store = extracted(numbered(ROWS)), tmp_path / "home/store"
    arguments: dict[str, Any] = {"id_column": id_column, "timeout_s": 300}

    def kill() -> None:
        # Found before there is an output: writing it takes less time than looking for a process.
        driver = wait_for(lambda: find_driver(f"{key}-1"))
        while not [*store.glob("fc-*/predictions/parts/*")]:
            time.sleep(0.001)
        os.kill(driver, signal.SIGKILL)

    # A flow run of its own: the head knows the jobs of the other case.
    monkeypatch.setenv("WM_FLOW_JOB_ID", str(uuid.uuid4()))
    key = execution_key(os.environ).value
    killer = threading.Thread(target=kill)
    killer.start()
    monkeypatch.setenv("WM_JOB_ID", "018f0000-0000-7000-8000-00000000000a")
    with pytest.raises(FlexcoreError):
        predict.main(cluster, model, source, **arguments)
    killer.join(120)
    assert not [*store.glob("fc-*/predictions/manifest.json")]
    # A retry is another job of Windmill.
    monkeypatch.setenv("WM_JOB_ID", "018f0000-0000-7000-8000-00000000000b")
    result = predict.main(cluster, model, source, **arguments)
    assert Counter(row["id"] for row in read_output(result["output"])) == Counter(row["id"] for row in numbered(ROWS))
    folder = Path(local_path(result["output"]["uri"]))
    listed = {file["path"] for stream in result["output"]["streams"] for file in stream["files"]}
    assert {path.name for path in folder.iterdir()} == listed, "what a dead attempt left is gone"
    assert json.loads((folder.parent / "manifest.json").read_text())["output"]["rows"] == ROWS


def test_ids_that_cannot_tell_rows_apart_are_refused_with_counts(
    cluster: dict[str, Any], tmp_path: Path, extracted: Extracted
) -> None:
    """By the job; what else is no id: test_prediction_ids."""
    model = stored_model(tmp_path / "m", "daisy", "1").plain()
    source = extracted([{"twice": n // 2, **row} for n, row in enumerate(flowers(40))])
    with pytest.raises(InvalidInput, match="'twice' is not unique: 40 rows have 20 different values") as caught:
        predict.main(cluster, model, source, id_column="twice")
    assert caught.value.subject == "id_column"
    assert not [*(tmp_path / "home/store").glob("fc-*/predictions/parts/*")]
