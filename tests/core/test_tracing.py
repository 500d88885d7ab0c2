"""A step with an OpenTelemetry endpoint: which spans a collector gets of it, and that no collector can harm it."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from f.flexcore.lib.core import contracts, driver, errors, identity, operation, resources, step_trace, trace_context
from f.flexcore.lib.storage.attempt_records import StoreRecords
from f.flexcore.lib.storage.object_store import Store
from tests.core.otlp_receiver import Answer, Collected, Collector, attributes
from tests.core.test_driver import Memory, MemoryAdapter, ends

ROOT = "01998f1c-7a00-7000-8123-456789abcdef"
FLOW = "01998f1c-7a00-7000-9223-456789abcde0"
JOB = "01998f1c-7a00-7000-a323-456789abcde1"
SUBMIT = "01998f1c-7a00-7000-a323-456789abcde2"
IN_FLOW = {
    "WM_JOB_ID": JOB,
    "WM_FLOW_JOB_ID": FLOW,
    "WM_ROOT_JOB_ID": ROOT,
    "WM_FLOW_STEP_ID": "run",
    "WM_JOB_PATH": "f/data/nightly/run",
    "WM_FLOW_PATH": "f/data/nightly",
    "WM_WORKSPACE": "dev",
}
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
BEGAN = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
PARTS = contracts.Timings(queued=2.0, starting=1.0, running=30.0, finishing=0.5, began_at=BEGAN)
PASSWORD = "hunter2hunter2"


class Form(resources.Form):
    password: str = ""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        yield server


@pytest.fixture
def collected(collector: Collector) -> Collected:
    return collector.collected


def settings(collector: Collector, tmp_path: Path, **given: Any) -> resources.Settings:
    return resources.Settings(otlp_endpoint=collector.address, storage_uri=f"file://{tmp_path}", **given)


def finished(number: int, key: identity.ExecutionKey, timings: contracts.Timings = PARTS) -> contracts.StepResult:
    return contracts.StepResult(
        success=True,
        runtime="kubernetes",
        execution_key=key.value,
        attempt=number,
        data={"answer": "42", "namespace": "work", "pods": ["fc-1-abc"], "exit_code": 0},
        metrics={"rows": 7},
        timings=timings,
        remote=contracts.Remote(kind="Job", name=key.name(number), uid="u-1"),
    )


def run(
    given: resources.Settings,
    end: Callable[[int, identity.ExecutionKey], driver.Verdict],
    env: dict[str, str] = IN_FLOW,
    deferred: dict[str, str] | None = None,
    is_deferred: bool = False,
) -> dict[str, Any]:
    """A step whose attempts end so, on a runtime in memory."""
    key, call = operation.read_key_and_call(env, deferred)
    invocation = operation.Invocation(
        "kubernetes", Form(), resources.KubernetesCluster(token=PASSWORD), given, key, call, is_deferred
    )

    def execute(traced: operation.Invocation[Any, Any]) -> dict[str, Any]:
        memory = Memory({number: ends(end(number, key)) for number in (1, 2, 3)})

        @contextmanager
        def open_memory(_: Any) -> Iterator[MemoryAdapter]:
            yield MemoryAdapter(memory, StoreRecords(Store(given), key))

        return driver.drive(open_memory, traced)

    return step_trace.run_traced(execute, invocation, env)


def succeed(number: int, key: identity.ExecutionKey) -> driver.Verdict:
    return driver.Verdict(finished(number, key))


def fail(number: int, key: identity.ExecutionKey) -> driver.Verdict:
    error = errors.ExecutionFailed(
        f"exit code 1 with {PASSWORD}" + "x" * 5000,
        category="exit_code",
        subject=key.name(number),
        remedy="Read the log.",
        timings=PARTS.model_dump(mode="json"),
        pod="fc-1-abc",
        exit_code=1,
    )
    return driver.Verdict(error=error)


def seconds(span: Span) -> float:
    return (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9


def test_a_step_its_attempt_and_the_attempts_parts_are_one_trace(
    collector: Collector, collected: Collected, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = "https://jaeger.example.com/trace/{trace_id}"
    result = run(settings(collector, tmp_path, trace_url=page), succeed)
    trace_id = ROOT.replace("-", "")
    assert {span.trace_id.hex() for span in collected.spans} == {trace_id}
    step, attempt = collected.named("run"), collected.named("kubernetes Job")
    assert step.span_id.hex() == JOB.replace("-", "")[16:] == result["trace"]["span_id"]
    assert step.parent_span_id.hex() == FLOW.replace("-", "")[16:]
    assert attempt.parent_span_id == step.span_id
    assert (attempt.start_time_unix_nano, seconds(attempt)) == (int(BEGAN.timestamp()) * 10**9, 33.5)
    parts = [collected.named(name) for name in ("queued", "starting", "running", "finishing")]
    assert [seconds(part) for part in parts] == [2.0, 1.0, 30.0, 0.5]
    assert all(part.parent_span_id == attempt.span_id for part in parts)
    assert all(one.end_time_unix_nano == next.start_time_unix_nano for one, next in itertools.pairwise(parts))
    assert result["trace"] == {
        "trace_id": trace_id,
        "span_id": step.span_id.hex(),
        "caller": "",
        "is_sampled": True,
        "is_exported": True,
    }
    contracts.StepResult.model_validate(result)
    assert capsys.readouterr().out.count(trace_id) == 2, "the line, and the address in it"


def test_names_follow_the_semantic_conventions(collector: Collector, collected: Collected, tmp_path: Path) -> None:
    result = run(settings(collector, tmp_path), succeed)
    said = attributes(collected.named("kubernetes Job"))
    assert said["k8s.job.name"] == result["remote"]["name"] and said["k8s.job.uid"] == "u-1"
    assert (said["k8s.namespace.name"], said["k8s.pod.name"]) == ("work", "fc-1-abc")
    assert (said["flexcore.attempt"], said["flexcore.rows"]) == (1, 7)
    assert attributes(collected.named("run"))["windmill.job.id"] == JOB
    (request,) = collected.requests
    assert request.path == "/v1/traces" and request.headers["content-type"] == "application/x-protobuf"
    resource = {item.key: item.value.string_value for item in request.content.resource_spans[0].resource.attributes}
    assert resource["service.name"] == "flexcore" and resource["service.namespace"] == "dev"


def test_a_failure_is_told_bounded_and_without_secrets(
    collector: Collector, collected: Collected, tmp_path: Path
) -> None:
    with pytest.raises(errors.ExecutionFailed) as caught:
        run(settings(collector, tmp_path), fail)
    assert caught.value.details["trace"]["is_exported"] is True
    step, attempt = collected.named("run"), collected.named("kubernetes thing")
    assert step.status.code == attempt.status.code == Status.STATUS_CODE_ERROR
    assert "exit code 1" in step.status.message and len(step.status.message) <= 1024
    for span in (step, attempt):
        assert attributes(span)["error.type"] == "exit_code"
        assert attributes(span)["flexcore.error.remedy"] == "Read the log."
    assert attributes(attempt)["k8s.pod.name"] == "fc-1-abc" and seconds(attempt) == 33.5
    assert PASSWORD not in str(collected.requests[0].content)


def test_each_attempt_of_one_call_and_of_its_retries_has_a_span_of_its_own(
    collector: Collector, collected: Collected, tmp_path: Path
) -> None:
    def end(number: int, key: identity.ExecutionKey) -> driver.Verdict:
        return [driver.Verdict(findings={"packages": ["a"]}), fail(2, key), succeed(3, key)][number - 1]

    given = settings(collector, tmp_path)
    with pytest.raises(errors.ExecutionFailed):
        run(given, end)
    retry = "01998f1c-7a00-7000-a323-456789abcdff"
    assert run(given, end, IN_FLOW | {"WM_JOB_ID": retry})["attempt"] == 3
    tries = [span for span in collected.spans if span.name in ("kubernetes thing", "kubernetes Job")]
    assert [attributes(span)["flexcore.attempt"] for span in tries] == [1, 2, 3]
    assert attributes(tries[0])["flexcore.outcome"] == "abandoned"
    assert len({span.span_id for span in tries}) == 3
    jobs = [trace_context.span_of_job(job) for job in (JOB, JOB, retry)]
    assert [span.parent_span_id.hex() for span in tries] == jobs


def test_a_step_that_collects_is_linked_to_the_one_that_has_submitted(
    collector: Collector, collected: Collected, tmp_path: Path
) -> None:
    given = settings(collector, tmp_path)
    submitted = run(given, succeed, IN_FLOW | {"WM_JOB_ID": SUBMIT, "WM_FLOW_STEP_ID": "submit"}, is_deferred=True)
    assert attributes(collected.named("submit"))["flexcore.outcome"] == "submitted" and len(collected.spans) == 1
    run(given, succeed, IN_FLOW | {"WM_FLOW_STEP_ID": "collect"}, submitted["data"]["deferred"])
    (link,) = collected.named("collect").links
    assert (link.trace_id, link.span_id) == (collected.named("submit").trace_id, collected.named("submit").span_id)
    assert collected.named("kubernetes Job").parent_span_id == link.span_id


def test_a_run_within_a_trace_joins_it(collector: Collector, collected: Collected, tmp_path: Path) -> None:
    alone = {"WM_JOB_ID": JOB, "WM_JOB_PATH": "f/flexcore/ray/train", "TRACEPARENT": CALLER}
    told = run(settings(collector, tmp_path), succeed, alone)["trace"]
    assert (told["trace_id"], told["caller"]) == (CALLER[3:35], CALLER[36:52])
    assert collected.named("f/flexcore/ray/train").parent_span_id.hex() == CALLER[36:52]


def test_windmills_own_traceparent_of_a_step_is_no_callers(
    collector: Collector, collected: Collected, tmp_path: Path
) -> None:
    own = JOB.replace("-", "")
    env = IN_FLOW | {"TRACEPARENT": f"00-{own}-{own[16:]}-01"}
    assert run(settings(collector, tmp_path), succeed, env)["trace"]["trace_id"] == ROOT.replace("-", "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage",
        CALLER[:-1],
        CALLER.upper(),
        CALLER + "-01",
        "ff" + CALLER[2:],
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333x-01",
    ],
)
def test_a_traceparent_that_is_none_is_left_aside(text: str) -> None:
    assert trace_context.parse_traceparent(text) is None
    context = trace_context.read_context({"TRACEPARENT": text, "WM_JOB_ID": JOB}, ROOT, 1)
    assert context.trace_id == ROOT.replace("-", "")


def test_a_later_version_of_the_header_is_read() -> None:
    assert trace_context.parse_traceparent("01" + CALLER[2:] + "-more") == trace_context.TraceContext(
        CALLER[3:35], True, CALLER[36:52]
    )


def test_a_trace_that_its_caller_does_not_keep_is_not_written_and_is_passed_on_so(
    collector: Collector, collected: Collected, tmp_path: Path
) -> None:
    told = run(settings(collector, tmp_path), succeed, IN_FLOW | {"TRACEPARENT": CALLER[:-1] + "0"})["trace"]
    assert told["is_sampled"] is False and collected.requests == []
    key = replace(identity.execution_key(IN_FLOW), trace=CALLER[:-1] + "0")
    assert key.trace_environment(1)["TRACEPARENT"].endswith("-00")


def test_the_share_of_kept_traces_is_that_of_the_settings_and_the_same_for_every_span() -> None:
    traces = [f"{number:032x}" for number in range(0, 1 << 64, 1 << 54)]
    assert sum(trace_context.is_kept(trace, 0.25) for trace in traces) == len(traces) / 4
    assert all(trace_context.is_kept(trace, 1) for trace in traces)
    assert not any(trace_context.is_kept(trace, 0) for trace in traces)


def test_a_program_gets_the_span_of_its_attempt_as_parent(
    collector: Collector, collected: Collected, tmp_path: Path
) -> None:
    run(settings(collector, tmp_path), succeed)
    context = trace_context.read_context(IN_FLOW, ROOT, 1)
    key = replace(identity.execution_key(IN_FLOW), trace=context.traceparent(trace_context.span_of_job(JOB)))
    given = trace_context.parse_traceparent(key.trace_environment(1)["TRACEPARENT"])
    assert given and given.caller == collected.named("kubernetes Job").span_id.hex()
    assert identity.execution_key(IN_FLOW).trace_environment(1) == {}


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (Answer(400), "HTTP 400"),
        (Answer(401), "HTTP 401"),
        (Answer(503), "HTTP 503"),
        (Answer(302), "HTTP 302"),
        (Answer(200, b"\x0a\x02\x08\x03"), "it refused 3 of the spans"),
        (Answer(200, pause_s=3), "it did not answer within 1 s"),
    ],
)
def test_a_collector_that_refuses_or_is_slow_costs_a_second_and_a_line(
    collector: Collector,
    collected: Collected,
    tmp_path: Path,
    answer: Answer,
    problem: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    collected.answer = answer
    began = time.monotonic()
    result = run(settings(collector, tmp_path), succeed)
    assert result["success"] and result["trace"]["is_exported"] is False
    assert time.monotonic() - began < 2.5
    said = [line for line in capsys.readouterr().out.splitlines() if "not delivered" in line]
    assert said == [f"The trace was not delivered to otlp_endpoint ({problem}); operations/reconcile tries again."]


@pytest.mark.parametrize("body", [b"<html>welcome</html>", b"\x0a\xff\xff\xff", b"\xff" * 40, b""])
def test_an_answer_that_is_garbage_with_status_200_is_a_success(
    collector: Collector, collected: Collected, tmp_path: Path, body: bytes
) -> None:
    collected.answer = Answer(200, body)
    assert run(settings(collector, tmp_path), succeed)["trace"]["is_exported"] is True


def test_an_endpoint_that_is_down_or_speaks_grpc_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    given = resources.Settings(otlp_endpoint=f"http://127.0.0.1:{port}", storage_uri=f"file://{tmp_path}")
    assert run(given, succeed)["trace"]["is_exported"] is False
    assert "(ConnectionRefusedError)" in capsys.readouterr().out
    assert "listens at 4318" in step_trace.describe_problem("http://127.0.0.1:4317", "BadStatusLine")


def test_headers_reach_the_collector_and_no_output(
    collector: Collector, collected: Collected, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = settings(collector, tmp_path, otlp_headers=f"Authorization=Bearer%20{PASSWORD}, X-Scope-OrgID=team")
    assert f"Bearer {PASSWORD}" in set(given.secrets())
    collected.answer = Answer(403)
    run(given, succeed)
    headers = collected.requests[0].headers
    assert (headers["authorization"], headers["x-scope-orgid"]) == (f"Bearer {PASSWORD}", "team")
    assert PASSWORD not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("otlp_headers", "Authorization", "write headers as NAME=VALUE"),
        ("otlp_headers", "Bad name=1", "write headers as NAME=VALUE"),
        ("otlp_headers", f"a={PASSWORD}%0D%0AHost: evil", "holds what no header can"),
        ("otlp_endpoint", "collector:4318", "otlp_endpoint"),
        ("otlp_endpoint", "http://user:key@collector:4318", "otlp_endpoint"),
        ("trace_url", "https://jaeger/trace", "trace_url"),
        ("trace_url", "javascript:{trace_id}", "trace_url"),
        ("trace_sample_ratio", 1.5, "trace_sample_ratio"),
    ],
)
def test_settings_that_no_collector_can_have_are_refused(field: str, value: Any, problem: str) -> None:
    with pytest.raises(errors.InvalidInput, match=problem) as caught:
        errors.validate(resources.Settings, {field: value}, "settings")
    assert PASSWORD not in str(caught.value)
