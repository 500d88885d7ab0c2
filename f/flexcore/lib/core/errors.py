# requirements: flexcore_base
"""Errors by consequence: what the caller can do about it, not where it came from.

FlexcoreError
├── UserError             change the request, then run again; never retried
│   ├── InvalidInput      an argument, field or file is wrong
│   ├── MissingSetting    a required setting or secret is absent
│   ├── NotFound          a named thing does not exist
│   ├── Forbidden         the credentials are refused or lack a right
│   └── Conflict          what is there already does not allow it
├── DataError             the data is not what the stage needs; never retried
│   ├── EmptyData         nothing to work on
│   └── ManifestMismatch  what a manifest promises is not what is stored
├── TransientError        the same call may succeed later; retried
│   ├── Unreachable       no answer from a service
│   └── Unavailable       the service answered that it cannot now
├── ExecutionFailed       the work ran on its runtime and ended badly
└── DeadlineExceeded      the work did not end within its time

Windmill copies an exception's attributes into `error.extra`, so each attribute is plain JSON data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

Model = TypeVar("Model", bound=BaseModel)


class FlexcoreError(Exception):
    """An error whose message names the thing and the next action.

    category: a stable word for programs; subject: the field or object at fault; remedy: what to do next;
    retryable: whether the same call may succeed later; details: further JSON data such as a diagnosis, a
    remote object or the tail of a log.
    """

    category = "error"
    retryable = False

    def __init__(
        self, message: str, *, subject: str = "", remedy: str = "", category: str = "", **details: Any
    ) -> None:
        super().__init__(f"{message.rstrip('. ')}. {remedy}" if remedy else message)
        self.category = category or type(self).category
        self.retryable = type(self).retryable
        self.subject = subject
        self.remedy = remedy
        self.details = details


class UserError(FlexcoreError):
    category = "user"


class InvalidInput(UserError):
    category = "invalid_input"


class MissingSetting(UserError):
    category = "missing_setting"


class NotFound(UserError):
    category = "not_found"


class Forbidden(UserError):
    category = "forbidden"


class Conflict(UserError):
    category = "conflict"


class DataError(FlexcoreError):
    category = "data"


class EmptyData(DataError):
    category = "empty_data"


class ManifestMismatch(DataError):
    category = "manifest_mismatch"


class TransientError(FlexcoreError):
    category = "transient"
    retryable = True


class Unreachable(TransientError):
    category = "unreachable"


class Unavailable(TransientError):
    category = "unavailable"


class ExecutionFailed(FlexcoreError):
    category = "execution_failed"


class DeadlineExceeded(FlexcoreError):
    category = "deadline_exceeded"


# By name: what a remote program or an earlier attempt may say that it was; any other name is an ExecutionFailed.
KINDS: dict[str, type[FlexcoreError]] = {
    name: item for name, item in globals().items() if isinstance(item, type) and issubclass(item, FlexcoreError)
}


def stored_error(error: FlexcoreError) -> dict[str, Any]:
    """The error as JSON, for `restore_error`: a failure that would repeat is raised again without a new attempt."""
    kept = ("subject", "remedy", "category", "details")
    return {"type": type(error).__name__, "message": str(error), **{name: getattr(error, name) for name in kept}}


def restore_error(stored: dict[str, Any]) -> FlexcoreError:
    """The error that `stored_error` wrote down; an ExecutionFailed when this version does not know its type."""
    kind = KINDS.get(str(stored["type"]), ExecutionFailed)
    error = kind(stored["message"], subject=stored["subject"], category=stored["category"], **stored["details"])
    error.remedy = stored["remedy"]
    return error


def validate(model: type[Model], value: Any, what: str) -> Model:
    """`value` as a `model`, or InvalidInput that names every wrong field below `what` ("": a step's own arguments).

    The rejected values themselves are left out of the message: they may be secrets.
    """
    if isinstance(value, model):
        return value
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise _invalid_input(error, what) from None


def check_value(kind: Any, value: Any, what: str) -> Any:
    """`value` as a `kind` (`int`, `float | None`, `dict[str, Any]`), for a step's argument that is no model; raises
    InvalidInput as `validate` does."""
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise _invalid_input(error, what) from None


def qualify(error: FlexcoreError, where: str) -> FlexcoreError:
    """The same error, its field named below `where`: a section of a larger form."""
    text = str(error)
    if error.subject and text.startswith(error.subject):
        error.args = (f"{where}.{text}",)
    error.subject = f"{where}.{error.subject}" if error.subject else where
    return error


def merge(problems: Sequence[FlexcoreError]) -> FlexcoreError:
    """One error whose message names all: the first that no retry helps with, else the first."""
    first, *others = sorted(problems, key=lambda error: error.retryable)
    others = list({str(error): error for error in others if str(error) != str(first)}.values())
    ending = f". {first.remedy}"
    if others and all(str(error).endswith(ending) for error in (first, *others)):
        texts = [str(error).removesuffix(ending) for error in (first, *others)]
        first.args = (f"{'; '.join(texts)}{ending}",)
    elif others:
        first.args = (" ".join([str(first), *(f"Also: {error}" for error in others)]),)
    return first


# pydantic's words for what a person left out, as a person would say it.
LEFT_OUT_MESSAGES = {"missing": "is missing: fill it in", "extra_forbidden": "is not a known field"}


def _invalid_input(error: ValidationError, what: str) -> InvalidInput:
    found = error.errors(include_url=False, include_input=False)
    problems = [(".".join(filter(None, [what, *map(str, item["loc"])])), _describe_problem(item)) for item in found]
    text = "; ".join(f"{field}{problem}" for field, problem in problems)
    return InvalidInput(text, subject=problems[0][0], remedy="Correct the named field and run again.")


def _describe_problem(item: Mapping[str, Any]) -> str:
    """What is wrong with a field, to stand right behind its name."""
    if item["type"] == "too_short" and not item["ctx"]["actual_length"]:
        least = item["ctx"]["min_length"]
        return f" is empty: give at least {'one' if least == 1 else least}"
    if item["type"] in LEFT_OUT_MESSAGES:
        return f" {LEFT_OUT_MESSAGES[item['type']]}"
    return f": {item['msg'].removeprefix('Value error, ')}"
