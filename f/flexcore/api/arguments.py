# requirements: flexcore_api
# py: ==3.11.*
"""Arguments of a flow against the schema of its form, before anything is started. Pure.

A form's schema is JSON Schema with additions of Windmill: a field of a resource also takes the text `$res:PATH`, and a
field that may stay empty takes null.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator, ValidationError

from f.flexcore.core.errors import InvalidInput

MOST_PROBLEMS = 20
KEPT = ("type", "enum", "minimum", "maximum", "minLength", "maxLength", "pattern", "minItems", "maxItems")
RESOURCE = {"type": ["object", "string"], "pattern": r"^\$res:[fu]/"}


def check_arguments(arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    """Raises InvalidInput that names every wrong field; the rejected values are left out: they may be secrets."""
    strict = strict_schema(schema)
    errors = sorted(Draft202012Validator(strict).iter_errors(without_nulls(arguments, schema)), key=_place)
    problems = [problem for error in errors for problem in _problems(error)][:MOST_PROBLEMS]
    if problems:
        text = "; ".join(f"{field}: {what}" for field, what in problems)
        raise InvalidInput(text, subject=problems[0][0], remedy="Correct the named fields and send it again.")


def strict_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The form's schema as JSON Schema that refuses unknown fields wherever the form names some."""
    if str(schema.get("format") or "").startswith("resource-"):
        return RESOURCE
    strict = {name: schema[name] for name in KEPT if schema.get(name) is not None}
    if isinstance(schema.get("items"), Mapping):
        strict["items"] = strict_schema(schema["items"])
    fields = schema.get("properties")
    if isinstance(fields, Mapping) and (fields or "order" in schema):
        strict["properties"] = {name: strict_schema(field) for name, field in fields.items()}
        strict["required"] = list(schema.get("required") or ())
        strict["additionalProperties"] = bool(schema.get("additionalProperties"))
    return strict


def without_nulls(value: Any, schema: Mapping[str, Any]) -> Any:
    """Fields that may stay empty and are null, left out."""
    fields = schema.get("properties")
    if not isinstance(value, Mapping) or not isinstance(fields, Mapping):
        return value
    needed = schema.get("required") or ()
    return {
        name: without_nulls(item, fields.get(name) or {})
        for name, item in value.items()
        if item is not None or name in needed or name not in fields
    }


def _place(error: ValidationError) -> str:
    return ".".join(str(part) for part in error.absolute_path)


def _problems(error: ValidationError) -> Iterator[tuple[str, str]]:
    place = ["arguments", *(str(part) for part in error.absolute_path)]
    rule, told = error.validator, error.validator_value
    if rule == "required":
        # One error for each missing field; its name is only in the message.
        missing = next(name for name in told if repr(name) in error.message)
        yield ".".join([*place, missing]), "is required"
    elif rule == "additionalProperties":
        known = list(error.schema["properties"])
        for name in sorted(set(error.instance) - set(known)):
            near = difflib.get_close_matches(name, known, 1)
            yield ".".join([*place, name[:80]]), f"is unknown{f', did you mean {near[0]}?' if near else ''}"
    elif rule == "type":
        kinds = told if isinstance(told, list) else [told]
        yield ".".join(place), f"must be {' or '.join(kinds)}"
    elif rule == "enum":
        yield ".".join(place), f"must be one of {', '.join(map(str, told))}"
    else:
        yield ".".join(place), f"does not fit {rule} {told}"
