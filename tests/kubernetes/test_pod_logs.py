"""Logs of containers: in batches, over restarts, to their real end."""

from __future__ import annotations

import time
from typing import Any

import pytest

from f.flexcore.lib.core.redaction import Redactor
from f.flexcore.lib.kubernetes.log_tail import BEGIN, GAP_MARK, TAIL_BYTES, TAIL_LINES, TracebackKeeper, choose_tail
from f.flexcore.lib.kubernetes.pod_logs import TAIL_READ_LINES, PodLogs, find_missed_lines, parse_lines
from f.flexcore.lib.kubernetes_api.client import Kubernetes
from f.flexcore.lib.kubernetes_api.credentials import Access
from tests.kubernetes.fake_cluster import FakeCluster, Fault
from tests.kubernetes.objects import Object, container, ended, pod, runs

POD = "train-x7k2p"


class Log:
    """A PodLogs on the fake cluster, and what it said."""

    def __init__(self, cluster: FakeCluster, secrets: list[str] | None = None) -> None:
        self.api, self.said = cluster.api, list[str]()
        kubernetes = Kubernetes(Access(cluster.url, token="x" * 9), Redactor(secrets or []))
        self.logs = PodLogs(kubernetes, "work", lambda text: self.said.extend(text.split("\n")))

    def show(self, *pods: Object) -> Log:
        self.logs.update(pods)
        return self

    def wait_for(self, line: str) -> None:
        until = time.monotonic() + 10
        while line not in self.said and time.monotonic() < until:
            time.sleep(0.02)
        assert line in self.said

    def end(self, *pods: Object, **options: Any) -> list[str]:
        self.logs.update(pods)
        self.logs.drain(**options)
        return self.said


@pytest.fixture
def log(cluster: FakeCluster) -> Log:
    return Log(cluster)


def test_lines_of_init_containers_and_sidecars_carry_their_containers_name(log: Log) -> None:
    log.api.logs = {f"{POD}/{name}": [f"I am {name}".encode()] for name in ("train", "prepare", "shipper")}
    first = [container("prepare", ended(0)), container("shipper", ended(143))]
    said = log.end(pod(container("train", ended(3)), init=first, native=("shipper",), phase="Failed"))
    assert sorted(said) == ["prepare: I am prepare", "shipper: I am shipper", "train: I am train"]


def test_a_single_container_needs_no_name_and_several_pods_need_theirs(log: Log) -> None:
    log.api.logs = {"a": [b"one"], "b": [b"two"]}
    assert log.end(pod(container("main", ended(0)), name="a", phase="Succeeded")) == ["one"]
    said = log.show(pod(container("main", ended(0)), name="b", phase="Succeeded")).end()
    assert "b/main: two" in said


def test_all_of_a_fast_log_is_passed_on_and_its_tail_is_its_end(log: Log) -> None:
    log.api.logs = {POD: [b"line %d" % number for number in range(20_000)]}
    said = log.end(pod(container("main", ended(0)), phase="Succeeded"))
    assert said == [f"line {number}" for number in range(20_000)]
    assert log.logs.tail().splitlines() == said[-TAIL_LINES:]


def test_what_was_missed_at_the_end_is_read_and_what_was_skipped_is_noted(log: Log) -> None:
    log.api.logs = {POD: [b"line %d" % number for number in range(3000)]}
    log.api.cut_logs = 10
    log.show(pod(container("main", runs()))).wait_for("line 9")
    log.api.faults = [Fault(method="GET", path="sinceTime", status=500)]
    said = log.end(pod(container("main", ended(0)), phase="Succeeded"))
    assert said[:10] == [f"line {number}" for number in range(10)]
    assert "were skipped" in said[10] and f"kubectl logs -n work {POD} -c main" in said[10]
    assert said[11:] == [f"line {number}" for number in range(3000 - TAIL_READ_LINES, 3000)]


def test_a_short_gap_is_closed_without_a_note(log: Log) -> None:
    log.api.logs, log.api.cut_logs = {POD: [b"line %d" % number for number in range(100)]}, 50
    said = log.end(pod(container("main", ended(0)), phase="Succeeded"))
    assert said == [f"line {number}" for number in range(100)]


def test_lines_whose_times_are_not_in_order_are_not_lost(log: Log) -> None:
    times = ("03.7", "03.9", "03.8", "03.9", "04.1")
    log.api.logs = {POD: [b"2026-01-01T00:00:%sZ line %d" % (at.encode(), n) for n, at in enumerate(times)]}
    said = log.end(pod(container("main", ended(0)), phase="Succeeded"))
    assert said == [f"line {number}" for number in range(5)]


def test_the_logs_of_a_container_that_is_started_again_are_followed(log: Log) -> None:
    policy = {"restartPolicy": "OnFailure"}
    log.api.logs = {f"{POD}/main": [b"2026-01-01T00:00:01Z first run"]}
    log.show(pod(container("main", runs()), spec=policy)).wait_for("first run")
    log.show(pod(container("main", {"waiting": {"reason": "CrashLoopBackOff"}}, ended(7), 1), spec=policy))
    log.api.logs = {
        f"{POD}/main!": [b"2026-01-01T00:00:01Z first run", b"2026-01-01T00:00:02Z its last words"],
        f"{POD}/main": [b"2026-01-01T00:00:09Z second run"],
    }
    log.show(pod(container("main", runs(), ended(7), 1), spec=policy)).wait_for("second run")
    said = log.end(pod(container("main", ended(0), ended(7), 1), spec=policy, phase="Succeeded"))
    assert said == ["first run", "its last words", "second run"]
    assert log.logs.tail().splitlines() == said


def test_a_pod_that_is_gone_keeps_the_lines_that_were_followed(log: Log) -> None:
    log.api.logs = {POD: [b"last words"]}
    log.show(pod(container("main", runs()))).wait_for("last words")
    log.api.logs = {}
    log.end()
    assert log.logs.tail() == "last words"


def test_without_a_log_the_termination_message_is_the_tail(log: Log) -> None:
    log.end(pod(container("main", ended(1, message="ValueError: no such column")), phase="Failed"))
    assert log.logs.tail() == "ValueError: no such column"


def test_bars_and_escape_sequences_are_shown_as_a_terminal_would(log: Log) -> None:
    log.api.logs = {POD: [b"\r10%|#  |\r99%|## |\r100%|###|", b"\x1b[31mred\x1b[0m and done\r"]}
    assert log.end(pod(container("main", ended(0)), phase="Succeeded")) == ["100%|###|", "red and done"]


def test_a_secret_in_a_batch_is_masked_and_a_line_without_end_is_cut(cluster: FakeCluster) -> None:
    log = Log(cluster, ["sesame-open"])
    log.api.logs = {POD: [b"using sesame-open", b"x" * 3_000_000, b"after"]}
    said = log.end(pod(container("main", ended(0)), phase="Succeeded"))
    assert said[0] == "using ***" and said[2] == "after" and len(said[1]) < 10_000 and "left out" in said[1]


def test_the_kubelets_own_failures_are_no_lines_of_the_program() -> None:
    words = b'failed to try resolving symlinks in path "/var/log/pods/x/0.log": no such file'
    assert parse_lines([words, b"2026-01-01T00:00:01.5Z hello there", b"2026-01-01T00:00:02Z"]) == [
        ("2026-01-01T00:00:01.500000000", "hello there"),
        ("2026-01-01T00:00:02.000000000", ""),
    ]


@pytest.mark.parametrize(
    ("last", "missed"),
    [(("", ""), "abc"), (("1", "a"), "bc"), (("3", "c"), ""), (("2", "gone"), "c"), (("0", "older"), "abc")],
)
def test_what_is_missed_of_a_tail_comes_after_the_last_line(last: tuple[str, str], missed: str) -> None:
    tail = [("1", "a"), ("2", "b"), ("3", "c")]
    assert "".join(text for _, text in find_missed_lines(tail, last)) == missed


def test_the_programs_lines_are_not_crowded_out_by_a_sidecar(log: Log) -> None:
    log.api.logs = {f"{POD}/train": [b"it broke"], f"{POD}/log-shipper": [b"shipped %d" % n for n in range(500)]}
    log.end(pod(container("train", ended(1)), container("log-shipper", ended(143)), phase="Failed"))
    tail = log.logs.tail((POD, "train")).splitlines()
    assert "train: it broke" in tail and len(tail) == TAIL_LINES


# --- the choice of lines


def keep(lines: list[str], size: int) -> list[str]:
    """The traceback of a log that comes in pieces of so many lines."""
    keeper = TracebackKeeper()
    for begin in range(0, len(lines), size):
        keeper.feed(lines[begin : begin + size])
    return keeper.lines


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize("prefix", ["", "train: "])
def test_a_traceback_far_before_the_end_is_shown_before_the_last_lines(size: int, prefix: str) -> None:
    block = [BEGIN, '  File "x.py", line 2, in <module>', "    work()", "ValueError: the end"]
    lines = [prefix + text for text in ["begun", *block, *(f"line {number}" for number in range(10_000))]]
    found = keep(lines, size)
    assert found == [prefix + text for text in block]
    tail = choose_tail(lines, found)
    assert tail[:4] == found and tail[4] == GAP_MARK and tail[-1] == f"{prefix}line 9999" and len(tail) == TAIL_LINES


def test_the_last_traceback_counts_and_of_a_deep_one_its_innermost_frames() -> None:
    deep = [BEGIN, *(f"  frame {number}" for number in range(100)), "RecursionError: too deep"]
    found = keep([BEGIN, "  old", "KeyError: 1", "on we go", *deep, "bye"], 7)
    assert found[0] == BEGIN and found[-1] == "RecursionError: too deep" and "  frame 99" in found and len(found) == 25


def test_a_tail_has_a_bound_in_bytes_even_of_one_line() -> None:
    assert sum(len(line) + 1 for line in choose_tail(["y" * 500] * 60)) <= TAIL_BYTES
    assert choose_tail(["ü" * 9000]) == ["ü" * (TAIL_BYTES // 2)]
    assert choose_tail([]) == []


def test_a_traceback_within_the_tail_is_not_repeated() -> None:
    lines = ["a", BEGIN, "  x", "ValueError: b"]
    assert choose_tail(lines, lines[1:]) == lines


def test_a_key_that_a_program_prints_over_several_lines_is_masked_line_by_line(log: Log) -> None:
    body = [letter * 64 for letter in "abcdefgh"]
    key = ["-----BEGIN RSA PRIVATE KEY-----", *body, "ZZZZ", "-----END RSA PRIVATE KEY-----"]
    log.api.logs = {POD: [line.encode() for line in ["before", *key, "behind"]]}
    said = log.end(pod(container("main", ended(0)), phase="Succeeded"))
    assert (said[0], said[-1], len(said)) == ("before", "behind", len(key) + 2)
    assert not any(line in "\n".join([*said, log.logs.tail()]) for line in [*body, "ZZZZ"])
