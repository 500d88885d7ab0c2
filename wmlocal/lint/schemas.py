"""A script's schema against its `main`.

What an argument's type is in the schema is Windmill's rule (CLI 1.819 writes the same); what only the form shows
(description, title, order, limits) is the author's and is not compared.
"""

from __future__ import annotations

import ast
from typing import Any

from wmlocal.lint.arguments import check_value
from wmlocal.lint.context import Context
from wmlocal.lint.files import Script
from wmlocal.lint.parsers import Signature
from wmlocal.lint.positions import Item
from wmlocal.lint.shape import kind_of
from wmlocal.suggest import suggest

Field = dict[str, Any]
PLAIN: dict[str, Field] = {
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "email": {"type": "string", "format": "email"},
    "sql": {"type": "string", "format": "sql"},
    "yaml": {"type": "string", "format": "yaml"},
    "bytes": {"type": "string", "contentEncoding": "base64"},
    "datetime": {"type": "string", "format": "date-time"},
    "date": {"type": "string", "format": "date"},
}
# `Any`, `tuple` and classes of the file are resources to the parser, and to nobody else.
NO_RESOURCES = ("Any", "tuple")


def describe_field(kind: Any) -> Field:
    """The keys of a schema's field that follow from a parsed type; empty when nothing does."""
    if isinstance(kind, str):
        return PLAIN.get(kind, {})
    if not isinstance(kind, dict):
        return {}
    (name, inner), *_ = kind.items()
    match name:
        case "str":
            return {"type": "string"} | ({"enum": inner} if inner else {})
        case "list":
            return {"type": "array"} | _describe_items(inner)
        case "resource" if inner in NO_RESOURCES:
            return {"type": "object"}
        case "resource" | "dynselect" | "dynmultiselect":
            return {"type": "object", "format": f"{name}-{inner}"}
        case "object":
            # Its format names the class or type, which is not a resource to anybody but the parser.
            props = {prop["key"]: describe_field(prop["typ"]) for prop in inner.get("props") or ()}
            return {"type": "object"} | ({"properties": props} if props else {})
        case "oneof":
            return {"type": "object", "oneOf": [branch["label"] for branch in inner]}
    return {}


def _describe_items(kind: Any) -> Field:
    if kind in ("int", "float"):
        return {"items": {"type": "number"}}
    if kind == "bytes":
        return {"items": {"type": "string", "contentEncoding": "base64"}}
    if kind == "string":
        return {"items": {"type": "string"}}
    if isinstance(kind, dict) and "str" in kind:
        return {"items": {"type": "string"} | ({"enum": kind["str"]} if kind["str"] else {})}
    if isinstance(kind, dict) and kind.get("resource") and kind["resource"] not in NO_RESOURCES:
        return {"items": {"type": "resource", "resourceType": kind["resource"]}}
    if isinstance(kind, dict) and isinstance(kind.get("object"), dict) and kind["object"].get("props"):
        return {"items": describe_field(kind)}
    return {}


def check_schema(context: Context, script: Script, document: Item, signature: Signature) -> None:
    """`document` is the script's metadata."""
    file = f"{script.path}.script.yaml"
    if signature.args is None:
        report_unparsable(context, script)
        return
    schema = document.get("schema")
    if schema is None or schema.value is None:
        if signature.args:
            place = (schema.key_line, schema.key_column) if schema else (document.line, document.column)
            context.report(file, place, "schema-missing", f"there is no schema, and main takes arguments; {DO}")
        return
    properties = schema.get("properties")
    if not isinstance(schema.value, dict) or (properties is not None and not isinstance(properties.value, dict)):
        context.report(file, schema, "wrong-type", f"schema is {kind_of(schema.value)}, and must be a JSON schema")
        return
    fields = properties.value if properties is not None else {}
    for name, field in fields.items():
        if name not in signature.names:
            place = (field.key_line, field.key_column)
            main = "there is no main" if signature.is_library else f"main has no argument {name}"
            context.report(file, place, "schema-extra", f"{main}; {DO}" + suggest(name, signature.names))
    above = properties or schema
    computed = _computed_defaults(context, script, signature.args)
    for arg in signature.args:
        if arg["name"] in fields:
            _field(context, file, arg, fields[arg["name"]], arg["name"] in computed)
        else:
            context.report(
                file,
                (above.key_line, above.key_column),
                "schema-lacks",
                f"main's argument {arg['name']} is not in the schema; {DO}",
            )
    _check_required(context, file, schema, signature.args, fields, computed)
    _order(context, file, schema, fields)


DO = "run flexcore metadata"


def _computed_defaults(context: Context, script: Script, args: list[dict[str, Any]]) -> frozenset[str]:
    """Arguments whose default the parser cannot tell: a name, a call, an expression."""
    if script.language != "python3":
        return frozenset(arg["name"] for arg in args if arg.get("has_default") and arg.get("default") is None)
    return computed_defaults(context.files.text(script.file) or "")


def _field(context: Context, file: str, arg: dict[str, Any], field: Item, is_computed: bool) -> None:
    name = arg["name"]
    if not isinstance(field.value, dict):
        context.report(file, field, "wrong-type", f"{name} is {kind_of(field.value)}, and must be a mapping")
        return
    wanted_keys = describe_field(arg.get("typ"))
    by_hand = (field.text("format") or "").startswith(("dynselect", "dynmultiselect")) or (
        field.get("oneOf") is not None and "oneOf" not in wanted_keys
    )
    for key, wanted in () if by_hand else wanted_keys.items():
        _key(context, file, name, field, key, wanted)
    default = field.get("default")
    has, wanted = default.plain() if default is not None else None, arg.get("default")
    if _differs(has, wanted) and not is_computed and arg.get("typ") not in ("bytes", "datetime", "date"):
        # A form may offer a value where main has none.
        message = f"the default of {name} is {_show(has)} here and {_show(wanted)} in main; {DO}"
        place = default or (field.key_line, field.key_column)
        context.report(file, place, "schema-default", message, warn=wanted is None)


def _key(context: Context, file: str, name: str, field: Item, key: str, wanted: Any) -> None:
    found = field.get(key)
    value = found.plain() if found is not None else None
    place = found if found is not None else (field.key_line, field.key_column)
    if key == "items":
        items = field.get("items")
        if items is None and wanted == {"type": "string"}:
            # A form without items lists texts.
            return
        if items is None or not isinstance(items.value, dict):
            context.report(file, place, "schema-type", f"{name} has no items, which are {_show(wanted)} in main; {DO}")
            return
        for inner, inner_wanted in wanted.items():
            _key(context, file, f"the items of {name}", items, inner, inner_wanted)
        return
    if key == "properties":
        if (field.text("format") or "").startswith("resource-") and "properties" not in field.value:
            # The form asks for a resource of that type, as older servers wrote it.
            return
        _properties(context, file, name, field, wanted)
        return
    if key == "oneOf":
        value = [item.text("title") for item in field.list("oneOf")]
    if key == "format" and wanted in ("date", "date-time") and value in ("date", "date-time"):
        return
    if key == "type" and (value, wanted) == ("integer", "number") and name.startswith("the items of "):
        # Windmill's own list of integers says number; an author's integer is as good.
        return
    if value != wanted and not (key == "format" and str(wanted)[9:10].isupper()):
        context.report(
            file, place, "schema-type", f"{key} of {name} is {_show(value)} here and {_show(wanted)} in main; {DO}"
        )


def _properties(context: Context, file: str, name: str, field: Item, wanted: dict[str, Field]) -> None:
    """The fields of an object whose type main spells out; a field that it does not have is the author's."""
    fields = field.map("properties")
    for inner, keys in wanted.items():
        if inner not in fields:
            place = field.get("properties") or field
            context.report(
                file,
                (place.key_line, place.key_column),
                "schema-lacks",
                f"{name} has no {inner}, which it has in main; {DO}",
            )
        elif isinstance(fields[inner].value, dict):
            for key, value in keys.items():
                _key(context, file, f"{name}.{inner}", fields[inner], key, value)


def _check_required(
    context: Context,
    file: str,
    schema: Item,
    args: list[dict[str, Any]],
    fields: dict[str, Item],
    computed: frozenset[str],
) -> None:
    required = schema.get("required")
    listed = {item.value: item for item in schema.list("required") if isinstance(item.value, str)}
    place = (required.key_line, required.key_column) if required else (schema.key_line, schema.key_column)
    by_name = {arg["name"]: arg for arg in args}
    for name, arg in by_name.items():
        if name in computed:
            _unseen_default(context, file, arg, fields.get(name), place, name in listed)
        elif not arg.get("has_default") and name not in listed and name in fields:
            context.report(file, place, "schema-required", f"{name} has no default in main, and is required; {DO}")
    for name, item in listed.items():
        if name not in by_name:
            context.report(file, item, "schema-required", f"required names no argument of main: {name}; {DO}")
        elif by_name[name].get("has_default") and name not in computed:
            context.report(
                file, item, "schema-required", f"{name} has a default in main, and is not required; {DO}", warn=True
            )


def _unseen_default(
    context: Context, file: str, arg: dict[str, Any], field: Item | None, place: Any, is_required: bool
) -> None:
    """Windmill sees no default in a name or an expression: where no value is given, `main` gets None in its place."""
    default = field.get("default") if field is not None else None
    if arg.get("has_default") or is_required or field is None or (default is not None and default.value is not None):
        return
    message = (
        f"the default of {arg['name']} is not a constant in main, so Windmill does not see it and None arrives where"
        " nothing is given; write the value itself, or give it here as the default"
    )
    context.report(file, place, "schema-required", message, warn=True)


def computed_defaults(source: str) -> frozenset[str]:
    """The arguments of a Python `main` whose default is not a constant, and none of an enum in the same file."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError):
        return frozenset()
    main = next((node for node in body if isinstance(node, FUNCTIONS) and node.name == "main"), None)
    if main is None:
        return frozenset()
    classes = {node.name for node in body if isinstance(node, ast.ClassDef)}
    positional = [*main.args.posonlyargs, *main.args.args]
    defaults = zip(reversed(positional), reversed(main.args.defaults), strict=False)
    return frozenset(argument.arg for argument, default in defaults if not _is_constant(default, classes))


FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def _is_constant(node: ast.expr, classes: set[str]) -> bool:
    match node:
        case ast.Constant():
            return True
        case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
            return all(_is_constant(item, classes) for item in items)
        case ast.Dict(keys=keys, values=values):
            return all(item is not None and _is_constant(item, classes) for item in (*keys, *values))
        case ast.Attribute(value=ast.Name(id=name)):
            return name in classes
    return False


WORDS = ("string", "number", "integer", "boolean", "array", "object", "null", "resource", "any", "")


def check_form(context: Context, file: str, schema: Item | None) -> None:
    """A form that no `main` stands behind: a flow's, an approval's, a resource type's."""
    properties = schema.get("properties") if schema is not None else None
    if schema is None or properties is None or properties.value is None:
        return
    if not isinstance(properties.value, dict):
        message = f"properties is {kind_of(properties.value)}, and must be a mapping of the form's fields"
        context.report(file, properties, "wrong-type", message)
        return
    fields = properties.value
    for item in schema.list("required"):
        if isinstance(item.value, str) and item.value not in fields:
            message = f"required names no property: {item.value}" + suggest(item.value, fields)
            context.report(file, item, "schema-required", message)
    _order(context, file, schema, fields)
    for name, field in fields.items():
        kind, default = field.get("type"), field.get("default")
        if not isinstance(field.value, dict):
            context.report(file, field, "wrong-type", f"{name} is {kind_of(field.value)}, and must be a mapping")
        elif kind is not None and isinstance(kind.value, str) and kind.value not in WORDS:
            message = f"the type of {name} is {kind.value!r}, and must be one of {', '.join(filter(None, WORDS))}"
            context.report(file, kind, "wrong-value", message + suggest(kind.value, WORDS))
        elif default is not None:
            check_value(context, file, default, field, f"the default of {name}")


def _order(context: Context, file: str, schema: Item, fields: dict[str, Item]) -> None:
    for item in schema.list("order"):
        if isinstance(item.value, str) and item.value not in fields:
            context.report(
                file,
                item,
                "schema-order",
                f"order names no property: {item.value}" + suggest(item.value, fields),
                warn=True,
            )


def _differs(here: Any, main: Any) -> bool:
    if isinstance(here, bool) != isinstance(main, bool):
        return True
    return bool(here != main)


def _show(value: Any) -> str:
    return "none" if value is None else repr(value)


def report_unparsable(context: Context, script: Script) -> None:
    line, why = 1, "Windmill's parser"
    if script.language == "python3":
        try:
            tree = ast.parse(context.files.text(script.file) or "")
        except (SyntaxError, ValueError) as error:
            line, why = getattr(error, "lineno", None) or 1, f"Python ({getattr(error, 'msg', error)})"
        else:
            mains = [node for node in tree.body if isinstance(node, FUNCTIONS)]
            line = next((node.lineno for node in mains if node.name == "main"), 1)
    context.report(
        script.file, (line, 1), "unparsable", f"{why} cannot read it, so it gets no form; correct the syntax"
    )
