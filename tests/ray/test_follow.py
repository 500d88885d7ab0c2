"""A job's log is followed as lines that a terminal would show in the end."""

from __future__ import annotations

from dataclasses import dataclass

from f.flexcore.lib.core.errors import NotFound
from f.flexcore.lib.core.redaction import Redactor
from f.flexcore.lib.ray.logs import BAR_INTERVAL_S, MAX_FOLLOWED_BYTES, LogFollower


@dataclass
class Growing:
    content: bytes = b""

    def start(self, max_bytes: int) -> bytes:
        return self.content[:max_bytes]

    def end(self, lines: int, max_bytes: int) -> bytes:
        return self.content[-max_bytes:]


@dataclass
class Gone(Growing):
    def end(self, lines: int, max_bytes: int) -> bytes:
        raise NotFound("gone")


def follow(chunks: list[bytes], every_s: float = 2.0) -> tuple[list[str], str]:
    """(lines reported, tail)"""
    log, shown = Growing(), list[str]()
    follower = LogFollower(log, shown.append, Redactor(["hunter2-secret"]))
    for number, chunk in enumerate(chunks):
        log.content += chunk
        follower.look((number + 1) * every_s)
    return shown, follower.finish()


def test_characters_sequences_and_secrets_may_be_cut_by_a_look() -> None:
    whole = "caf\u00e9 \x1b[31mred\x1b[0m hunter2-secret\n10%\r20%\r30%\ndone".encode()
    for at in range(len(whole)):
        shown, tail = follow([whole[:at], whole[at:]])
        assert shown == ["caf\u00e9 red ***", "30%", "done"] and tail == "caf\u00e9 red ***\n30%\ndone"


def test_a_bar_that_goes_on_for_long_tells_its_state_now_and_then() -> None:
    shown, tail = follow([b"begin\n", *(b"\r%d%%" % number for number in range(100))], every_s=BAR_INTERVAL_S / 5)
    assert 15 < len(shown) < 25 and shown[-1] == "99%" and tail == "begin\n99%"


def test_a_bar_that_the_first_look_finds_in_its_middle_is_not_yet_worth_a_line() -> None:
    assert follow([b"begin\n1%", b"\r2%", b"\r3%\ndone\n"], every_s=1_000_000.0)[0] == ["begin", "2%", "3%", "done"]
    assert follow([b"begin\n1%", b"\r3%\ndone\n"], every_s=1_000_000.0)[0] == ["begin", "3%", "done"]


def test_a_bar_of_several_rows_that_looks_cut_is_one_line_each_in_the_tail() -> None:
    whole = (
        b"begin\n" + b"".join(b"Epoch: %d/9\nLoss: 0.%d\n\x1b[2A" % (epoch, epoch) for epoch in range(10)) + b"\x1b[2B"
    )
    for every in (1, 7, 40):
        chunks = [whole[at : at + every] for at in range(0, len(whole), every)]
        assert follow([*chunks, b"saved\n"])[1] == "begin\nEpoch: 9/9\nLoss: 0.9\nsaved"


def test_a_log_that_became_shorter_is_another_one() -> None:
    log, shown = Growing(b"first\nsecond\nhalf"), list[str]()
    follower = LogFollower(log, shown.append, Redactor())
    follower.look(1)
    log.content = b"third\n"
    follower.look(5)
    assert follower.finish() == "first\nsecond\nthird" and shown == ["first", "second", "third"]


def test_of_a_long_log_the_tail_is_the_real_end_and_without_it_what_was_seen() -> None:
    # Long lines: what counts is how much it is, and every line costs. What is followed ends with a whole one.
    line, first = b"x" * 1000 + b" line\n", b"x" * ((MAX_FOLLOWED_BYTES + 2) % 1006)
    content = first + line * (MAX_FOLLOWED_BYTES // len(line) + 1) + b"\r1%\r2%\nValueError: the end\n"
    for log, end in ((Growing(content), "2%\nValueError: the end"), (Gone(content), " line")):
        shown = list[str]()
        follower = LogFollower(log, shown.append, Redactor())
        follower.look(1)
        assert follower.finish().endswith(end) and "the log is long" in shown[-1]


def test_a_private_key_is_masked_though_a_look_cuts_it() -> None:
    body = b"MIIE" + b"A" * 60 + b"\n"
    shown, tail = follow([b"-----BEGIN PRIVATE KEY-----\n" + body, body + b"Zm9v\n-----END PRIVATE KEY-----\nafter\n"])
    assert shown[1:4] == ["***"] * 3 and shown[-1] == "after" and "MIIE" not in tail + "".join(shown)
