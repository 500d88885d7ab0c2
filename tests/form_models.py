"""A section of a flow's form beside the request models that check it. Pure but for reading the flow.

A form shows a request in Windmill's words: null or "" for what is empty, `enum` for a choice, `minimum` and `maximum`
for bounds. What only concerns its looks (title, format, showExpr, the fields of an object) is the form's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

Json = dict[str, Any]
# The switch of a section that shows its further fields, and the choice among its operations.
OWN_FIELDS = ("more", "operation")
BOUNDS = ("minimum", "maximum")


@dataclass(frozen=True, slots=True)
class Section:
    """models: the requests that it may become; omitted: what the flow itself fills in; extra: fields of the section
    that stand for others. has_own_words: a form of all operations of a runtime, which groups their fields, and says of
    one that several have what it means to each."""

    file: Path
    path: tuple[str, ...]
    models: Sequence[type[BaseModel]]
    omitted: frozenset[str] = frozenset()
    extra: frozenset[str] = frozenset()
    has_own_words: bool = False

    @property
    def name(self) -> str:
        return ".".join(self.path) or "form"


def read_schema(section: Section) -> Json:
    schema: Json = yaml.safe_load(section.file.read_text())["schema"]
    for name in section.path:
        schema = schema["properties"][name]
    return schema


def find_differences(section: Section) -> Iterator[str]:
    """One line for each difference, as `file:line: field: what is wrong`."""
    schema = read_schema(section)
    fields = {name for model in section.models for name in model.model_fields} - section.omitted
    shown = set(schema["properties"]) - section.extra - set(OWN_FIELDS)
    for name in sorted(fields - shown):
        yield _line(section, (), f"{name} is a field of the request and missing in the form")
    for name in sorted(shown - fields):
        yield _line(section, (name,), f"{name} is in the form and no field of the request")
    for name in sorted(fields & shown):
        for problem in _compare_field(section, name, schema["properties"][name]):
            yield _line(section, (name,), f"{name}: {problem}")
    for model in () if section.has_own_words else section.models:
        expected = [name for name in model.model_fields if name in shown]
        order = [name for name in schema["order"] if name in model.model_fields]
        if order != expected:
            yield _line(section, (), f"the order is {', '.join(order)} and must be {', '.join(expected)}")


def _compare_field(section: Section, name: str, field: Json) -> Iterator[str]:
    """What differs from every model that has the field."""
    candidates = [expected_field(model, name) for model in section.models if name in model.model_fields]
    actual = {key: _normalize(field.get(key)) for key in candidates[0]}
    if field.get("enum") and not any(each["enum"] for each in candidates):
        # Values that the form suggests where the request takes more.
        actual["enum"] = None
    for key in candidates[0]:
        if key in BOUNDS and field.get("type") == "string":
            # An amount with its unit, such as 10GB.
            continue
        if key == "description" and section.has_own_words and len(candidates) > 1:
            continue
        allowed = [_normalize(each[key]) for each in candidates]
        if key == "description":
            # A section that chooses among operations may say what the field is for each.
            allowed.append(_normalize(" ".join(dict.fromkeys(each[key] or "" for each in candidates))))
        if actual[key] not in allowed:
            yield f"{key} is {actual[key]!r} and must be {allowed[0]!r}"


def expected_field(model: type[BaseModel], name: str) -> Json:
    """What a form says of a field of the model."""
    info = model.model_fields[name]
    schema = model.model_json_schema()
    plain = _resolve(schema["properties"][name], schema)
    default = None if info.is_required() else info.default
    default = None if isinstance(default, BaseModel) else default
    smallest, largest = plain.get("minimum"), plain.get("maximum")
    if smallest is None and plain.get("type") == "integer" and "exclusiveMinimum" in plain:
        smallest = plain["exclusiveMinimum"] + 1
    return {
        "description": info.description,
        "default": default,
        "minimum": smallest,
        "maximum": largest,
        "enum": plain.get("enum"),
    }


def _resolve(plain: Json, schema: Json) -> Json:
    """Without null, and with what `$ref` names."""
    options = [option for option in plain.get("anyOf", []) if option.get("type") != "null"] or [plain]
    option = options[0]
    found: Json = schema["$defs"][option["$ref"].rpartition("/")[2]] if "$ref" in option else option
    return found


def _normalize(value: Any) -> Any:
    """Empty is empty, however it is written; a choice may offer the empty one, and yes and no for a boolean."""
    if value in (None, "", [], {}, False) and value != 0:
        return None
    if isinstance(value, list):
        kept = sorted(item for item in value if item != "")
        return None if kept in (["no", "yes"], [False, True]) else kept
    if isinstance(value, str):
        return " ".join(value.split())
    return value


def _line(section: Section, field: tuple[str, ...], problem: str) -> str:
    document = yaml.compose(section.file.read_text())
    node: Any = _child(document, "schema")
    for name in (*section.path, *field):
        node = _child(_child(node, "properties"), name)
    return f"{section.file.as_posix()}:{node.start_mark.line}: {section.name}: {problem}"


def _child(node: Any, name: str) -> Any:
    return next(value for key, value in node.value if key.value == name)
