"""Arguments against a workflow's input schema, before anything is started.

Windmill itself starts a run with whatever it is given: a mistyped name is found by the step that misses it, or by none.
"""

from __future__ import annotations

from typing import Any

from f.flexcore.core.errors import InvalidInput
from flexcore.nearest import did_you_mean

REFERENCES = ("$res:", "$var:", "$jsonvar:")
MOST_SHOWN = 8


def checked(schema: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The arguments with the form's defaults. Raises InvalidInput that names every wrong one."""
    properties = schema.get("properties") or {}
    defaults = {name: item["default"] for name, item in properties.items() if item.get("default") is not None}
    args = defaults | {name: value for name, value in given.items() if value is not None}
    _refuse([*_unknown(schema, given, ""), *_wrong(schema, args)])
    return args


def check_defaults(schema: dict[str, Any], given: dict[str, Any]) -> None:
    """Values that are to be written into a flow's file. Raises InvalidInput, for a secret among them too."""
    _refuse([*_unknown(schema, given, ""), *_wrong(schema | {"required": []}, given), *_secrets(schema, given, "")])


def _refuse(problems: list[str]) -> None:
    if problems:
        more = f"; and {len(problems) - MOST_SHOWN} more" if len(problems) > MOST_SHOWN else ""
        raise InvalidInput("; ".join(problems[:MOST_SHOWN]) + more, subject="parameters", remedy="Nothing was done.")


def _unknown(schema: dict[str, Any], value: Any, where: str) -> list[str]:
    known = schema.get("properties")
    if not isinstance(value, dict) or not known or schema.get("additionalProperties"):
        return []
    found = [f"{where}{name} is no parameter{did_you_mean(name, known)}" for name in value if name not in known]
    for name in value.keys() & known.keys():
        found += _unknown(known[name], value[name], f"{where}{name}.")
    return found


def _secrets(schema: dict[str, Any], value: Any, where: str) -> list[str]:
    if not isinstance(value, dict):
        return []
    found = []
    for name, field in (schema.get("properties") or {}).items():
        item = value.get(name)
        if field.get("password") and isinstance(item, str) and item and not item.startswith(REFERENCES):
            found.append(f"{where}{name} is a secret: give $var:PATH, the path of a secret variable")
        found += _secrets(field, item, f"{where}{name}.")
    return found


def _wrong(schema: dict[str, Any], args: dict[str, Any]) -> list[str]:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    types = Draft202012Validator.TYPE_CHECKER
    for name in ("object", "string", "integer", "number", "boolean", "array"):
        types = types.redefine(name, _or_reference(types.is_type, name))
    validator = extend(Draft202012Validator, type_checker=types)(schema)
    found = sorted(validator.iter_errors(_without_nulls(args)), key=lambda error: list(map(str, error.absolute_path)))
    return [_said(error) for error in found]


def _or_reference(is_type: Any, name: str) -> Any:
    """A reference stands for a value of any type; it is resolved when the run begins."""
    return lambda _, value: is_type(value, name) or (isinstance(value, str) and value.startswith(REFERENCES))


def _said(error: Any) -> str:
    """Names and limits, never the value: it may be a secret."""
    where = ".".join(map(str, error.absolute_path))
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        return f"{where + '.' if where else ''}{missing[0]} is missing"
    limits = {
        "type": f"must be {error.validator_value}",
        "enum": f"must be one of {', '.join(map(str, error.validator_value))}" if error.validator == "enum" else "",
        "minimum": f"must be at least {error.validator_value}",
        "maximum": f"must be at most {error.validator_value}",
        "pattern": f"must match {error.validator_value}",
    }
    return f"{where} {limits.get(error.validator, f'breaks the rule {error.validator}')}"


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
