"""meltano/run: real Meltano, toy plugins that behave as told, the real target-jsonl."""

from __future__ import annotations

import json
import os
import signal
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core.attempts import Attempt
from f.flexcore.lib.core.contracts import DataManifest, StepResult
from f.flexcore.lib.core.errors import (
    DeadlineExceeded,
    EmptyData,
    ExecutionFailed,
    InvalidInput,
    MissingSetting,
    NotFound,
    Unavailable,
    Unreachable,
)
from f.flexcore.lib.core.identity import execution_key
from f.flexcore.lib.core.resources import Settings
from f.flexcore.lib.meltano import (
    process,
)
from f.flexcore.lib.meltano.extraction_adapter import may_have_loaded
from f.flexcore.lib.meltano.system_database import open_database
from f.flexcore.lib.storage.attempt_records import StoreRecords
from f.flexcore.lib.storage.object_store import Store
from f.flexcore.meltano.run import main
from tests.core.otlp_receiver import Collector, attributes
from tests.meltano.conftest import PATIENCE_S, PROJECT, Step, alive, contents, wait_for

pytestmark = pytest.mark.slow
TIMEOUT_S = int(PATIENCE_S)


def run(project: dict[str, Any], *taps: str, **arguments: Any) -> StepResult:
    """Each call is a Windmill job of its own: of the same flow, a retry of the step."""
    # The fixture `worker` puts back what was there before the test.
    os.environ["WM_JOB_ID"] = str(uuid.uuid4())
    return repeat(project, *taps, **arguments)


def repeat(project: dict[str, Any], *taps: str, **arguments: Any) -> StepResult:
    """The job of the last call, run again as after a worker's death."""
    result = main(project, list(taps or ("tap-toy",)), **{"timeout_s": TIMEOUT_S, **arguments})
    json.dumps(result)
    return StepResult.model_validate(result)


def ids(result: StepResult, stream: str = "orders") -> list[int]:
    assert isinstance(result.output, DataManifest)
    files = [item.path for entry in result.output.streams if entry.name == stream for item in entry.files]
    folder = Path(result.output.uri.removeprefix("file://"))
    return [json.loads(line)["id"] for name in files for line in (folder / name).read_text().splitlines()]


def test_a_run_hands_on_rows_state_resources_and_a_manifest_that_verifies(
    project: dict[str, Any], folder: Path, home: Path
) -> None:
    before = contents(folder)
    result = run(project, "tap-toy", "tap-other")
    assert result.data["streams"] == {"orders": 3, "customers": 3}
    assert result.data["state_advanced"] is True and result.data["exit_code"] == 0
    assert result.metrics["rows"] == 6 and (result.metrics["rows_per_s"] or 0) > 0
    assert (result.resource_usage.cpu_seconds or 0) > 0.2
    assert (result.resource_usage.peak_memory_bytes or 0) > 20_000_000
    assert result.remote and result.remote.uid and result.remote.uid in result.log_tail
    assert None not in (
        result.timings.queued,
        result.timings.starting,
        result.timings.running,
        result.timings.finishing,
    )
    assert ids(result) == [1, 2, 3] and ids(result, "customers") == [1, 2, 3]
    assert isinstance(result.output, DataManifest)
    Store(Settings()).verify(result.output)
    assert {item.name: item.columns for item in result.output.streams}["orders"] == {
        "id": "integer",
        "name": "string",
        "price": "number",
    }
    # The project's own folder is as it was, and the attempt's is gone.
    assert contents(folder) == before
    assert list((home / "meltano/work").iterdir()) == []


def test_the_next_run_takes_up_where_the_last_one_ended(project: dict[str, Any], worker: Callable[[str], None]) -> None:
    assert ids(run(project)) == [1, 2, 3]
    worker("flow-2")
    assert ids(run(project, config=["tap-toy.rows=5"])) == [4, 5]
    worker("flow-3")
    with pytest.raises(EmptyData, match=r"tap-toy extracted no rows.*full_refresh") as caught:
        run(project)
    assert caught.value.details["streams"] == {"orders": 0}
    worker("flow-3b")
    nothing = run(project, allow_empty=True)
    assert nothing.data["state_advanced"] is False and nothing.output is None and nothing.metrics["rows"] == 0
    worker("flow-4")
    assert ids(run(project, full_refresh=True)) == [1, 2, 3]


def test_a_retry_of_what_would_be_empty_again_raises_the_same_error_and_runs_nothing(
    project: dict[str, Any], home: Path
) -> None:
    with pytest.raises(EmptyData) as first:
        run(project, config=["tap-toy.rows=0"])
    with pytest.raises(EmptyData) as again:
        run(project, config=["tap-toy.rows=0"])
    assert str(again.value) == str(first.value) and again.value.__dict__ == first.value.__dict__
    assert attempts_in(home) == ["1"]


def attempts_in(home: Path) -> list[str]:
    """Numbers of the attempts that the store has of this execution."""
    return sorted(path.name for path in (home / "store" / execution_key(os.environ).value).iterdir())


@pytest.mark.fault(27, "I2", "I7", real=True)
def test_a_failure_is_raised_again_in_the_same_job_and_tried_again_by_a_retry(
    project: dict[str, Any], home: Path
) -> None:
    with pytest.raises(ExecutionFailed, match="tap-toy failed") as first:
        run(project, config=["tap-toy.mode=crash"])
    with pytest.raises(ExecutionFailed) as again:
        repeat(project, config=["tap-toy.mode=crash"])
    assert str(again.value) == str(first.value) and again.value.__dict__ == first.value.__dict__
    assert attempts_in(home) == ["1"]
    retried = run(project)
    assert retried.attempt == 2 and ids(retried) == [1, 2, 3]


def test_attempts_are_bounded(project: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("f.flexcore.lib.core.attempts.MAX_ATTEMPTS", 1)
    with pytest.raises(ExecutionFailed, match="tap-toy failed"):
        run(project, config=["tap-toy.mode=crash"])
    with pytest.raises(ExecutionFailed, match=r"1 attempts have failed") as caught:
        run(project)
    assert caught.value.category == "attempts_spent"


def test_a_repeat_of_the_same_execution_gets_the_stored_result(
    project: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    first = run(project)
    again = run(project)
    assert again == first
    assert "has ended already" in capfd.readouterr().out
    assert isinstance(first.output, DataManifest)
    Path(first.output.uri.removeprefix("file://"), "orders.jsonl").write_text("damaged")
    repaired = run(project, full_refresh=True)
    assert repaired.attempt == 2 and ids(repaired) == [1, 2, 3]


class Killed(BaseException):
    """What nothing catches, as SIGKILL."""


def die(*_: Any, **__: Any) -> None:
    raise Killed


@pytest.mark.fault(1, "I7", real=True)
@pytest.mark.parametrize(
    ("moment", "attempt"),
    [
        ("f.flexcore.lib.storage.object_store.Store.write_json", 1),
        ("f.flexcore.lib.meltano.extraction_run.ExtractionRun.run", 2),
        ("f.flexcore.lib.meltano.local_attempts.LocalAttempts.record_manifest", 2),
        ("f.flexcore.lib.storage.attempt_records.StoreRecords.write", 2),
        ("f.flexcore.lib.meltano.state_store.write_back", 1),
        ("f.flexcore.lib.storage.catalog.add", 1),
    ],
)
def test_a_step_that_is_killed_at_any_moment_loses_no_row_and_counts_none_twice(
    project: dict[str, Any],
    worker: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    attempt: int,
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(moment, die)
        run(project)
    again = repeat(project)
    assert again.attempt == attempt and ids(again) == [1, 2, 3]
    worker("flow-2")
    assert ids(run(project, config=["tap-toy.rows=4"])) == [4]


@pytest.mark.fault(1, "I7", real=True)
@pytest.mark.parametrize(
    ("moment", "attempt"),
    [
        ("f.flexcore.lib.meltano.extraction_run.ExtractionRun._publish", 2),
        ("f.flexcore.lib.storage.attempt_records.StoreRecords.write", 2),
        ("f.flexcore.lib.meltano.backend_states.write_back", 1),
    ],
)
def test_where_only_meltano_can_read_the_state_a_step_that_is_killed_loses_no_row_either(
    project: dict[str, Any],
    folder: Path,
    tmp_path: Path,
    worker: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    attempt: int,
) -> None:
    # As a database elsewhere: it is read by SQLAlchemy alone.
    (folder / "meltano.yml").write_text(PROJECT + f"\ndatabase_uri: sqlite+pysqlite:///{tmp_path}/own.db\n")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(moment, die)
        run(project)
    again = repeat(project)
    assert again.attempt == attempt and ids(again) == [1, 2, 3]
    assert again.data["state_advanced"] is True
    worker("flow-2")
    assert ids(run(project, config=["tap-toy.rows=4"])) == [4]
    worker("flow-3")
    with pytest.raises(EmptyData):
        run(project, config=["tap-toy.rows=4"])


@pytest.mark.fault(32, "I7", real=True)
def test_a_state_that_meltano_itself_cannot_read_is_unreachable_before_a_row_is_extracted(
    project: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    (folder / "meltano.yml").write_text(
        PROJECT + f"\ndatabase_uri: sqlite+pysqlite:///{tmp_path}/none/own.db\ndatabase_max_retries: 0\n"
    )
    marker = tmp_path / "marker"
    with pytest.raises(Unreachable, match=r"none/own.db cannot be used: .*unable to open database file"):
        run(project, config=[f"tap-toy.marker={marker}"])
    assert not marker.exists()


@pytest.mark.fault(27, "I2", "I7", real=True)
def test_a_tap_that_fails_is_named_with_its_own_error_and_its_rows_come_again(
    project: dict[str, Any], worker: Callable[[str], None]
) -> None:
    with pytest.raises(
        ExecutionFailed, match=r"tap-toy failed with exit code 1: ConnectionError: server closed"
    ) as caught:
        run(project, config=["tap-toy.mode=crash", "tap-toy.rows=10"])
    assert caught.value.category == "extractor_failed" and caught.value.subject == "tap-toy"
    assert "ConnectionError" in caught.value.details["log_tail"]
    retried = run(project)
    assert retried.attempt == 2 and ids(retried) == [1, 2, 3]


@pytest.mark.fault(27, "I2", "I7", real=True)
def test_of_several_taps_the_failed_one_is_named_and_no_rows_of_the_others_are_lost(
    project: dict[str, Any],
) -> None:
    with pytest.raises(ExecutionFailed, match=r"tap-other failed with exit code 1") as caught:
        run(project, "tap-toy", "tap-other", config=["tap-other.mode=crash"])
    assert caught.value.details["finished_taps"] == ["tap-toy"]
    result = run(project, "tap-toy", "tap-other")
    assert ids(result) == [1, 2, 3] and ids(result, "customers") == [1, 2, 3]


@pytest.mark.fault(27, "I2", real=True)
def test_a_target_that_dies_is_blamed_for_it(project: dict[str, Any], tmp_path: Path) -> None:
    env = {"TARGET_TOY_FILE": str(tmp_path / "rows")}
    with pytest.raises(
        ExecutionFailed, match=r"target-toy failed with exit code 1: ValueError: no space left"
    ) as caught:
        run({**project, "env": env}, target="target-toy", config=["target-toy.mode=crash"])
    assert caught.value.category == "loader_failed" and caught.value.subject == "target-toy"


def test_rows_pass_a_mapping_on_their_way(project: dict[str, Any]) -> None:
    result = run(project, mappings=["hide-names"])
    assert ids(result) == [1, 2, 3] and result.data["mappings"] == ["hide-names"]
    assert isinstance(result.output, DataManifest)
    folder = Path(result.output.uri.removeprefix("file://"))
    assert {json.loads(line)["name"] for line in (folder / "orders.jsonl").read_text().splitlines()} == {"hidden"}


@pytest.mark.fault(27, "I2", "I7", real=True)
@pytest.mark.parametrize(
    ("mapping", "rows", "said"),
    [
        ("crash", 3, r"mapper-toy failed.*ValueError: no such column as email"),
        ("crash", 100_000, r"mapper-toy failed.*ValueError: no such column as email"),
        ("killed", 100_000, r"mapper-toy (was killed|ended while rows were still coming)"),
    ],
)
def test_a_mapper_that_dies_is_named_and_its_rows_come_again(
    project: dict[str, Any], mapping: str, rows: int, said: str
) -> None:
    """Of few rows the tap has told the last by then; of many Meltano knows nobody to write to."""
    with pytest.raises(ExecutionFailed, match=said) as caught:
        run(project, mappings=[mapping], config=[f"tap-toy.rows={rows}"])
    assert caught.value.category in ("mapper_failed", "out_of_memory") and caught.value.subject == "mapper-toy"
    assert ids(run(project, mappings=["hide-names"])) == [1, 2, 3]


@pytest.mark.fault(27, "I2", real=True)
def test_a_target_that_dies_behind_a_mapper_is_blamed_for_it(project: dict[str, Any], tmp_path: Path) -> None:
    place = {**project, "env": {"TARGET_TOY_FILE": str(tmp_path / "rows")}}
    config = ["target-toy.mode=crash", "tap-toy.rows=100000"]
    with pytest.raises(ExecutionFailed, match=r"target-toy failed.*ValueError: no space left") as caught:
        run(place, target="target-toy", mappings=["hide-names"], config=config)
    assert caught.value.category == "loader_failed" and caught.value.subject == "target-toy"


def test_an_unknown_mapping_is_refused_with_those_that_there_are(project: dict[str, Any]) -> None:
    with pytest.raises(NotFound, match=r"no mapping named 'hide'.*Declared: hide-names, crash"):
        run(project, mappings=["hide"])


@pytest.mark.fault(13, "I2", "I7", real=True)
def test_a_tap_that_the_kernel_killed_has_its_own_category(project: dict[str, Any]) -> None:
    with pytest.raises(ExecutionFailed, match=r"tap-toy was killed") as caught:
        run(project, config=["tap-toy.mode=killed"])
    assert caught.value.category == "out_of_memory"
    assert ids(run(project)) == [1, 2, 3]


def test_a_target_that_writes_no_files_keeps_its_state_and_hands_on_nothing(
    project: dict[str, Any], tmp_path: Path, worker: Callable[[str], None]
) -> None:
    place = {**project, "env": {"TARGET_TOY_FILE": str(tmp_path / "rows")}}
    first = run(place, target="target-toy")
    assert first.output is None and first.data["streams"] == {"orders": 3} and first.data["state_advanced"] is True
    worker("flow-2")
    second = run(place, target="target-toy", config=["tap-toy.rows=4"])
    assert second.data["streams"] == {"orders": 1}
    rows = [json.loads(line)["id"] for line in (tmp_path / "rows").read_text().splitlines()]
    assert rows == [1, 2, 3, 4]


@pytest.mark.fault(1, "I2", "I7", real=True)
def test_a_load_whose_step_was_killed_before_it_was_recorded_is_no_failure_when_it_is_repeated(
    project: dict[str, Any], tmp_path: Path, worker: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = {**project, "env": {"TARGET_TOY_FILE": str(tmp_path / "rows")}}
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("f.flexcore.lib.storage.attempt_records.StoreRecords.write", die)
        run(place, target="target-toy")
    again = repeat(place, target="target-toy")
    assert again.attempt == 2 and again.metrics["rows"] == 0
    assert any("an earlier attempt of this step ended half-way" in text for text in again.data["warnings"])
    assert [json.loads(line)["id"] for line in (tmp_path / "rows").read_text().splitlines()] == [1, 2, 3]
    worker("flow-2")
    with pytest.raises(EmptyData):
        run(place, target="target-toy")


@pytest.mark.parametrize(
    ("attempt", "expected"),
    [
        (Attempt(1, "abandoned"), True),
        (Attempt(1, "failed", error=ExecutionFailed("x", streams={"tap-toy": {"orders": 3}})), True),
        (Attempt(1, "failed", error=ExecutionFailed("x", streams={"tap-toy": {"orders": 0}, "tap-b": {}})), False),
        (Attempt(1, "failed", error=ExecutionFailed("x")), False),
    ],
)
def test_an_attempt_that_was_killed_or_failed_with_rows_under_way_may_have_loaded_them(
    attempt: Attempt, expected: bool
) -> None:
    assert may_have_loaded(attempt) is expected


@pytest.mark.fault(3, "I2", "I4", "I7", real=True)
@pytest.mark.fault(27, "I4", real=True)
def test_at_the_deadline_the_whole_tree_ends(
    project: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "GRACE_S", 1.0)
    marker = tmp_path / "marker"
    # Long enough for Meltano to start the tap on a busy machine.
    # The mapper in between and the target wait for what the tap never says: all three are alive by then.
    config = ["tap-toy.mode=hang", f"tap-toy.marker={marker}"]
    with pytest.raises(DeadlineExceeded, match=r"tap-toy into target-jsonl did not end within 15 s") as caught:
        run(project, timeout_s=15, config=config, mappings=["hide-names"])
    assert caught.value.category == "deadline"
    assert not any(alive(pid) for pid in json.loads(marker.read_text())["pids"])
    assert ids(run(project)) == [1, 2, 3]


@pytest.mark.fault(27, "I4", real=True)
def test_a_mapper_and_a_target_that_both_hang_are_ended_at_the_deadline(
    project: dict[str, Any], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of more rows than the pipes hold, so that the tap hangs with them."""
    monkeypatch.setattr(process, "GRACE_S", 1.0)
    marker = tmp_path / "mapper.pid"
    text = (folder / "meltano.yml").read_text()
    (folder / "meltano.yml").write_text(text.replace("{mode: hang}", f"{{mode: hang, marker: {marker}}}"))
    place = {**project, "env": {"TARGET_TOY_FILE": str(tmp_path / "rows")}}
    config = ["target-toy.mode=hang", "tap-toy.rows=100000"]
    with pytest.raises(DeadlineExceeded, match=r"tap-toy into target-toy did not end within 15 s"):
        run(place, target="target-toy", timeout_s=15, mappings=["hang"], config=config)
    assert not alive(int(marker.read_text()))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.fault(1, "I4", "I7", real=True)
@pytest.mark.fault(2, "I4", "I7", real=True)
@pytest.mark.fault(28, "I2", "I4", "I7", real=True)
def test_when_the_step_is_killed_nothing_lives_on_and_the_repeat_loses_no_row(
    project: dict[str, Any], tmp_path: Path, home: Path, start: Callable[..., Step], number: int
) -> None:
    marker = tmp_path / "marker"
    config = ["tap-toy.mode=orphan", f"tap-toy.marker={marker}"]
    step = start({"project": project, "taps": ["tap-toy"], "config": config, "timeout_s": TIMEOUT_S})
    pids = json.loads(wait_for(lambda: marker.exists() and marker.read_text(), "the tap has started"))["pids"]
    step.kill(number)
    wait_for(lambda: not any(alive(pid) for pid in pids), "tap, its child and Meltano have ended")
    result = run(project)
    assert result.attempt == 2 and ids(result) == [1, 2, 3]
    assert list((home / "meltano/work").iterdir()) == []


@pytest.mark.fault(4, "I1", "I2", real=True)
def test_two_copies_of_a_step_make_one_run(project: dict[str, Any], start: Callable[..., Step]) -> None:
    request = {"project": project, "taps": ["tap-toy"], "timeout_s": TIMEOUT_S}
    copies = [start(request), start(request)]
    first, second = (copy.result() for copy in copies)
    assert first == second and first["attempt"] == 1


@pytest.mark.fault(4, "I7", real=True)
@pytest.mark.parametrize("spoiled", [False, True], ids=["no database yet", "left by a killed one"])
def test_first_runs_of_a_project_at_once_all_end_well(
    project: dict[str, Any], home: Path, tmp_path: Path, start: Callable[..., Step], spoiled: bool
) -> None:
    """They share a system database when the target keeps the state by itself, or the store is a bucket."""
    place = {**project, "env": {"TARGET_TOY_FILE": str(tmp_path / "rows")}}
    if spoiled:
        run(place, target="target-toy")
        (database,) = (home / "meltano/state").rglob("meltano.db")
        with open_database(database) as changed:
            changed.execute("DELETE FROM alembic_version")
    request = {"project": place, "target": "target-toy", "timeout_s": TIMEOUT_S}
    flows = [
        start({**request, "taps": [tap]}, WM_JOB_ID=f"job-{tap}", WM_FLOW_JOB_ID=f"flow-{tap}")
        for tap in ("tap-toy", "tap-other")
    ]
    assert [flow.result()["data"]["exit_code"] for flow in flows] == [0, 0]


@pytest.mark.fault(4, "I7", real=True)
def test_another_execution_of_the_same_state_is_refused_with_its_owner(
    project: dict[str, Any], tmp_path: Path, start: Callable[..., Step], worker: Callable[[str], None]
) -> None:
    marker = tmp_path / "marker"
    config = ["tap-toy.mode=hang", f"tap-toy.marker={marker}"]
    start({"project": project, "taps": ["tap-toy"], "config": config, "timeout_s": TIMEOUT_S})
    wait_for(marker.exists, "the tap has started")
    worker("flow-2")
    with pytest.raises(Unavailable, match=r"Another run of dev:tap-toy-to-target-jsonl .* \(job flow-1\)") as caught:
        run(project)
    assert caught.value.retryable and caught.value.details["held_by"]["job"] == "flow-1"


def test_plugins_join_the_trace_of_their_run(project: dict[str, Any], tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    place = {**project, "env": {"TAP_TOY_SECRET": "hunter2-very-secret", "TAP_TOY_MARKER": str(marker)}}
    with Collector() as server:
        result = run(place, settings={"otlp_endpoint": server.address})
        collected = server.collected
    attempt = collected.named("meltano run")
    assert result.trace and result.trace.is_exported
    told = f"00-{result.trace.trace_id}-{attempt.span_id.hex()}-01"
    assert json.loads(marker.read_text())["env"]["TRACEPARENT"] == told
    assert [span.name for span in collected.spans if span.parent_span_id == attempt.span_id] == [
        "queued",
        "starting",
        "running",
        "finishing",
    ]
    assert attributes(attempt)["flexcore.rows"] == 3
    assert "hunter2" not in str(collected.requests[0].content)


@pytest.mark.fault(33, "I6", real=True)
def test_secrets_reach_the_plugins_and_nothing_else(
    project: dict[str, Any],
    tmp_path: Path,
    home: Path,
    capfd: pytest.CaptureFixture[str],
    worker: Callable[[str], None],
) -> None:
    marker, secret = tmp_path / "marker", "hunter2-very-secret"
    place = {**project, "env": {"TAP_TOY_SECRET": secret, "TAP_TOY_MARKER": str(marker)}}
    result = run(place)
    env = json.loads(marker.read_text())["env"]
    assert env["TAP_TOY_SECRET"] == secret
    assert "WM_TOKEN" not in env and not any("worker-token" in value for value in env.values())
    shown = capfd.readouterr()
    assert "connecting with ***" in result.log_tail
    stored = contents(home / "store")
    for text in (shown.out, shown.err, result.model_dump_json(), *stored.values()):
        assert secret not in text
    worker("flow-2")
    with pytest.raises(ExecutionFailed, match=r"ConnectionError") as caught:
        run(place, config=["tap-toy.mode=crash"], full_refresh=True)
    assert secret not in str(caught.value) + json.dumps(caught.value.__dict__)


@pytest.mark.fault(33, "I6", real=True)
def test_a_secret_is_masked_as_the_plugin_gets_it(
    project: dict[str, Any], folder: Path, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """From a variable of another name, a .env file with comments, and over several lines."""
    key = "first-line-of-a-key\n${COPPER}-on-another-line\nthird-line-of-a-key"
    (folder / ".env").write_text(f'COPPER=otter-4417-otter # not part of it\nMATERIAL="{key}"\n')
    text = (folder / "meltano.yml").read_text()
    secret = "- {name: secret, kind: password}"
    (folder / "meltano.yml").write_text(text.replace(secret, secret[:-1] + ", value: $MATERIAL}"))
    result = run(project)
    shown, stored = capfd.readouterr(), contents(home / "store")
    everything = [shown.out, shown.err, result.model_dump_json(), *stored.values()]
    assert "connecting with ***" in result.log_tail
    for part in ("otter-4417-otter", "first-line", "another-line", "third-line"):
        assert not any(part in text for text in everything), part


def test_a_mapping_whose_salt_is_not_set_is_refused_before_anything_runs(
    project: dict[str, Any], folder: Path, home: Path
) -> None:
    text = (folder / "meltano.yml").read_text()
    (folder / "meltano.yml").write_text(text.replace("{mode: ok}", "{mode: ok, deep: [{hash_salt: $PEOPLE_SALT}]}"))
    with pytest.raises(MissingSetting, match=r"mapping hide-names is set from \$PEOPLE_SALT, which has no value"):
        run(project, mappings=["hide-names"])
    assert not (home / "store").exists()
    assert ids(run({**project, "env": {"PEOPLE_SALT": "juniper"}}, mappings=["hide-names"])) == [1, 2, 3]


def test_a_workers_own_python_does_not_leak_into_meltano(
    project: dict[str, Any], tmp_path: Path, start: Callable[..., Step]
) -> None:
    broken = tmp_path / "broken" / "click"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('the worker's own click')")
    path = os.pathsep.join([str(Path(__file__).parents[2]), str(broken.parent)])
    step = start(
        {"project": project, "taps": ["tap-toy"], "timeout_s": TIMEOUT_S}, PYTHONPATH=path, VIRTUAL_ENV="/none"
    )
    assert step.result()["success"] is True


def test_streams_and_columns_can_be_selected(project: dict[str, Any]) -> None:
    two = ['tap-toy.streams=["orders", "returns"]']
    result = run(project, config=two, select=["orders.*", "!orders.price"])
    assert result.data["streams"] == {"orders": 3}
    assert isinstance(result.output, DataManifest)
    assert list(result.output.streams[0].columns) == ["id", "name"]


def test_two_taps_with_one_stream_are_not_mixed_into_one_file(project: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=r"tap-toy and tap-other both have a stream orders"):
        run(project, "tap-toy", "tap-other", config=['tap-other.streams=["orders"]'])


def test_environment_and_inline_text_and_repository_reach_meltano(
    project: dict[str, Any], folder: Path, tmp_path: Path, worker: Callable[[str], None]
) -> None:
    assert ids(run(project, environment="prod")) == list(range(1, 8))
    worker("flow-2")
    text = PROJECT.replace("./toy_tap.py", str(folder / "toy_tap.py"))
    assert ids(run({"meltano_yml": text})) == [1, 2, 3]


def test_a_projects_own_system_database_is_used_and_readable_by_meltano(
    project: dict[str, Any], folder: Path, tmp_path: Path, worker: Callable[[str], None]
) -> None:
    (folder / "meltano.yml").write_text(PROJECT + f"\ndatabase_uri: sqlite:///{tmp_path}/own.db\n")
    assert run(project).data["state_place"] == f"sqlite:///{tmp_path}/own.db"
    worker("flow-2")
    assert ids(run(project, config=["tap-toy.rows=4"])) == [4]


def test_a_plugin_that_cannot_be_installed_is_named(project: dict[str, Any], folder: Path) -> None:
    text = PROJECT.replace("executable: ./toy_tap.py", "executable: tap-toy\n    pip_url: ./no-such-folder")
    (folder / "meltano.yml").write_text(text)
    with pytest.raises(ExecutionFailed, match=r"tap-toy cannot be installed: .*no-such-folder") as caught:
        run(project)
    assert caught.value.category == "install_failed" and caught.value.details["log_tail"]


def test_data_goes_to_an_object_store_and_the_state_with_it(
    project: dict[str, Any], tmp_path: Path, worker: Callable[[str], None], bucket: dict[str, str]
) -> None:
    first = run(project, settings=bucket)
    assert isinstance(first.output, DataManifest) and first.output.uri.startswith("s3://")
    store = Store(Settings(**bucket))
    store.verify(first.output)
    uri = StoreRecords(store, execution(first)).uri(1, "manifest.json")
    assert store.read_json(uri) == first.output.model_dump(mode="json")
    worker("flow-2")
    second = run(project, settings=bucket, config=["tap-toy.rows=4"])
    assert second.data["streams"] == {"orders": 1}
    assert second.data["state_place"].startswith("s3://")
    for text in (first.model_dump_json(), second.model_dump_json()):
        assert bucket["storage_secret_key"] not in text


def execution(result: StepResult) -> Any:
    key = execution_key({"WM_FLOW_JOB_ID": "flow-1", "WM_FLOW_STEP_ID": "extract"})
    assert key.value == result.execution_key
    return key


@pytest.mark.fault(29, "I7", real=True)
def test_a_killed_meltano_whose_state_is_elsewhere_blocks_no_other_run(
    project: dict[str, Any], home: Path, worker: Callable[[str], None], bucket: dict[str, str]
) -> None:
    run(project, settings=bucket)
    (database,) = (home / "meltano/state").rglob("meltano.db")
    # As a run that could not say its end left it a moment ago.
    with open_database(database) as changed:
        changed.execute("UPDATE runs SET state = 'RUNNING', ended_at = NULL, last_heartbeat_at = CURRENT_TIMESTAMP")
    worker("flow-2")
    assert run(project, settings=bucket, config=["tap-toy.rows=4"]).data["streams"] == {"orders": 1}
