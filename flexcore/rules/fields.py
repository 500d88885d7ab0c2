"""The fields of a request model as a form should have them, and what differs from that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from wmlocal.lint.positions import Item

# Fields of a request that a flow alone reads: what its form shows, and how it decides between block and defer.
FLOW_FIELDS = ("more", "expected_s")
FLOW_CHOICES = {"wait": "auto"}
KINDS = ("description", "minimum", "maximum", "choices", "default")
# None and an empty list are one and the same default: a form cannot have a list as its default in Python's signature.
EMPTY: tuple[Any, ...] = (None, "", [], {}, ())


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a request, as a form should have it."""

    name: str
    required: bool = False
    default: Any = None
    description: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """field: a dotted path in the form; kind: missing, extra, required, default, description, minimum, …"""

    file: str
    field: str
    kind: str
    line: int
    column: int
    message: str


def list_fields(model: type[BaseModel], of_flow: bool = False) -> list[Field]:
    """In the order of the model; of_flow: with what only a flow's form offers."""
    schema = model.model_json_schema()
    found = []
    for name, info in model.model_fields.items():
        if name in FLOW_FIELDS and not of_flow:
            continue
        prop = _resolve(schema["properties"].get(info.alias or name, {}), schema.get("$defs", {}))
        default = None if info.is_required() else info.get_default(call_default_factory=True, validated_data={})
        hidden = (None,) if of_flow else (None, FLOW_CHOICES.get(name))
        bounds = {key: prop.get(key, _inner_bound(prop, key)) for key in ("minimum", "maximum")}
        found.append(
            Field(
                info.alias or name,
                info.is_required(),
                None if of_flow and isinstance(default, BaseModel) else _plain(default),
                info.description or "",
                bounds["minimum"],
                bounds["maximum"],
                tuple(value for value in prop.get("enum", ()) if value not in hidden),
            )
        )
    return found


def _resolve(prop: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """`int | None` is the integer, with its bounds; a named type is what it stands for."""
    options = [option for option in prop.get("anyOf", ()) if option.get("type") != "null"]
    if len(options) == 1:
        return _resolve({**options[0], **{key: value for key, value in prop.items() if key != "anyOf"}}, definitions)
    named = definitions.get(str(prop.get("$ref", "")).removeprefix("#/$defs/"), {})
    return {**named, **prop}


def _inner_bound(prop: dict[str, Any], key: str) -> float | None:
    """`gt=0` of an integer is a minimum of 1."""
    exclusive = prop.get(f"exclusive{key.capitalize()}")
    if exclusive is None or prop.get("type") != "integer":
        return None
    bound: float = exclusive + (1 if key == "minimum" else -1)
    return bound


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, tuple | set | frozenset):
        return [_plain(item) for item in value]
    return getattr(value, "value", value)


def compare_field(file: str, path: str, prop: Item, field: Field, kinds: Iterable[str]) -> Iterator[Difference]:
    for kind in kinds:
        in_form, in_request = _in_form(kind, prop), getattr(field, kind)
        if not is_same(kind, in_form, in_request):
            message = describe_difference(kind, path, in_form, in_request)
            yield difference(file, prop.get("enum" if kind == "choices" else kind) or prop, path, kind, message)


def describe_difference(kind: str, path: str, in_form: Any, in_request: Any) -> str:
    found = f"the {kind} of {path} is {show(in_form)} in the form, and {show(in_request)} in the request"
    return f"{found}; make them the same"


def counts(kind: str, field: Field) -> bool:
    return kind != "default" or not field.required


def _in_form(kind: str, prop: Item) -> Any:
    shown = prop.plain()
    return show_choices(shown) if kind == "choices" else shown.get(kind)


def show_choices(shown: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(value for value in shown.get("enum") or () if value not in (None, ""))


def is_same(kind: str, a: Any, b: Any) -> bool:
    if kind == "description":
        return normalize_text(a) == normalize_text(b)
    if kind == "choices":
        return set(map(str, a)) == {str(value) for value in b if value != ""}
    return bool(a == b) or (kind == "default" and a in EMPTY and b in EMPTY)


def normalize_text(value: str | None) -> str:
    return " ".join((value or "").split())


def show(value: Any) -> str:
    return "absent" if value in (None, "", ()) else repr(value)


def difference(file: str, place: Item, field: str, kind: str, message: str) -> Difference:
    return Difference(file, field, kind, place.key_line, place.key_column, message)
