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
Asked = ParamSpec("Asked")


def offered(choices: Callable[Asked, Choices]) -> Callable[Asked, Choices]:
    """Tells in the list itself why nothing can be chosen."""

    @functools.wraps(choices)
    def told(*args: Asked.args, **kwargs: Asked.kwargs) -> Choices:
        try:
            return choices(*args, **kwargs)
        except errors.FlexcoreError as error:
            return note(str(error).removesuffix(error.remedy).strip(), error.remedy)

    return told


def note(text: str, remedy: str = "") -> Choices:
    return [{"label": text, "subtitle": remedy, "value": None, "disabled": True}]


def matching(pairs: Iterable[tuple[str, str]], typed: str | None = "") -> Choices:
    """The (label, value) pairs whose label contains what was typed."""
    return [{"label": label, "value": value} for label, value in pairs if (typed or "").lower() in label.lower()]
