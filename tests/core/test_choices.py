"""What a form's selects show when there is something to choose, and when there is not."""

from __future__ import annotations

import pytest

from f.flexcore.lib.core.errors import Forbidden, NotFound
from f.flexcore.lib.core.form_choices import Choices, explain_failure, filter_choices, note


def test_an_error_of_ours_is_told_in_the_list_with_what_to_do() -> None:
    @explain_failure
    def choices() -> Choices:
        raise NotFound("No project at /there", remedy="Correct its path.")

    (only,) = choices()
    assert only["disabled"] and only["value"] is None
    assert (only["label"], only["subtitle"]) == ("No project at /there.", "Correct its path.")


def test_an_error_without_a_remedy_keeps_its_whole_message() -> None:
    @explain_failure
    def choices(name: str) -> Choices:
        raise Forbidden(f"{name} refuses the token")

    assert choices("The server") == note("The server refuses the token")


def test_a_bug_is_not_hidden_as_a_choice() -> None:
    @explain_failure
    def choices() -> Choices:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        choices()


def test_what_was_typed_narrows_the_list() -> None:
    assert filter_choices([("Tap-Flights", "flights"), ("tap-planes", "planes")], "FLI") == [
        {"label": "Tap-Flights", "value": "flights"}
    ]


def test_nothing_typed_keeps_the_whole_list_and_a_note_cannot_be_chosen() -> None:
    pairs = [("a", "1"), ("b", "2")]
    assert filter_choices(pairs) == filter_choices(pairs, None) == [{"label": a, "value": b} for a, b in pairs]
    assert note("No runs") == [{"label": "No runs", "subtitle": "", "value": None, "disabled": True}]
