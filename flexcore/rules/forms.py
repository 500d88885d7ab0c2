"""Forms against the request models of the operations that they ask for.

A step whose `main` hands its arguments to an operation (`train_job.TRAIN.run(locals())`) has that operation's fields,
by name and in the model's order, with its defaults, bounds, choices and descriptions. A field of a flow that is handed
to such steps as it is (`flow_input.ray.epochs`) has the same default, bounds and description, where the steps agree on
them, and no choice that the request refuses. The resource of the operation, settings and the deferral belong to the
step, not to the request. A step may require what the request leaves open, because an earlier stage hands it on.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from flexcore.rules.registry import REGISTRY, Source, Sources
from wmlocal.lint.files import Files
from wmlocal.lint.finding import Finding
from wmlocal.lint.positions import Item, NotYaml, read
from wmlocal.lint.steps import steps

RULE = "form"
# Arguments of a step that are no part of its request.
CONTEXT = ("settings", "deferred")
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


def check_forms(root: Path) -> Iterator[Finding]:
    """Nothing where the models are not those of this bundle: they are imported, so it must be the one that is installed
    beside this command."""
    if not _is_own(root):
        return
    for item in find_differences(root):
        yield Finding(item.file, item.line, item.column, RULE, item.message)


def find_differences(root: Path) -> Iterator[Difference]:
    files, sources = Files.below(root), Sources(root)
    requests = _requests_of_steps(files, sources)
    for path, fields in requests.items():
        form = _read(files, f"{path}.script.yaml")
        if form is not None:
            yield from compare_step(f"{path}.script.yaml", form, fields)
    for file in files.flows.values():
        flow = _read(files, file)
        if flow is not None:
            yield from _compare_flow(file, flow, requests)


# The fields of a request


def fields_of(model: type[BaseModel]) -> list[Field]:
    """In the order of the model."""
    schema = model.model_json_schema()
    found = []
    for name, info in model.model_fields.items():
        if name in FLOW_FIELDS:
            continue
        prop = _resolve(schema["properties"].get(info.alias or name, {}), schema.get("$defs", {}))
        default = None if info.is_required() else info.get_default(call_default_factory=True, validated_data={})
        bounds = {key: prop.get(key, _inner_bound(prop, key)) for key in ("minimum", "maximum")}
        found.append(
            Field(
                info.alias or name,
                info.is_required(),
                _plain(default),
                info.description or "",
                bounds["minimum"],
                bounds["maximum"],
                tuple(value for value in prop.get("enum", ()) if value not in (None, FLOW_CHOICES.get(name))),
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


# A step's own form


def compare_step(file: str, form: Item, fields: list[Field]) -> Iterator[Difference]:
    schema = form.get("schema")
    properties = schema.map("properties") if schema else {}
    if schema is None or not properties:
        return
    required = {item.value for item in schema.list("required")}
    for field in fields:
        prop = properties.get(field.name)
        if prop is None:
            message = f"the request has the field {field.name}, and the form does not; add it to `main`"
            yield _difference(file, schema.get("properties") or schema, field.name, "missing", message)
            continue
        is_handed_on = field.name in required and field.default is None
        if (field.name in required) is not field.required and not is_handed_on:
            message = (
                f"{field.name} is {'required' if field.required else 'optional'} in the request, and not in the form"
            )
            yield _difference(file, prop, field.name, "required", message)
        yield from compare_field(file, field.name, prop, field, [kind for kind in KINDS if _counts(kind, field)])
    names = [field.name for field in fields]
    for name, prop in properties.items():
        if name not in names and name not in CONTEXT and not _is_resource(prop):
            message = f"the form has the field {name}, and the request does not; take it out, or add it to the model"
            yield _difference(file, prop, name, "extra", message)
    order = [item.value for item in schema.list("order") if item.value in names]
    wanted = [name for name in names if name in properties]
    if order != wanted and (place := schema.get("order")):
        message = f"the form's order is {', '.join(map(str, order))}, and the request's {', '.join(wanted)}"
        yield _difference(file, place, "order", "order", message)


def _is_resource(prop: Item) -> bool:
    return (prop.text("format") or "").startswith("resource-c_")


def compare_field(file: str, path: str, prop: Item, field: Field, kinds: Iterable[str]) -> Iterator[Difference]:
    for kind in kinds:
        in_form, in_request = _in_form(kind, prop), getattr(field, kind)
        if not _same(kind, in_form, in_request):
            message = f"the {kind} of {path} is {_show(in_form)} in the form, and {_show(in_request)} in the request"
            yield _difference(file, prop.get("enum" if kind == "choices" else kind) or prop, path, kind, message)


def _counts(kind: str, field: Field) -> bool:
    return kind != "default" or not field.required


def _in_form(kind: str, prop: Item) -> Any:
    shown = prop.plain()
    return _choices(shown) if kind == "choices" else shown.get(kind)


def _choices(shown: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(value for value in shown.get("enum") or () if value not in (None, ""))


def _same(kind: str, a: Any, b: Any) -> bool:
    if kind == "description":
        return " ".join((a or "").split()) == " ".join((b or "").split())
    if kind == "choices":
        return set(map(str, a)) == {str(value) for value in b if value != ""}
    return bool(a == b) or (kind == "default" and a in EMPTY and b in EMPTY)


def _show(value: Any) -> str:
    return "absent" if value in (None, "", ()) else repr(value)


def _difference(file: str, place: Item, field: str, kind: str, message: str) -> Difference:
    return Difference(file, field, kind, place.key_line, place.key_column, message)


# A flow's form, where it hands a field on as it is


def _compare_flow(file: str, flow: Item, requests: dict[str, list[Field]]) -> Iterator[Difference]:
    for path, fields in _fields_handed_on(flow, requests).items():
        prop = _property(flow, path)
        if prop is None:
            continue
        agreed = [
            kind
            for kind in KINDS
            if kind != "choices"
            and all(
                _counts(kind, field) and _same(kind, getattr(field, kind), getattr(fields[0], kind)) for field in fields
            )
        ]
        yield from compare_field(file, path, prop, fields[0], agreed)
        accepted = {str(choice) for field in fields for choice in field.choices}
        refused = [choice for choice in _choices(prop.plain()) if accepted and str(choice) not in accepted]
        if refused and all(field.choices for field in fields):
            message = f"{path} offers {', '.join(map(str, refused))}, which the request refuses"
            yield _difference(file, prop.get("enum") or prop, path, "choices", message)


def _agreed(fields: list[Field]) -> list[str]:
    """What all steps that get the field say alike of it."""

    def agree(kind: str) -> bool:
        first = getattr(fields[0], kind)
        return all(_counts(kind, field) and _same(kind, getattr(field, kind), first) for field in fields)

    return [kind for kind in KINDS if kind != "choices" and agree(kind)]


def _fields_handed_on(flow: Item, requests: dict[str, list[Field]]) -> dict[str, list[Field]]:
    """By the path of the flow's field, the fields of the requests that it becomes as it is."""
    handed: dict[str, list[Field]] = {}
    for step in steps(flow):
        fields = {field.name: field for field in requests.get(step.item.text("value", "path") or "", ())}
        for name, transform in step.item.map("value", "input_transforms").items():
            if name in fields and (path := _path_in_form(transform.text("expr") or "")):
                handed.setdefault(path, []).append(fields[name])
    return handed


def _path_in_form(expression: str) -> str:
    """`a.b` of `flow_input.a.b`; "" of anything else."""
    head, _, path = expression.strip().partition(".")
    is_path = head == "flow_input" and path and all(part.isidentifier() for part in path.split("."))
    return path if is_path else ""


def _property(flow: Item, path: str) -> Item | None:
    found = flow.get("schema")
    for part in path.split("."):
        found = found.get("properties", part) if found else None
    return found


# Which step asks for which operation


def _requests_of_steps(files: Files, sources: Sources) -> dict[str, list[Field]]:
    """By the path of the step. An operation that cannot be imported is told by the registry's own rule."""
    operations = {(address.file, address.name): name for name, _, address in sources.operations()}
    found = {}
    for script in files.scripts.values():
        source = sources.read(script.file) if script.language == "python3" else None
        for file, name in _operations_run(source) if source else ():
            if (file, name) in operations and (model := _request_model(file, name)):
                found[script.path] = fields_of(model)
    return found


def _operations_run(source: Source) -> Iterator[tuple[str, str]]:
    """(file, NAME) of each `module.NAME.run(locals())`."""
    for call in source.calls("run"):
        function = call.func
        if (
            isinstance(function, ast.Attribute)
            and isinstance(function.value, ast.Attribute)
            and isinstance(function.value.value, ast.Name)
            and function.value.value.id in source.modules
        ):
            yield source.modules[function.value.value.id], function.value.attr


def _request_model(file: str, name: str) -> type[BaseModel] | None:
    from importlib import import_module

    try:
        operation = getattr(import_module(file.removesuffix(".py").replace("/", ".")), name)
    except (ImportError, AttributeError):
        return None
    model = getattr(operation, "request", None)
    return model if isinstance(model, type) and issubclass(model, BaseModel) else None


def _is_own(root: Path) -> bool:
    """Whether the modules that an import finds are those of this bundle."""
    from importlib.util import find_spec

    if not (root / REGISTRY).is_file():
        return False
    try:
        spec = find_spec("f.flexcore.lib.runtimes")
    except ImportError:
        return False
    return bool(spec and spec.origin and Path(spec.origin).resolve() == (root / REGISTRY).resolve())


def _read(files: Files, file: str) -> Item | None:
    try:
        document = read(files.text(file) or "") if file in files.set else None
    except NotYaml:
        return None
    return document if document is not None and isinstance(document.value, dict) else None
