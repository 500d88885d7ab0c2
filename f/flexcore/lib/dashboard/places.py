# requirements: flexcore_base
"""Questions to several places at once, of which none is waited for longer than the page waits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from f.flexcore.lib.core import daemon_threads, errors

Answer = TypeVar("Answer")
# The page gives a read up after 120 s (logic/calls.ts), in which a worker is found and Windmill answers, too.
LIMIT_S = 60.0


def ask_all(questions: Sequence[Callable[[], Answer]], limit_s: float = LIMIT_S) -> list[Answer | errors.FlexcoreError]:
    """What each answers, in order, or the FlexcoreError that it raises; Unreachable for one that takes longer than
    `limit_s` seconds. Raises what else one of them raises."""
    answers: dict[int, Answer | Exception] = {}

    def ask(number: int) -> None:
        try:
            answers[number] = questions[number]()
        except Exception as error:
            answers[number] = error

    daemon_threads.run_for([partial(ask, number) for number in range(len(questions))], limit_s)
    late = errors.Unreachable(
        f"There was no answer within {limit_s:g} s",
        remedy="Check that it runs, and that the workers of the dashboard reach it.",
    )
    return [_take(answers.get(number, late)) for number in range(len(questions))]


def _take(answer: Answer | Exception) -> Answer | errors.FlexcoreError:
    if isinstance(answer, Exception) and not isinstance(answer, errors.FlexcoreError):
        raise answer
    return answer
