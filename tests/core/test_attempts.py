"""The decision table of core/attempts: what a step does, by the attempts of its execution."""

from collections.abc import Callable

import pytest

from f.flexcore.lib.core.attempts import MAX_ATTEMPTS, Attach, Attempt, Create, Raise, Return, next_action, would_repeat
from f.flexcore.lib.core.errors import EmptyData, ExecutionFailed, FlexcoreError, InvalidInput, Unreachable

NOW, BEFORE = "job-of-this-call", "job-of-an-earlier-call"


def running(number: int = 1) -> Attempt:
    return Attempt(number, "running", call=BEFORE)


def succeeded(number: int = 1) -> Attempt:
    return Attempt(number, "succeeded", call=BEFORE)


def failed(number: int = 1, call: str = BEFORE, again: bool = False) -> Attempt:
    return Attempt(number, "failed", call=call, is_deterministic=again)


def abandoned(number: int = 1, call: str = BEFORE) -> Attempt:
    return Attempt(number, "abandoned", call=call)


@pytest.mark.parametrize(
    ("attempts", "action"),
    [
        ([], Create(1)),
        ([running()], Attach(running())),
        ([succeeded()], Return(succeeded())),
        ([failed()], Create(2)),
        ([failed(call=NOW)], Raise(failed(call=NOW))),
        ([failed(again=True)], Raise(failed(again=True))),
        ([failed(call=NOW, again=True)], Raise(failed(call=NOW, again=True))),
        ([abandoned()], Create(2)),
        ([abandoned(call=NOW)], Create(2)),
        ([failed(), running(2)], Attach(running(2))),
        ([failed(call=NOW), running(2)], Attach(running(2))),
        ([failed(), succeeded(2)], Return(succeeded(2))),
        ([failed(again=True), abandoned(2)], Create(3)),
        ([abandoned(), failed(2)], Create(3)),
        ([abandoned(), failed(2, call=NOW)], Raise(failed(2, call=NOW))),
    ],
)
def test_the_last_attempt_decides(attempts: list[Attempt], action: object) -> None:
    assert next_action(attempts, NOW) == action


def test_a_call_without_an_id_is_never_taken_for_an_earlier_one() -> None:
    assert next_action([failed(call="")], "") == Create(2)


@pytest.mark.parametrize("make", [failed, abandoned])
def test_attempts_are_bounded(make: Callable[..., Attempt]) -> None:
    assert next_action([make(MAX_ATTEMPTS - 1)], NOW) == Create(MAX_ATTEMPTS)
    with pytest.raises(ExecutionFailed) as raised:
        next_action([make(MAX_ATTEMPTS)], NOW)
    assert raised.value.category == "attempts_spent"
    assert str(raised.value) == (
        f"{MAX_ATTEMPTS} attempts have failed. Read why in the earlier attempts, then start a new run."
    )


def test_an_attempt_that_runs_or_has_succeeded_is_taken_however_many_there_were() -> None:
    assert next_action([running(MAX_ATTEMPTS + 1)], NOW) == Attach(running(MAX_ATTEMPTS + 1))
    assert next_action([succeeded(MAX_ATTEMPTS + 1)], NOW) == Return(succeeded(MAX_ATTEMPTS + 1))


@pytest.mark.parametrize(
    ("error", "again"),
    [(InvalidInput("x"), True), (EmptyData("x"), True), (Unreachable("x"), False), (ExecutionFailed("x"), False)],
)
def test_wrong_requests_and_wrong_data_would_fail_again(error: FlexcoreError, again: bool) -> None:
    assert would_repeat(error) is again
