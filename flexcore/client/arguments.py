"""Arguments against a workflow's input schema, before anything is started."""

from __future__ import annotations

from typing import Any

from f.flexcore.lib.api.request_arguments import REFERENCES, check_arguments, with_defaults
from f.flexcore.lib.core.errors import InvalidInput

REMEDY = "Nothing was done."


def complete_arguments(schema: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The arguments with the form's defaults. Raises InvalidInput that names every wrong one."""
    args = {name: value for name, value in with_defaults(given, schema).items() if value is not None}
    check_arguments(args, schema, within="", remedy=REMEDY)
    return args


def check_defaults(schema: dict[str, Any], given: dict[str, Any]) -> None:
    """Values that are to be written into a flow's file. Raises InvalidInput, for a secret among them too."""
    check_arguments(given, schema | {"required": []}, within="", remedy=REMEDY)
    if secrets := _secrets(schema, given, ""):
        raise InvalidInput("; ".join(secrets), subject="parameters", remedy=REMEDY)


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
