"""The arguments that a step, schedule or trigger gives, against the schema of what it runs."""

from __future__ import annotations

from typing import Any

from wmlocal.lint.context import Context
from wmlocal.lint.parsers import Signature
from wmlocal.lint.positions import Item
from wmlocal.lint.shape import kind_of
from wmlocal.lint.steps import Step
from wmlocal.suggest import suggest

TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int, float),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}
REFERENCES = ("$res:", "$var:", "$encrypted:", "$jsonpath:")


def check_arguments(
    context: Context, file: str, step: Step, schema: Item, path: str, names: list[str] | None = None
) -> None:
    """Each argument of a step that the schema does not have, that is missing, or is of another type. `names` are those
    that `main` takes: a schema that lags behind is a finding of its own."""
    given = step.item.get("value", "input_transforms")
    values = given.map() if given is not None else {}
    properties = schema.map("properties")
    for name, transform in values.items():
        if name not in properties:
            if not _is_open(schema) and name not in (names or ()):
                context.report(
                    file,
                    (transform.key_line, transform.key_column),
                    "unknown-argument",
                    f"{path} has no argument {name}" + suggest(name, list(properties)),
                )
        elif transform.text("type") == "static" and (value := transform.get("value")) is not None:
            check_value(context, file, value, properties[name], f"argument {name} of {path}")
    item = given if given is not None else step.item
    for name in missing(schema, values):
        context.report(
            file,
            (item.key_line, item.key_column),
            "missing-argument",
            f"step {step.id} gives {path} no {name}, which it requires; add it",
        )


def check_inline_arguments(context: Context, file: str, step: Step, signature: Signature) -> None:
    """The inputs of inline code against its `main`; one that is missing arrives as null."""
    given = step.item.get("value", "input_transforms")
    values = given.map() if given is not None else {}
    for name, transform in values.items():
        if name not in signature.names and not signature.takes_any:
            context.report(
                file,
                (transform.key_line, transform.key_column),
                "unknown-argument",
                f"main of step {step.id} has no argument {name}" + suggest(name, signature.names),
            )
    item = given if given is not None else step.item
    for arg in signature.args or ():
        if not arg.get("has_default") and arg["name"] not in values:
            context.report(
                file,
                (item.key_line, item.key_column),
                "missing-argument",
                f"step {step.id} gives its main no {arg['name']}, which arrives as null",
                warn=True,
            )


def missing(schema: Item, given: Any) -> list[str]:
    required = [item.value for item in schema.list("required") if isinstance(item.value, str)]
    properties = schema.map("properties")
    return [
        name for name in required if name not in given and name in properties and not _has_default(properties[name])
    ]


def _has_default(field: Item) -> bool:
    default = field.get("default")
    return default is not None and default.value is not None


def check_value(context: Context, file: str, value: Item, field: Item, what: str) -> None:
    """A constant of the wrong type, or none of the words that the field allows. Null is always taken: it means none."""
    if value.value is None or (isinstance(value.value, str) and value.value.startswith(REFERENCES)):
        return
    kind = field.get("type")
    wanted = TYPES.get(kind.value) if kind is not None and isinstance(kind.value, str) else None
    if wanted is None or (field.text("format") or "").startswith(("resource-", "dynselect", "dynmultiselect")):
        return
    if not isinstance(value.value, wanted) or (isinstance(value.value, bool) and bool not in wanted):
        assert kind is not None
        context.report(
            file, value, "wrong-argument", f"{what} is {kind_of(value.value)}, and must be of type {kind.value}"
        )
        return
    words = [item.value for item in field.list("enum")]
    if words and isinstance(value.value, str) and value.value not in words:
        context.report(
            file,
            value,
            "wrong-argument",
            f"{what} is {value.value!r}, and must be one of {', '.join(map(str, words))}"
            + suggest(value.value, [str(word) for word in words]),
        )


def _is_open(schema: Item) -> bool:
    more = schema.get("additionalProperties")
    return more is not None and more.value is not False
