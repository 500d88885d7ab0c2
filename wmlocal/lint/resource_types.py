"""Resources and the types that they, schemas and signatures name."""

from __future__ import annotations

import ast

from wmlocal.lint.code import Code
from wmlocal.lint.context import Context
from wmlocal.lint.files import Yaml
from wmlocal.lint.positions import Item
from wmlocal.lint.secret_values import ENCRYPTED, looks_secret, plain_secret
from wmlocal.suggest import suggest

# By custom a workspace's own types begin so; other names may be types of Windmill's hub.
OWN = "c_"
FORMAT = "resource-"


def check_resources(context: Context, code: Code) -> None:
    types = {entry.path: document for entry, document in context.entries("resource-type")}
    for entry, document in context.entries("script", "flow"):
        schema = document.get("schema")
        for item in schema.walk() if schema is not None else ():
            name = item.text("format") or ""
            if name.startswith(FORMAT):
                _type(context, entry.file, item.get("format") or item, name.removeprefix(FORMAT), set(types))
            if item.text("type") == "resource" and (inner := item.get("resourceType")) and isinstance(inner.value, str):
                _type(context, entry.file, inner, inner.value, set(types))
    for entry, document in context.entries("resource"):
        kind = document.get("resource_type")
        if kind is not None and isinstance(kind.value, str):
            _type(context, entry.file, kind, kind.value, set(types))
            _values(context, entry, document, types.get(kind.value))
    for entry, document in context.entries("variable"):
        secret, value = document.get("is_secret"), document.get("value")
        if value is None and secret is not None and secret.value is False:
            context.report(entry.file, document, "missing-key", "variable lacks value; add it")
        if secret is not None and secret.value is True and value is not None and _is_plain(value):
            context.report(
                entry.file,
                (value.key_line, value.key_column),
                "plain-secret",
                "this secret stands in clear text; take it out of the file and set it in the workspace",
                warn=True,
            )
    _annotations(context, code, set(types))


def _type(context: Context, file: str, place: Item | tuple[int, int], name: str, types: set[str]) -> None:
    if not name.startswith(OWN) or name in types or f"{name}.resource-type.yaml" in context.files.set:
        return
    elsewhere = context.files.options.get("skipResourceTypes") is True
    context.report(
        file,
        place,
        "unknown-resource-type",
        f"there is no {name}.resource-type.yaml in the root" + suggest(name, types),
        warn=elsewhere,
    )


def _annotations(context: Context, code: Code, types: set[str]) -> None:
    for script in context.files.scripts.values():
        signature = code.signatures.get(script.file)
        kinds = {
            str(kind.get("resource"))
            for arg in (signature.args or () if signature else ())
            if isinstance(kind := arg.get("typ"), dict) and "resource" in kind
        }
        wanted = {kind for kind in kinds if kind.startswith(OWN) and kind not in types}
        if script.language != "python3" or not wanted:
            continue
        tree = ast.parse(context.files.text(script.file) or "")
        main = next(
            (
                node
                for node in tree.body
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == "main"
            ),
            None,
        )
        for node in ast.walk(main.args) if main else ():
            if isinstance(node, ast.Name) and node.id in wanted:
                _type(context, script.file, (node.lineno, node.col_offset + 1), node.id, types)


def _values(context: Context, entry: Yaml, document: Item, kind: Item | None) -> None:
    value = document.get("value")
    if value is None or not isinstance(value.value, dict):
        return
    properties = kind.map("schema", "properties") if kind is not None else {}
    for key, item in value.value.items():
        if properties and key not in properties:
            context.report(
                entry.file,
                (item.key_line, item.key_column),
                "unknown-field",
                f"the type {document.text('resource_type')} has no field {key}" + suggest(key, properties),
                warn=True,
            )
        secret = properties[key].get("password") if key in properties else None
        marked = secret is not None and secret.value is True
        if _is_plain(item) and (marked or looks_secret(key, item.value)):
            place = (item.key_line, item.key_column)
            plain_secret(context, entry.file, place, key, "keep it in a secret variable and write $var:PATH")


def _is_plain(item: Item) -> bool:
    value = item.value
    if (
        not isinstance(value, str)
        or not value.strip()
        or value.startswith(("$var:", "$res:", "$encrypted:", "!inline"))
    ):
        return False
    return not ENCRYPTED.match(value)
