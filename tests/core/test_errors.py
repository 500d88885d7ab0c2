"""Several problems of one request as one error, each under the field of the form that it was found in."""

from __future__ import annotations

import pytest

from f.flexcore.lib.core.errors import Forbidden, InvalidInput, Unreachable, merge, qualify


@pytest.mark.parametrize(
    ("error", "subject", "text"),
    [
        (InvalidInput("cpu: too much", subject="cpu"), "ray.cpu", "ray.cpu: too much"),
        (Unreachable("No answer", subject="cluster.address"), "ray.cluster.address", "No answer"),
        (InvalidInput("No work"), "ray", "No work"),
    ],
)
def test_an_error_of_a_section_names_its_field_below_the_section(
    error: InvalidInput | Unreachable, subject: str, text: str
) -> None:
    qualified = qualify(error, "ray")
    assert (qualified.subject, str(qualified)) == (subject, text)


def test_problems_with_one_remedy_are_a_list_with_the_remedy_at_its_end() -> None:
    problems = [InvalidInput(f"{field} is missing", subject=field, remedy="Fill it in.") for field in "ab"]
    merged = merge(problems)
    assert (str(merged), merged.subject) == ("a is missing; b is missing. Fill it in.", "a")


def test_problems_with_several_remedies_keep_each_its_own_and_the_same_one_is_told_once() -> None:
    one, same = (InvalidInput("a is wrong", subject="a", remedy="Correct it.") for _ in range(2))
    merged = merge([one, same, InvalidInput("b is missing", subject="b", remedy="Fill it in.")])
    assert str(merged) == "a is wrong. Correct it. Also: b is missing. Fill it in."


def test_merged_problems_can_be_merged_again() -> None:
    inner = merge([InvalidInput("a", remedy="Correct it."), InvalidInput("b", remedy="Fill it in.")])
    assert str(merge([inner, InvalidInput("c", remedy="Correct it.")])).count("Correct it.") == 2


def test_a_problem_that_no_retry_helps_with_decides_the_kind() -> None:
    merged = merge([Unreachable("ray is away"), Forbidden("no right", subject="cluster")])
    assert isinstance(merged, Forbidden) and not merged.retryable
    assert "ray is away" in str(merged)
