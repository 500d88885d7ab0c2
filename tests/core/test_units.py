"""Amounts of data as people write them."""

from __future__ import annotations

from typing import Any

import pytest

from f.flexcore.lib.core.units import MAX_BYTES, format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (None, None),
        ("", None),
        (0, 0),
        (1024, 1024),
        (10.6, 11),
        ("512", 512),
        (" 10GB ", 10 * 1000**3),
        ("1.5 TiB", 3 * 1024**4 // 2),
        ("3k", 3000),
        ("3Ki", 3072),
        ("2 mb", 2 * 1000**2),
        ("2PB", 2 * 1000**5),
        ("1EiB", 1024**6),
        ("1e3", 1000),
        ("1,000_000 bytes", 1000**2),
        (MAX_BYTES, MAX_BYTES),
    ],
)
def test_a_size_is_its_bytes(text: Any, size: int | None) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("lots", "'lots' is not a size: write bytes, or an amount such as 500MB, 50GB or 1.5TiB"),
        ("5 iB", "'5 iB' is not a size: write bytes, or an amount such as 500MB, 50GB or 1.5TiB"),
        (True, "True is not a size: write bytes, or an amount such as 500MB, 50GB or 1.5TiB"),
        ([1], "[1] is not a size: write bytes, or an amount such as 500MB, 50GB or 1.5TiB"),
        (-1, "-1 is not a size: it must lie between 0 and 8 EiB"),
        ("-1kB", "'-1kB' is not a size: it must lie between 0 and 8 EiB"),
        (float("nan"), "nan is not a size: it must lie between 0 and 8 EiB"),
        ("16EiB", "'16EiB' is not a size: it must lie between 0 and 8 EiB"),
    ],
)
def test_what_is_no_size_is_refused_with_how_one_is_written(value: Any, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_size(value)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (0.4, "0.4 B"),
        (1, "1 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (12_345_678, "12.35 MB"),
        (12 * 1000**3, "12 GB"),
        (5e12, "5 TB"),
        (5e15, "5 PB"),
        (2e21, "2000 EB"),
    ],
)
def test_bytes_are_told_with_four_digits_at_most(size: float, text: str) -> None:
    assert format_size(size) == text
