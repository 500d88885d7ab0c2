"""A guess is offered where it is beyond doubt, and nowhere else: people follow it."""

from __future__ import annotations

import pytest

from wmlocal.suggest import nearest


@pytest.mark.parametrize(
    ("word", "known", "found"),
    [
        ("retrys", ["retry", "timeout"], "retry"),
        ("max-replica", ["max_replicas"], "max_replicas"),
        ("scret", ["is_secret", "value"], "is_secret"),
        ("frist", ["first", "last"], "first"),
        ("rey", ["ray", "meltano"], "ray"),
        ("prot", ["port", "host"], "port"),
        ("time", ["item", "tag"], ""),
        ("error_handler", ["ws_error_handler_muted"], ""),
        ("skip_failures", ["skip_if", "suspend"], ""),
        ("step1", ["step2", "step3"], ""),
        ("v1", ["v2"], ""),
        ("f/shop/ad", ["f/shop/add", "f/shop/sum"], "f/shop/add"),
        ("f/shop/orders", ["f/shop/prices", "f/shop/others_x"], ""),
        ("f/store/add", ["f/shop/add"], "f/shop/add"),
        ("f/shop/alpha", ["f/shop/beta"], ""),
        ("Handle_error.py", ["handle_error.py"], "handle_error.py"),
    ],
)
def test_a_word_is_near_when_few_letters_differ_and_no_digit_does(word: str, known: list[str], found: str) -> None:
    assert nearest(word, known) == found
