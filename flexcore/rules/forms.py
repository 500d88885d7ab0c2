"""Forms against the request models of the operations that they ask for.

A step whose `main` hands its arguments to an operation (`train_job.TRAIN.run(locals())`) has that operation's fields,
by name and in the model's order, with its defaults, bounds, choices and descriptions. A field of a flow that is handed
to such steps as it is (`flow_input.ray.epochs`) has the same default, bounds and description, where the steps agree on
them, and no choice that the request refuses. The resource of the operation, settings and the deferral belong to the
step, not to the request. A step may require what the request leaves open, because an earlier stage hands it on.
The sections of our own flows, written by hand, are compared with all requests that they become (`sections`).
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from flexcore.rules import sections
from flexcore.rules.fields import (
    KINDS,
    Difference,
    Field,
    compare_field,
    counts,
    difference,
    is_same,
    list_fields,
    show_choices,
)
from flexcore.rules.registry import REGISTRY, Source, Sources, check_registry
from wmlocal.lint.files import Files
from wmlocal.lint.finding import Finding
from wmlocal.lint.positions import Item, NotYaml, read
from wmlocal.lint.steps import steps

RULE = "form"
# Arguments of a step that are no part of its request.
CONTEXT = ("settings", "deferred")
# Reads the models of another bundle: this command's own modules are imported first, then that bundle's alone.
COMPARE_ELSEWHERE = """\
import json, sys
from dataclasses import asdict
from pathlib import Path
from flexcore.rules import forms
root = sys.argv[1]
sys.path[:] = [root, *(path for path in sys.path if not (Path(path) / forms.REGISTRY).is_file())]
print(json.dumps([asdict(item) for item in forms.find_differences(Path(root))]))
"""
IMPORT_TIMEOUT_S = 120


def check_forms(root: Path) -> Iterator[Finding]:
    """Imports the request models of the bundle at `root`, in a process of its own unless they are those installed here.

    Nothing where the bundle has no registry, or one whose models cannot be imported because of what the rule `registry`
    reports."""
    if not (root / REGISTRY).is_file():
        return
    try:
        differences = list(find_differences(root)) if _is_own(root) else _find_elsewhere(root)
    except Exception as error:  # Modules are imported: they may raise anything.
        if not any(check_registry(root)):
            reason = str(error) if isinstance(error, CannotImport) else f"{type(error).__name__}: {error}"
            message = f"the request models cannot be imported ({reason}); correct that, so that forms can be compared"
            yield Finding(REGISTRY, 1, 1, RULE, message)
        return
    for item in differences:
        yield Finding(item.file, item.line, item.column, RULE, item.message)


class CannotImport(Exception):
    """The process that was to import the models of another bundle did not end well; its message is the reason."""


def _find_elsewhere(root: Path) -> list[Difference]:
    command = [sys.executable, "-B", "-P", "-c", COMPARE_ELSEWHERE, str(root.resolve())]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=IMPORT_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise CannotImport(f"not done within {IMPORT_TIMEOUT_S} s") from None
    if done.returncode:
        raise CannotImport((done.stderr.strip().splitlines() or ["no reason given"])[-1])
    return [Difference(**item) for item in json.loads(done.stdout.splitlines()[-1])]


def find_differences(root: Path) -> Iterator[Difference]:
    """Each difference once, though a section and a step that gets the field as it is may both show it."""
    found: dict[tuple[str, str, str], Difference] = {}
    for item in _compare_all(root):
        found.setdefault((item.file, item.field, item.kind), item)
    yield from found.values()


def _compare_all(root: Path) -> Iterator[Difference]:
    files, sources = Files.below(root), Sources(root)
    requests = _requests_of_steps(files, sources)
    for path, fields in requests.items():
        form = _read(files, f"{path}.script.yaml")
        if form is not None:
            yield from compare_step(f"{path}.script.yaml", form, fields)
    for section in sections.list_sections() if {sections.DATA, sections.HYBRID} <= files.set else ():
        flow = _read(files, section.file)
        if flow is not None:
            yield from sections.compare_section(section, flow)
    for file in files.flows.values():
        flow = _read(files, file)
        if flow is not None:
            yield from _compare_flow(file, flow, requests)


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
            yield difference(file, schema.get("properties") or schema, field.name, "missing", message)
            continue
        is_handed_on = field.name in required and field.default is None
        if (field.name in required) is not field.required and not is_handed_on:
            in_request = "required" if field.required else "optional"
            message = f"{field.name} is {in_request} in the request, and not in the form; make them the same"
            yield difference(file, prop, field.name, "required", message)
        yield from compare_field(file, field.name, prop, field, [kind for kind in KINDS if counts(kind, field)])
    names = [field.name for field in fields]
    for name, prop in properties.items():
        if name not in names and name not in CONTEXT and not _is_resource(prop):
            message = f"the form has the field {name}, and the request does not; take it out, or add it to the model"
            yield difference(file, prop, name, "extra", message)
    order = [item.value for item in schema.list("order") if item.value in names]
    wanted = [name for name in names if name in properties]
    if order != wanted and (place := schema.get("order")):
        message = f"the form's order is {', '.join(map(str, order))}, and the request's {', '.join(wanted)}"
        message += "; run flexcore metadata once `main` has the request's"
        yield difference(file, place, "order", "order", message)


def _is_resource(prop: Item) -> bool:
    return (prop.text("format") or "").startswith("resource-c_")


# A flow's form, where it hands a field on as it is


def _compare_flow(file: str, flow: Item, requests: dict[str, list[Field]]) -> Iterator[Difference]:
    for path, fields in _fields_handed_on(flow, requests).items():
        prop = _property(flow, path)
        if prop is None:
            continue
        yield from compare_field(file, path, prop, fields[0], _agreed_kinds(fields))
        accepted = {str(choice) for field in fields for choice in field.choices}
        refused = [choice for choice in show_choices(prop.plain()) if accepted and str(choice) not in accepted]
        if refused and all(field.choices for field in fields):
            message = f"{path} offers {', '.join(map(str, refused))}, which the request refuses; take them out"
            yield difference(file, prop.get("enum") or prop, path, "choices", message)


def _agreed_kinds(fields: list[Field]) -> list[str]:
    """What all steps that get the field say of it in the same words."""

    def agree(kind: str) -> bool:
        first = getattr(fields[0], kind)
        return all(counts(kind, field) and is_same(kind, getattr(field, kind), first) for field in fields)

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
    """By the path of the step."""
    operations = {(address.file, address.name): name for name, _, address in sources.operations()}
    found = {}
    for script in files.scripts.values():
        source = sources.read(script.file) if script.language == "python3" else None
        for file, name in _operations_run(source) if source else ():
            if (file, name) in operations and (model := _request_model(file, name)):
                found[script.path] = list_fields(model)
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
    """Raises whatever the import of the module raises."""
    from importlib import import_module

    operation = getattr(import_module(file.removesuffix(".py").replace("/", ".")), name)
    model = getattr(operation, "request", None)
    return model if isinstance(model, type) and issubclass(model, BaseModel) else None


def _is_own(root: Path) -> bool:
    """Whether the modules that an import finds are those of this bundle."""
    from importlib.util import find_spec

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
