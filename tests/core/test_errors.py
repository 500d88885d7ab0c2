"""Several problems of one request as one error, each under the field of the form that it was found in."""

from __future__ import annotations

import json
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from f.flexcore.lib.core.errors import (
    ExecutionFailed,
    FlexcoreError,
    Forbidden,
    InvalidInput,
    NotFound,
    Unavailable,
    Unreachable,
    check_value,
    merge,
    qualify,
    restore_error,
    stored_error,
    validate,
)

SECRET = "s3cr3t-of-the-form"


@pytest.mark.parametrize(
    ("error", "subject", "text"),
    [
        (("cpu: too much", "cpu"), "ray.cpu", "ray.cpu: too much"),
        (("No answer", "cluster.address"), "ray.cluster.address", "No answer"),
        (("No work", ""), "ray", "No work"),
    ],
)
def test_an_error_of_a_section_names_its_field_below_the_section(
    error: tuple[str, str], subject: str, text: str
) -> None:
    qualified = qualify(Unreachable(error[0], subject=error[1]), "ray")
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


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (("No rows", ""), "No rows"),
        (("No rows.", "Give some."), "No rows. Give some."),
        (("..hidden is no table. ", "Name another."), "..hidden is no table. Name another."),
    ],
)
def test_a_message_ends_with_its_remedy_and_one_period_between(given: tuple[str, str], text: str) -> None:
    message, remedy = given
    error = NotFound(message, remedy=remedy)
    assert (str(error), error.remedy, error.subject, error.category) == (text, remedy, "", "not_found")


@pytest.mark.parametrize(
    "error",
    [
        NotFound("No table", subject="tables", remedy="Name another.", seen=["a"]),
        Unavailable("503", category="throttled", retry_after_s=3),
        ExecutionFailed("exit code 1", log_tail="boom"),
    ],
)
def test_a_stored_error_is_raised_again_as_what_it_was(error: FlexcoreError) -> None:
    again = restore_error(json.loads(json.dumps(stored_error(error))))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_a_stored_error_of_a_type_that_is_not_known_is_a_failed_execution() -> None:
    stored = stored_error(NotFound("No table")) | {"type": "QuotaExceeded", "category": "quota"}
    again = restore_error(stored)
    assert (type(again), str(again), again.category, again.retryable) == (ExecutionFailed, "No table", "quota", False)


def refuse_odd(value: int) -> int:
    if value % 2:
        raise ValueError("an odd number")
    return value


class Part(BaseModel):
    count: Annotated[int, AfterValidator(refuse_odd)] = 0


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid")

    parts: list[Part] = Field(min_length=1)
    pair: list[int] = Field(default=[1, 2], min_length=2)
    token: int = 0


@pytest.mark.parametrize(
    ("given", "subject", "problem"),
    [
        ({}, "order.parts", "order.parts is missing: fill it in"),
        ({"parts": []}, "order.parts", "order.parts is empty: give at least one"),
        ({"parts": [{}], "pair": []}, "order.pair", "order.pair is empty: give at least 2"),
        (
            {"parts": [{}], "pair": [1]},
            "order.pair",
            "order.pair: List should have at least 2 items after validation, not 1",
        ),
        ({"parts": [{}], "color": "red"}, "order.color", "order.color is not a known field"),
        ({"parts": [{}, {"count": 3}]}, "order.parts.1.count", "order.parts.1.count: an odd number"),
        ("order", "order", "order: Input should be a valid dictionary or instance of Order"),
        (
            {"color": "red"},
            "order.parts",
            "order.parts is missing: fill it in; order.color is not a known field",
        ),
    ],
)
def test_every_wrong_field_is_named_with_what_is_wrong_with_it(given: Any, subject: str, problem: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        validate(Order, given, "order")
    assert str(caught.value) == f"{problem}. Correct the named field and run again."
    assert (caught.value.subject, caught.value.remedy) == (subject, "Correct the named field and run again.")
    assert caught.value.__cause__ is None


def test_a_rejected_value_is_not_told_as_it_may_be_a_secret() -> None:
    with pytest.raises(InvalidInput) as caught:
        validate(Order, {"parts": [{}], "token": SECRET}, "order")
    assert caught.value.subject == "order.token"
    assert SECRET not in repr((str(caught.value), vars(caught.value)))


def test_what_is_valid_already_stays_the_same_object() -> None:
    order = validate(Order, {"parts": [{"count": 2}]}, "order")
    assert order.parts == [Part(count=2)]
    assert validate(Order, order, "order") is order


def test_an_argument_that_is_no_model_is_checked_and_named_likewise() -> None:
    assert check_value(float | None, 2, "seconds") == 2.0
    with pytest.raises(InvalidInput, match="seconds: Input should be a valid number") as caught:
        check_value(float, "soon", "seconds")
    assert caught.value.subject == "seconds"
