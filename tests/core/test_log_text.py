from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from f.flexcore.lib.core.log_text import MAX_LINE_CHARACTERS, LogCleaner, clean_log, shorten

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
SEQUENCES = [
    "\x1b[31m",
    "\x1b[38;5;208m",
    "\x1b[38:2::1:2:3m",
    "\x1b[?25l",
    "\x1b[K",
    "\x1b[2K",
    "\x1b[1K",
    "\x1b[J",
    "\x1b[2J",
    "\x1b[A",
    "\x1b[3A",
    "\x1b[B",
    "\x1b[2C",
    "\x1b[9D",
    "\x1b[1E",
    "\x1b[2F",
    "\x1b[7G",
    "\x1b[H",
    "\x1b[3;4H",
    "\x1b[s",
    "\x1b[u",
    "\x1b7",
    "\x1b8",
    "\x1bM",
    "\x1b(B",
    "\x1bc",
    "\x1b]0;title\x07",
    "\x1b]8;;https://example.test\x1b\\",
    "\x1bP+q\x1b\\",
    "\x1b_G\x1b\\",
    "\x1bkwindow\x1b\\",
    "\x9b1m",
    "\x9d0;t\x9c",
    "\x1b",
    "\x1b[",
    "\x1b]",
    "\r",
    "\n",
    "\r\n",
    "\b",
    "\b\b\b",
    "\t",
    "\x00",
    "\x07",
    "\x7f",
    "\x85",
    "\x0c",
    "text",
    "é",
    "█",
    "\ud800",
    " ",
]
printed = st.lists(st.sampled_from(SEQUENCES) | st.text(max_size=5), max_size=40).map("".join)


def lines(*chunks: str | bytes, rows: int = 1) -> list[str]:
    cleaner = LogCleaner(rows)
    return [line for chunk in chunks for line in cleaner.feed(chunk)] + cleaner.finish()


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ("", []),
        ("one\ntwo", ["one", "two"]),
        ("one\n\n two \n", ["one", "", " two "]),
        ("tab\tstays\r\n", ["tab\tstays"]),
        ("twice\r\r\n", ["twice"]),
        ("\x1b[1;31merror\x1b[0m: \x1b[38;5;208mwarm\x1b[m", ["error: warm"]),
        ("\x1b]0;a title\x07saved\n\x1b]2;another\x1b\\again", ["saved", "again"]),
        ("see \x1b]8;;https://example.test/7\x07run 7\x1b]8;;\x07.", ["see run 7."]),
        ("\x9b31mred\x9b0m \x9d0;title\x9cplain", ["red plain"]),
        ("\x1bP1$r0m\x1b\\\x1b_Gi=1;AAAA\x1b\\\x1b^note\x1b\\\x1bkname\x1b\\shown", ["shown"]),
        ("\x1b(B\x1b=\x1b>\x1b#8shown\x1b[!p\x1b[4 q", ["shown"]),
        ("\x1b]0;never closed\nnext", ["0;never closed", "next"]),
        ("bell\x07 nul\x00 del\x7f unit\x1f", ["bell nul del unit"]),
        ("page\x0cfeed\x85line", ["page", "feed", "line"]),
        (b"caf\xe9 \xff\xfe latin", ["caf\ufffd \ufffd\ufffd latin"]),
        (b"cut \xe2\x96", ["cut \ufffd"]),
        ("lone \udce9", ["lone \ufffd"]),
        ("  0%\r 50%\r100%\n", ["100%"]),
        ("\r  0%\r 50%\r100%   \n", ["100%"]),
        ("downloading 99%\rdone\n", ["done"]),
        ("\r\x1b[32mEpoch\x1b[0m 1\r\x1b[32mEpoch\x1b[0m 2\n", ["Epoch 2"]),
        ("half\x1b[2K\rwhole\n", ["whole"]),
        ("spinner |\b/\b-\b\\\n", ["spinner \\"]),
        ("12/99\b\b\b\b\b13/99\n", ["13/99"]),
        ("100%\x1b[1G 10\n", [" 10%"]),
        ("abcdef\x1b[3D\x1b[K\n", ["abc"]),
        ("unfinished 42%", ["unfinished 42%"]),
    ],
)
def test_a_log_reads_as_a_terminal_shows_it(content: str | bytes, shown: list[str]) -> None:
    assert lines(content) == shown
    assert clean_log(content) == "\n".join(shown)


@pytest.mark.parametrize(
    ("frame", "end", "last"),
    [
        ("\x1b[2K\router {0}\n\x1b[2K\rinner {0}\x1b[1A\r", "\n\n", ["outer 99", "inner 99"]),
        ("one {0}\ntwo {0}\n\x1b[2A", "\n\n", ["one 99", "two 99"]),
        ("one {0}\ntwo {0}\r\x1b[2K\x1b[1A\x1b[2K", "one 99\ntwo 99\n", ["one 99", "two 99"]),
        ("\x1b[s\none {0}\ntwo {0}\x1b[u", "\n\n\n", ["", "one 99", "two 99"]),
        ("\x1b7one {0}\ntwo {0}\x1b8", "\n\n", ["one 99", "two 99"]),
        ("\x1b[2J\x1b[H\x1b[1;1Hone {0}\x1b[2;1Htwo {0}", "\n", ["one 99", "two 99"]),
        ("\x1b[Hone {0}\ntwo {0}\n", "", ["one 99", "two 99"]),
    ],
    ids=["nested", "whole lines", "erased upwards", "saved place", "saved place (DEC)", "absolute", "home"],
)
def test_bars_below_one_another_are_shown_in_their_last_state(frame: str, end: str, last: list[str]) -> None:
    content = "".join(map(frame.format, range(100))) + end + "after\n"
    assert clean_log("before\n" + content).splitlines() == ["before", *last, "after"]
    followed = lines(*("before\n" + content))
    assert len(followed) <= 8 and list(filter(None, followed))[-3:] == [*last[-2:], "after"]


def test_a_line_printed_above_a_bar_stays_and_the_bar_is_not_repeated_with_it() -> None:
    content = "bar 0\n" + "".join(f"\x1b[1A\x1b[2Kline {number}\nbar {number}\n" for number in range(50)) + "end\n"
    followed = lines(*content)
    assert [line for line in followed if line.startswith("line")] == [f"line {number}" for number in range(50)]
    assert [line for line in followed if line.startswith("bar")] == ["bar 0", "bar 49"]


def test_the_open_line_is_the_state_of_a_bar_that_goes_on() -> None:
    cleaner = LogCleaner()
    assert cleaner.feed("started\n10%\r20%\r") == ["started"]
    assert cleaner.open_line == "20%"


def test_a_line_without_an_end_is_kept_up_to_a_bound_and_says_so() -> None:
    [line] = lines(*["x" * 1000] * 2000)
    assert line.endswith("… (951,424 characters left out)") and len(line) < MAX_LINE_CHARACTERS + 100
    assert shorten("abcdef", 3) == "abc… (3 characters left out)" and shorten("abc", 3) == "abc"


@settings(deadline=None)
@given(printed, st.data())
def test_it_does_not_matter_where_a_log_is_cut(content: str, data: st.DataObject) -> None:
    raw = content.encode("utf-8", "surrogatepass")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    chunks = [raw[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert lines(*chunks) == lines(raw)


@settings(deadline=None)
@given(printed)
def test_no_control_character_is_left_whatever_is_printed(content: str) -> None:
    assert not CONTROL.search("".join(lines(content)))
    assert not CONTROL.search(clean_log(content).replace("\n", ""))


@given(st.text(st.characters(blacklist_categories=["Cc", "Cs"])), st.text(st.characters(blacklist_categories=["Cc"])))
def test_plain_text_stays_as_it_is(one: str, other: str) -> None:
    text = (one + "\n" + other).encode("utf-8", "replace").decode()
    assert lines(text) == text.removesuffix("\n").split("\n")


@pytest.mark.parametrize(
    "piece",
    [
        "x",
        "a b\n",
        "\x1b[31mx",
        "\x1b]0;",
        "\x1b",
        "y\b\bz",
        "\x1b[A\r1\n",
        "\x1b[9A\x1b[J\n",
        "\x1b[Hx",
        "\x9b1",
        "\r5%",
    ],
    ids=repr,
)
def test_the_time_for_a_log_grows_with_its_length_only(piece: str) -> None:
    def seconds(times: int) -> float:
        began = time.process_time()
        lines(piece * times)
        return time.process_time() - began

    seconds(1000)
    assert seconds(80_000) < 0.05 + 20 * min(seconds(20_000) for _ in range(3))


@pytest.mark.parametrize(
    ("printed", "line"),
    [("ab\x1b[3Cx", "ab   x"), ("ab\x1b[Cx", "ab x"), ("abc\x1b[2Dx", "axc"), ("abcdef\x1b[9Dx", "xbcdef")],
)
def test_a_cursor_that_moves_within_its_line_writes_where_it_stands(printed: str, line: str) -> None:
    assert clean_log(printed) == line


def test_a_picture_that_is_left_out_ends_and_what_comes_behind_it_is_read() -> None:
    cleaner = LogCleaner()
    picture = "\x1bP" + "q" * 100_000
    lines = cleaner.feed(f"one\n{picture}") + cleaner.feed("more of it\x1b\\two\n") + cleaner.feed("three\n")
    assert lines + cleaner.finish() == ["one", "two", "three"]
    assert cleaner.feed("again\n") + cleaner.finish() == ["again"]


def test_a_picture_without_an_end_leaves_nothing_for_what_is_read_after_the_end() -> None:
    cleaner = LogCleaner()
    assert cleaner.feed("\x1bP" + "q" * 100_000) + cleaner.finish() == []
    assert cleaner.feed("again\n") + cleaner.finish() == ["again"]
