"""core/driver with a runtime that lives in memory: what it does once, what it repeats, what it records."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core.attempts import Attempt
from f.flexcore.lib.core.contracts import Remote, StepResult
from f.flexcore.lib.core.driver import Driver, Verdict, drive
from f.flexcore.lib.core.errors import EmptyData, ExecutionFailed, FlexcoreError, Unreachable
from f.flexcore.lib.core.identity import ExecutionKey
from f.flexcore.lib.core.operation import Invocation
from f.flexcore.lib.core.redaction import Redactor
from f.flexcore.lib.core.resources import Form, Resource, Settings
from f.flexcore.lib.storage.attempt_records import StoreRecords
from f.flexcore.lib.storage.object_store import Store

KEY = ExecutionKey("fc-0123456789abcdef0123", "owner", "root", "a", "test")
SECRET = "s3cr3t-of-the-request"


@dataclass
class Memory:
    """A runtime: its objects by attempt, and how each attempt ends."""

    ends: dict[int, Callable[[], Verdict]] = field(default_factory=dict)
    objects: dict[int, Remote] = field(default_factory=dict)
    created: list[tuple[int, dict[str, object]]] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)


@dataclass
class MemoryAdapter:
    memory: Memory
    records: StoreRecords | None
    redactor: Redactor = field(default_factory=lambda: Redactor([SECRET]))

    def find(self, number: int) -> Attempt | None:
        remote = self.memory.objects.get(number)
        return Attempt(number, "running", remote) if remote else None

    def create(self, number: int, earlier: Sequence[Attempt]) -> Remote:
        findings = {name: value for attempt in earlier for name, value in attempt.findings.items()}
        self.memory.created.append((number, findings))
        return self.memory.objects.setdefault(number, Remote(kind="thing", name=KEY.name(number)))

    def observe(self, number: int, remote: Remote) -> Verdict:
        return self.memory.ends[number]()

    def finish(self, result: StepResult) -> StepResult:
        self.memory.finished.append(result.data["answer"])
        return result


def result(attempt: int, answer: str = "42") -> StepResult:
    remote = Remote(kind="thing", name=KEY.name(attempt))
    return StepResult(
        success=True,
        runtime="memory",
        execution_key=KEY.value,
        attempt=attempt,
        data={"answer": answer},
        remote=remote,
    )


def ends(verdict: Verdict) -> Callable[[], Verdict]:
    return lambda: verdict


def raises(error: FlexcoreError) -> Callable[[], Verdict]:
    def end() -> Verdict:
        raise error

    return end


@pytest.fixture
def records(tmp_path: Path) -> StoreRecords:
    return StoreRecords(Store(Settings(storage_uri=f"file://{tmp_path}")), KEY)


def driver(memory: Memory, records: StoreRecords | None, call: str = "call-1") -> Driver:
    return Driver(MemoryAdapter(memory, records), call, report=lambda text: None)


def test_a_repeat_returns_the_recorded_result_and_creates_nothing(records: StoreRecords) -> None:
    memory = Memory({1: ends(Verdict(result(1)))})
    first = driver(memory, records).run()
    memory.objects.clear()
    assert driver(memory, records, "call-2").run().plain() == first.plain()
    assert memory.created == [(1, {})]
    assert memory.finished == ["42", "42"], "what follows a result is done again: the first step may have died before"


def test_an_attempt_that_runs_is_attached_to(records: StoreRecords) -> None:
    memory = Memory({1: ends(Verdict(result(1)))}, {1: Remote(kind="thing", name=KEY.name(1))})
    assert driver(memory, records).run().attempt == 1
    assert memory.created == []


def test_lost_contact_is_no_end_and_a_repeat_attaches(records: StoreRecords) -> None:
    memory = Memory({1: raises(Unreachable("No route"))})
    with pytest.raises(Unreachable):
        driver(memory, records).run()
    assert records.read(1) is None
    memory.ends[1] = ends(Verdict(result(1)))
    assert driver(memory, records).run().attempt == 1
    assert memory.created == [(1, {})]


def test_a_retry_makes_the_next_attempt_and_a_repeat_of_the_same_call_does_not(records: StoreRecords) -> None:
    memory = Memory({1: ends(Verdict(error=ExecutionFailed("exit code 1"))), 2: ends(Verdict(result(2)))})
    for _ in range(2):
        with pytest.raises(ExecutionFailed, match="exit code 1"):
            driver(memory, records, "call-1").run()
    assert [number for number, _ in memory.created] == [1]
    assert driver(memory, records, "call-2").run().attempt == 2


def test_a_failure_that_would_repeat_is_raised_again_to_every_call(records: StoreRecords) -> None:
    memory = Memory({1: ends(Verdict(error=EmptyData("No rows", subject="data")))})
    for call in ("call-1", "call-2"):
        with pytest.raises(EmptyData, match="No rows") as raised:
            driver(memory, records, call).run()
        assert raised.value.subject == "data"
    assert [number for number, _ in memory.created] == [1]


def test_an_error_says_its_attempt_and_remote_object_also_when_contact_was_lost(records: StoreRecords) -> None:
    memory = Memory({1: ends(Verdict(error=ExecutionFailed("exit code 1"))), 2: raises(Unreachable("No route"))})
    with pytest.raises(ExecutionFailed) as failed:
        driver(memory, records, "call-1").run()
    with pytest.raises(Unreachable) as lost:
        driver(memory, records, "call-2").run()
    with pytest.raises(ExecutionFailed) as repeated:
        driver(Memory(), records, "call-1").run()
    for number, raised in ((1, failed), (2, lost), (1, repeated)):
        remote = Remote(kind="thing", name=KEY.name(number)).plain()
        assert raised.value.details == {"attempt": number, "remote": remote}


def test_an_error_keeps_what_it_says_itself_of_its_remote_object(records: StoreRecords) -> None:
    own = {"kind": "thing", "name": KEY.name(1), "uid": "u1"}
    memory = Memory({1: ends(Verdict(error=ExecutionFailed("exit code 1", remote=own)))})
    with pytest.raises(ExecutionFailed) as raised:
        driver(memory, records).run()
    assert raised.value.details == {"attempt": 1, "remote": own}


def test_findings_of_one_attempt_reach_the_next_also_after_a_kill(records: StoreRecords) -> None:
    memory = Memory({1: ends(Verdict(findings={"packages": ["lightgbm"]})), 2: raises(Unreachable("killed here"))})
    with pytest.raises(Unreachable):
        driver(memory, records).run()
    memory.objects.clear()
    memory.ends[2] = ends(Verdict(result(2)))
    assert driver(memory, records).run().attempt == 2
    assert memory.created == [(1, {}), (2, {"packages": ["lightgbm"]}), (2, {"packages": ["lightgbm"]})]


def test_without_records_the_runtime_tells_how_it_ended() -> None:
    memory = Memory({1: ends(Verdict(result(1)))})
    assert driver(memory, None).run() == driver(memory, None).run()
    assert [number for number, _ in memory.created] == [1]


def test_a_submission_is_not_waited_for_and_the_collection_attaches(records: StoreRecords) -> None:
    memory = Memory({1: raises(AssertionError("observed"))})  # type: ignore[arg-type]
    assert driver(memory, records).submit() == (1, Remote(kind="thing", name=KEY.name(1)))
    memory.ends[1] = ends(Verdict(result(1)))
    assert driver(memory, records).run().attempt == 1
    assert driver(memory, records).submit() == (1, result(1).remote)
    assert [number for number, _ in memory.created] == [1]


def test_a_submission_raises_the_error_of_an_attempt_that_would_fail_again(records: StoreRecords) -> None:
    memory = Memory({1: ends(Verdict(error=EmptyData("No rows")))})
    with pytest.raises(EmptyData):
        driver(memory, records).run()
    with pytest.raises(EmptyData):
        driver(memory, records, "call-2").submit()


def test_no_secret_is_in_an_error_or_in_its_record(records: StoreRecords) -> None:
    error = ExecutionFailed(f"told {SECRET}", remedy=f"Change {SECRET}.", log_tail=f"line with {SECRET}")
    memory = Memory({1: ends(Verdict(error=error))})

    @contextmanager
    def opened(invocation: Invocation[Form, Resource]) -> Iterator[MemoryAdapter]:
        yield MemoryAdapter(memory, records)

    invocation = Invocation("memory", Form(), Resource(), Settings(), KEY, "call-1")
    with pytest.raises(ExecutionFailed) as raised:
        drive(opened, invocation)
    seen = repr((raised.value.args, vars(raised.value))) + records.store.uri()
    assert SECRET not in seen
    assert SECRET not in Path(records.uri(1, "outcome.json").removeprefix("file://")).read_text()


def test_a_step_says_what_it_attaches_to_and_that_an_attempt_has_ended_already(records: StoreRecords) -> None:
    said: list[str] = []
    memory = Memory({1: ends(Verdict(result(1)))}, {1: Remote(kind="ray_job", name="fc-1")})
    Driver(MemoryAdapter(memory, records), "call-1", report=said.append).run()
    Driver(MemoryAdapter(memory, records), "call-2", report=said.append).run()
    assert said == ["Attaching to ray job fc-1", "Attempt 1 has ended already"]


def test_an_end_that_only_the_runtime_knows_is_read_there_and_then_recorded(records: StoreRecords) -> None:
    remote = Remote(kind="thing", name=KEY.name(1))

    class Ended(MemoryAdapter):
        def find(self, number: int) -> Attempt | None:
            return Attempt(1, "succeeded", remote) if number == 1 else None

        def observe(self, number: int, seen: Remote) -> Verdict:
            assert (number, seen) == (1, remote)
            return super().observe(number, seen)

    memory = Memory({1: ends(Verdict(result(1)))})
    assert Driver(Ended(memory, records), "call-1", report=lambda text: None).run().attempt == 1
    known = records.read(1)
    assert known and known.result and (known.call, known.state) == ("call-1", "succeeded")
    assert (memory.created, memory.finished) == ([], ["42"])


def test_what_is_submitted_twice_is_one_object_and_its_step_says_where_it_is(
    records: StoreRecords, capsys: pytest.CaptureFixture[str]
) -> None:
    memory = Memory()

    @contextmanager
    def opening(given: Invocation[Form, Resource]) -> Iterator[MemoryAdapter]:
        yield MemoryAdapter(memory, records)

    invocation = Invocation("memory", Form(), Resource(), Settings(), KEY, "call-1", True)
    first, second = (drive(opening, invocation) for _ in range(2))
    assert first["remote"]["name"] == second["remote"]["name"] == KEY.name(1)
    assert (first["runtime"], first["execution_key"], first["attempt"]) == ("memory", KEY.value, 1)
    assert first["data"]["deferred"] == {"execution_key": KEY.value, "call": "call-1"}
    assert memory.created == [(1, {})]
    assert "Attaching to thing" in capsys.readouterr().out


def test_a_submission_that_is_refused_says_so_without_secrets(records: StoreRecords) -> None:
    class Refusing(MemoryAdapter):
        def create(self, number: int, earlier: Sequence[Attempt]) -> Remote:
            error = Unreachable(f"No route with {SECRET}", remedy=f"Send {SECRET} again.", seen={"token": SECRET})
            raise error

    @contextmanager
    def opening(given: Invocation[Form, Resource]) -> Iterator[MemoryAdapter]:
        yield Refusing(Memory(), records)

    invocation = Invocation("memory", Form(), Resource(), Settings(), KEY, "call-1", True)
    with pytest.raises(Unreachable) as caught:
        drive(opening, invocation)
    assert str(caught.value) == "No route with ***. Send *** again."
    assert caught.value.remedy == "Send *** again."
    assert SECRET not in str(caught.value.details) and caught.value.__cause__ is None


def test_each_attempt_that_is_seen_to_end_is_told_once_with_when_it_was_watched(records: StoreRecords) -> None:
    told: list[Any] = []
    error = ExecutionFailed("exit code 1")
    memory = Memory({1: ends(Verdict(findings={"a": 1})), 2: ends(Verdict(error=error)), 3: ends(Verdict(result(3)))})
    before = time.time()

    @contextmanager
    def opening(given: Invocation[Form, Resource]) -> Iterator[MemoryAdapter]:
        yield MemoryAdapter(memory, records)

    def tell(number: int, remote: Remote, times: tuple[float, float], *end: Any) -> None:
        assert before <= times[0] <= times[1] <= time.time()
        told.append((number, remote.name, *end))

    def work(call: str) -> dict[str, Any]:
        invocation = Invocation("memory", Form(), Resource(), Settings(), KEY, call, on_attempt=tell)
        return drive(opening, invocation)

    with pytest.raises(ExecutionFailed, match="exit code 1"):
        work("call-1")
    assert work("call-2") == work("call-3") == result(3).plain()
    assert told == [(1, KEY.name(1), None, None), (2, KEY.name(2), None, error), (3, KEY.name(3), result(3), None)]
    assert [record and record.call for record in map(records.read, (1, 2, 3))] == ["call-1", "call-1", "call-2"]


@pytest.mark.parametrize(
    ("verdict", "again"),
    [
        (Verdict(error=EmptyData("no rows")), True),
        (Verdict(error=ExecutionFailed("exit code 1")), False),
        (Verdict(error=ExecutionFailed("exit code 1"), is_deterministic=True), True),
        (Verdict(error=EmptyData("no rows"), is_deterministic=False), False),
        (Verdict(result(1)), False),
    ],
)
def test_whether_an_end_would_repeat_is_said_by_the_runtime_or_by_the_kind_of_the_error(
    verdict: Verdict, again: bool
) -> None:
    assert verdict.would_repeat is again


def test_an_attempt_that_ended_is_attached_to_by_its_kind_and_name_without_a_record(
    capsys: pytest.CaptureFixture[str],
) -> None:
    memory = Memory({1: ends(Verdict(result(1)))}, {1: Remote(kind="kubernetes_job", name="fc-1")})
    Driver(MemoryAdapter(memory, None), "call-1").run()
    assert capsys.readouterr().out == "Attaching to kubernetes job fc-1\n"
