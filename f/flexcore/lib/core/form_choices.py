# requirements: flexcore_base
"""Choices of a form's dynamic select, in Windmill's form: a list of {label, value}. Pure.

A form shows no more than "error:" for a select that fails, and nothing for one that is empty. Hence a choice that
cannot be chosen says what is wrong, or what to do first.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec

from f.flexcore.lib.core import errors

Choices = list[dict[str, Any]]
Arguments = ParamSpec("Arguments")


def explain_failure(choices: Callable[Arguments, Choices]) -> Callable[Arguments, Choices]:
    """The choices, or one entry that cannot be chosen and says why there are none."""

    @functools.wraps(choices)
    def choices_or_note(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Choices:
        try:
            return choices(*args, **kwargs)
        except errors.FlexcoreError as error:
            return note(str(error).removesuffix(error.remedy).strip(), error.remedy)

    return choices_or_note


def note(text: str, remedy: str = "") -> Choices:
    return [{"label": text, "subtitle": remedy, "value": None, "disabled": True}]


def filter_choices(pairs: Iterable[tuple[str, str]], typed: str | None = "") -> Choices:
    """The (label, value) pairs whose label contains what was typed."""
    return [{"label": label, "value": value} for label, value in pairs if (typed or "").lower() in label.lower()]
