"""Traces of whole flows on the local engine: what steps write themselves, and what reconcile adds when they have ended.

The steps are those of the fourth runtime, which needs no service: the same driver and the same operations.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from f.flexcore.lib.core import resources, trace_context
from f.flexcore.lib.core.identity import execution_key
from f.flexcore.lib.core.remote_objects import RemoteObject
from f.flexcore.lib.operations import trace_delivery
from f.flexcore.lib.storage import object_store
from f.flexcore.lib.windmill.client import Client
from tests.core.otlp_receiver import Answer, Collected, Collector, attributes
from tests.wmlocal.engine.conftest import Writer, call, raw
from wmlocal.engine import Engine

pytestmark = pytest.mark.xdist_group("traces")
ROOT = Path(__file__).parent.parent.parent
COMMAND = "f/flexcore/command/run"
# An operation's step that is killed while its work runs.
KILLED = """
import os, signal, threading
from f.flexcore.lib.command import run_command
def main(settings: dict):
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGKILL)).start()
    return run_command.RUN.run({"command": ["sleep", "3"], "settings": settings})
"""
FAILS = "def main():\n    raise ValueError('no such column: password=hunter2hunter2')"


def write_flows(bundle: Path) -> None:
    (bundle / "f/data").mkdir()
    write = Writer.__new__(Writer)
    write.root = bundle
    given: dict[str, str] = {"command": "['echo', 'done']", "settings": "flow_input.settings"}
    write.script("f/data/killed", KILLED)
    loop = {
        "id": "loop",
        "value": {
            "type": "forloopflow",
            "iterator": {"type": "javascript", "expr": "[1, 2]"},
            "parallel": True,
            "modules": [call("each", "script", COMMAND, **given), raw("note", "def main():\n    return 1")],
        },
    }
    branches = {
        "id": "both",
        "value": {
            "type": "branchall",
            "parallel": True,
            "branches": [
                {"summary": name, "modules": [raw(name, "def main():\n    return 1")]} for name in ("left", "right")
            ],
        },
    }
    write.flow("f/data/part", [call("inner", "script", COMMAND, **given)])
    sub = call("sub", "flow", "f/data/part", settings="flow_input.settings")
    write.flow("f/data/nightly", [call("one", "script", COMMAND, **given), loop, branches, sub])
    killed = call("dies", "script", "f/data/killed", settings="flow_input.settings")
    write.flow("f/data/broken", [call("one", "script", COMMAND, **given), killed])
    write.flow("f/data/wrong", [call("one", "script", COMMAND, **given), raw("fails", FAILS)])


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    bundle, home = tmp_path_factory.mktemp("traces") / "bundle", tmp_path_factory.mktemp("home")
    for folder in ("f/flexcore/lib", "locks", "dependencies"):
        shutil.copytree(ROOT / folder, bundle / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (ROOT / "wmill.yaml", ROOT / "pyproject.toml"):
        shutil.copy(file, bundle)
    shutil.copytree(ROOT / "tests/fourth_runtime/bundle", bundle, dirs_exist_ok=True)
    write_flows(bundle)
    with Engine(bundle, home) as running:
        yield running


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        yield server


@pytest.fixture
def collected(collector: Collector) -> Collected:
    return collector.collected


@pytest.fixture
def settings(collector: Collector, tmp_path: Path) -> dict[str, Any]:
    return {"otlp_endpoint": collector.address, "storage_uri": f"file://{tmp_path}"}


def delivery(engine: Engine, settings: dict[str, Any], **more: Any) -> trace_delivery.Delivery:
    chosen = resources.Settings.model_validate(settings)
    windmill = Client(engine.token, workspace=engine.workspace, url=engine.url)
    return trace_delivery.Delivery(windmill, chosen, object_store.Store(chosen), print, env={}, **more)


def of_run(collected: Collected, id: Any) -> list[Span]:
    return [span for span in collected.spans if span.trace_id.hex() == trace_context.trace_of_job(str(id))]


def names(spans: list[Span]) -> list[str]:
    return sorted(span.name for span in spans)


def test_flow_loops_branches_subflows_and_steps_are_one_tree(
    engine: Engine, collected: Collected, settings: dict[str, Any]
) -> None:
    done = engine.run("f/data/nightly", {"settings": settings})
    assert done.success, done.result
    own = names(of_run(collected, done.id))
    assert own == sorted(["one", "each", "each", "inner", *["command"] * 4])
    delivery(engine, settings).run()
    spans = of_run(collected, done.id)
    ids = {span.span_id for span in spans}
    assert len(ids) == len(spans), "each once"
    (root,) = [span for span in spans if not span.parent_span_id]
    assert (root.name, root.span_id.hex()) == ("f/data/nightly", trace_context.span_of_job(str(done.id)))
    assert {span.parent_span_id for span in spans} - {b""} <= ids, "none hangs in the air"
    added = names(spans)
    for name in own:
        added.remove(name)
    # Two iterations and two branches are jobs of their own, and so is the inner flow.
    assert {"f/data/nightly", "sub", "left", "right", "note"} <= set(added)
    assert all(span.status.code == Status.STATUS_CODE_OK for span in spans)
    assert root.start_time_unix_nano <= min(span.start_time_unix_nano for span in spans)


def test_a_second_pass_writes_nothing_again(engine: Engine, collected: Collected, settings: dict[str, Any]) -> None:
    engine.run("f/data/part", {"settings": settings})
    delivery(engine, settings).run()
    before = len(collected.requests)
    assert delivery(engine, settings).run() == 0 and len(collected.requests) == before


def test_a_step_that_was_killed_has_its_span_from_reconcile(
    engine: Engine, collected: Collected, settings: dict[str, Any]
) -> None:
    done = engine.run("f/data/broken", {"settings": settings})
    assert not done.success
    assert names(of_run(collected, done.id)) == ["command", "one"]
    delivery(engine, settings).run()
    spans = {span.name: span for span in of_run(collected, done.id)}
    assert spans["dies"].status.code == spans["f/data/broken"].status.code == Status.STATUS_CODE_ERROR
    assert attributes(spans["dies"])["flexcore.outcome"] == "failed" and spans["dies"].end_time_unix_nano
    assert spans["dies"].parent_span_id == spans["f/data/broken"].span_id
    assert len([span for span in of_run(collected, done.id) if span.name == "dies"]) == 1


def test_a_foreign_steps_error_is_masked(engine: Engine, collected: Collected, settings: dict[str, Any]) -> None:
    done = engine.run("f/data/wrong", {"settings": settings})
    delivery(engine, settings).run()
    spans = {span.name: span for span in of_run(collected, done.id)}
    assert "no such column" in spans["fails"].status.message
    assert "hunter2hunter2" not in "".join(str(request.content) for request in collected.requests)


@pytest.mark.parametrize("answer", [Answer(503), Answer(404)])
def test_what_a_collector_does_not_take_is_delivered_by_a_later_pass_whole(
    engine: Engine, collected: Collected, settings: dict[str, Any], answer: Answer
) -> None:
    collected.answer = answer
    done = engine.run("f/data/part", {"settings": settings})
    assert done.success
    assert delivery(engine, settings).run() == 0
    collected.requests.clear()
    collected.answer = Answer()
    assert delivery(engine, settings).run() >= 1
    spans = of_run(collected, done.id)
    assert len({span.span_id for span in spans}) == len(spans)
    # The step's own and its attempt's, made of its result.
    assert names(spans) == ["command", "f/data/part", "inner"]
    assert {span.parent_span_id for span in spans} - {b""} <= {span.span_id for span in spans}


def test_the_order_in_which_spans_come_changes_no_id(
    engine: Engine, collected: Collected, settings: dict[str, Any]
) -> None:
    done = engine.run("f/data/part", {"settings": settings})
    written = {(span.name, span.span_id, span.parent_span_id) for span in of_run(collected, done.id)}
    collected.requests.clear()
    collected.answer = Answer(503)
    again = engine.run("f/data/part", {"settings": settings})
    in_vain = {(span.name, span.span_id, span.parent_span_id) for span in of_run(collected, again.id)}
    collected.requests.clear()
    collected.answer = Answer()
    delivery(engine, settings).run()
    delivered = {(span.name, span.span_id, span.parent_span_id) for span in of_run(collected, again.id)}
    assert len(written) == len(in_vain) == 2 and in_vain <= delivered


def test_traces_that_are_not_kept_are_written_by_nobody(
    engine: Engine, collected: Collected, settings: dict[str, Any]
) -> None:
    done = engine.run("f/data/part", {"settings": settings | {"trace_sample_ratio": 0}})
    assert done.success
    delivery(engine, settings | {"trace_sample_ratio": 0}).run()
    assert of_run(collected, done.id) == []


@pytest.mark.parametrize(
    "content",
    [
        '{"until": "garbage"}',
        '{"until": 1, "due": {"id": "yesterday"}}',
        '{"until": 1, "orphans": [7]}',
        '{"until": 1, "orphans": [{"labels": {}}], "delivered": []}',
    ],
)
def test_a_state_that_cannot_be_read_is_begun_anew(
    engine: Engine, collected: Collected, settings: dict[str, Any], tmp_path: Path, content: str
) -> None:
    done = engine.run("f/data/part", {"settings": settings})
    file = tmp_path / f"traces/{engine.workspace}/delivery.json"
    file.parent.mkdir(parents=True)
    file.write_text(content)
    assert delivery(engine, settings).run() >= 1
    assert "f/data/part" in names(of_run(collected, done.id))


def test_where_windmill_traces_by_itself_its_root_span_is_left_to_it(
    engine: Engine, collected: Collected, settings: dict[str, Any]
) -> None:
    done = engine.run("f/data/part", {"settings": settings})
    chosen = delivery(engine, settings)
    chosen.env = {"TRACEPARENT": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    chosen.run()
    assert "f/data/part" not in names(of_run(collected, done.id))


def test_what_a_killed_step_has_left_and_reconcile_stopped_is_a_span_once(
    engine: Engine, collected: Collected, settings: dict[str, Any]
) -> None:
    flow = "01998f1c-7a00-7000-9223-456789abcde0"
    key = execution_key({"WM_JOB_ID": "j", "WM_FLOW_JOB_ID": flow, "WM_FLOW_STEP_ID": "run"})
    left = RemoteObject("kubernetes", "p", "Job", key.name(1), "u-1", "running", key.labels(1), created_at=1000.0)
    collected.answer = Answer(503)
    delivery(engine, settings, orphans=[left]).run()
    collected.requests.clear()
    collected.answer = Answer()
    for _ in range(2):
        delivery(engine, settings).run()
    (span,) = of_run(collected, flow)
    assert (span.name, span.span_id.hex()) == ("kubernetes Job", trace_context.span_of(key.name(1)))
    assert (span.parent_span_id.hex(), span.start_time_unix_nano) == (trace_context.span_of_job(flow), 1000 * 10**9)
    assert attributes(span)["flexcore.outcome"] == "stopped" and span.status.code == Status.STATUS_CODE_ERROR
