# requirements: flexcore_api
"""Arguments of a flow against the schema of its form, before anything is started. Pure.

Windmill itself starts a run with whatever it is given. A form's schema is JSON Schema with additions of Windmill: a
field that may stay empty takes null, one of a resource the text `$res:PATH`, a dynamic select the chosen value whatever
type the schema names; a field that the form hides is not required; a reference stands for a value of any type.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from f.flexcore.lib.core import errors

if TYPE_CHECKING:
    from jsonschema import ValidationError

MAX_PROBLEMS = 20
CHECKED_RULES = ("type", "enum", "minimum", "maximum", "minLength", "maxLength", "pattern", "minItems", "maxItems")
RESOURCE = {"type": ["object", "string"], "pattern": r"^\$res:[fu]/"}
CHOICE = {"type": ["string", "object"]}
CHOICES = {"type": "array", "items": CHOICE}
# A checkbox of a form cannot stay open; who writes JSON has null for that.
YES_NO = {"type": ["string", "boolean"], "enum": ["", "yes", "no", True, False]}
TYPES = ("object", "string", "integer", "number", "boolean", "array")
LIMITS = {"minimum": "must be at least", "maximum": "must be at most", "pattern": "must match"}
REFERENCES = ("$res:", "$var:", "$jsonvar:")


def check_arguments(
    arguments: Mapping[str, Any],
    schema: Mapping[str, Any],
    *,
    within: str = "arguments",
    remedy: str = "Correct the named fields and send it again.",
) -> None:
    """Raises InvalidInput that names every wrong field; the rejected values are left out: they may be secrets."""
    violations = sorted(_validator(strict_schema(schema)).iter_errors(without_nulls(arguments, schema)), key=_place)
    problems = [problem for error in violations for problem in _problems(error, within)]
    if problems:
        text = "; ".join(f"{field}: {what}" for field, what in problems[:MAX_PROBLEMS])
        more = f"; and {len(problems) - MAX_PROBLEMS} more" if len(problems) > MAX_PROBLEMS else ""
        raise errors.InvalidInput(text + more, subject=problems[0][0], remedy=remedy)


def with_defaults(arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """What the form would send: its defaults stand where nothing, or null, was given."""
    fields = schema.get("properties") or {}
    defaults = {name: field["default"] for name, field in fields.items() if field.get("default") is not None}
    return {**arguments, **{name: value for name, value in defaults.items() if arguments.get(name) is None}}


def public_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The form's schema for a caller without a form: what each field takes, and without the code of the selects."""
    public = {name: value for name, value in schema.items() if not name.startswith("x-windmill-")}
    if (special := _special_field(schema)) is not None:
        return public | special
    if isinstance(schema.get("items"), Mapping):
        public["items"] = public_schema(schema["items"])
    if isinstance(fields := schema.get("properties"), Mapping):
        public["properties"] = {name: public_schema(field) for name, field in fields.items()}
        public["required"] = _required_fields(schema)
    return public


def strict_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The form's schema as JSON Schema that refuses unknown fields wherever the form names some."""
    if (special := _special_field(schema)) is not None:
        return special
    strict = {name: schema[name] for name in CHECKED_RULES if schema.get(name) is not None}
    if strict.get("type") not in TYPES:
        strict.pop("type", None)
    if isinstance(schema.get("items"), Mapping):
        strict["items"] = strict_schema(schema["items"])
    fields = schema.get("properties")
    if isinstance(fields, Mapping) and (fields or "order" in schema):
        strict["properties"] = {name: strict_schema(field) for name, field in fields.items()}
        strict["required"] = _required_fields(schema)
        strict["additionalProperties"] = bool(schema.get("additionalProperties"))
    return strict


def _special_field(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    if schema.get("enum") == ["", "yes", "no"]:
        return YES_NO
    kinds: dict[str, dict[str, Any]] = {"resource": RESOURCE, "dynselect": CHOICE, "dynmultiselect": CHOICES}
    return kinds.get(str(schema.get("format") or "").partition("-")[0])


def _required_fields(schema: Mapping[str, Any]) -> list[str]:
    """A field that is shown on a condition may be absent; the flow itself says when it must be there."""
    fields = schema.get("properties") or {}
    return [name for name in schema.get("required") or () if not (fields.get(name) or {}).get("showExpr")]


def without_nulls(value: Any, schema: Mapping[str, Any]) -> Any:
    """Fields that may stay empty and are null, left out."""
    fields = schema.get("properties")
    if not isinstance(value, Mapping) or not isinstance(fields, Mapping):
        return value
    required = schema.get("required") or ()
    return {
        name: without_nulls(item, fields.get(name) or {})
        for name, item in value.items()
        if item is not None or name in required or name not in fields
    }


def _validator(strict: Mapping[str, Any]) -> Any:
    # A tenth of a second, which only those pay who check arguments.
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    rules = {rule: _or_reference(Draft202012Validator.VALIDATORS[rule]) for rule in CHECKED_RULES}
    return extend(Draft202012Validator, rules)(strict)


def _or_reference(rule: Callable[..., Any]) -> Callable[..., Any]:
    """A reference is resolved when the run begins: only a resource can be judged by the reference itself."""

    def rule_or_reference(validator: Any, limit: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
        if schema == RESOURCE or not (isinstance(value, str) and value.startswith(REFERENCES)):
            yield from rule(validator, limit, value, schema) or ()

    return rule_or_reference


def _place(error: ValidationError) -> str:
    return ".".join(str(part) for part in error.absolute_path)


def _problems(error: ValidationError, within: str) -> Iterator[tuple[str, str]]:
    """(field, what is wrong with it); one error may be about several fields."""
    place = [*([within] if within else []), *(str(part) for part in error.absolute_path)]
    rule, limit = str(error.validator), error.validator_value
    if rule == "required":
        # One error for each missing field; its name is only in the message.
        missing = next(name for name in limit if repr(name) in error.message)
        yield ".".join([*place, missing]), "is required"
    elif rule == "additionalProperties":
        known = list(error.schema["properties"])
        for name in sorted(set(error.instance) - set(known)):
            near = difflib.get_close_matches(name, known, 1)
            yield ".".join([*place, name[:80]]), f"is unknown{f', did you mean {near[0]}?' if near else ''}"
    elif rule == "type":
        yield ".".join(place), _wrong_type(limit if isinstance(limit, list) else [limit], error.instance)
    elif rule == "enum":
        yield ".".join(place), f"must be one of {', '.join(map(str, limit))}"
    else:
        yield ".".join(place), f"{LIMITS.get(rule, f'breaks the rule {rule}')} {limit}"


def _wrong_type(types: list[str], value: Any) -> str:
    # YAML that was pasted, such as a manifest.
    pasted = types == ["object"] and isinstance(value, str)
    return f"must be {' or '.join(types)}{', not text: give it as a JSON object' if pasted else ''}"
