# requirements: flexcore_base
"""Which fields of a form are secret, by a mark on the field; what masks or leaves them out derives from it.

    token: Annotated[str, SECRET] = ""             every text in it is a secret
    parameters: Annotated[dict, OPAQUE] = {}       may hold anything: what looks like a secret in it is one
Neither goes into a result, a label or the arguments of another step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, SecretStr

from f.flexcore.lib.core import redaction


@dataclass(frozen=True, slots=True)
class Mark:
    is_whole: bool


SECRET, OPAQUE = Mark(is_whole=True), Mark(is_whole=False)


def marked_fields(model: type[BaseModel]) -> dict[str, Mark]:
    """The marked fields of a model and their marks."""
    found = {}
    for name, field in model.model_fields.items():
        mark = next((item for item in field.metadata if isinstance(item, Mark)), None)
        if mark:
            found[name] = mark
    return found


def secret_values(form: BaseModel) -> Iterator[str]:
    """The texts in a form that must never be seen in any output, those of forms within it, too."""
    marks = marked_fields(type(form))
    for name in type(form).model_fields:
        value = getattr(form, name)
        if isinstance(value, BaseModel):
            yield from secret_values(value)
        elif name in marks:
            yield from _texts(value) if marks[name].is_whole else redaction.find_secrets(value)


def dump_public(form: BaseModel) -> dict[str, Any]:
    """The form as JSON data without its marked fields."""
    return form.model_dump(mode="json", exclude=set(marked_fields(type(form))))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
