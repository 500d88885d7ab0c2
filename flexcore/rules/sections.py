"""Sections of the flows' own forms, against the requests that each becomes: `list_sections`, `compare_section`.

A step's form is generated from its `main`; a flow's form is written by hand, and groups the fields of several
operations. It shows a request in Windmill's words: null or "" for what is empty, `enum` for a choice, yes and no for a
boolean that may stay open. What only concerns its looks (title, format, showExpr, the fields of an object) is its own.
The models are those of the bundle on `sys.path`, and are imported only here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from flexcore.rules.fields import (
    KINDS,
    Difference,
    Field,
    describe_difference,
    difference,
    list_fields,
    normalize_text,
    show_choices,
)
from wmlocal.lint.positions import Item

DATA, HYBRID = (f"f/flexcore/{name}__flow/flow.yaml" for name in ("data_pipeline", "hybrid_pipeline"))
# The switch of a section that shows its further fields, and the choice among its operations.
OWN_FIELDS = frozenset({"more", "operation"})
# What an earlier stage hands on, and what the forecast says.
HANDED_ON, FORECAST = frozenset({"source", "model"}), frozenset({"expected_s"})
# The operations among which the flow `execute` of a runtime chooses.
EXECUTE_OPERATIONS = {
    "meltano": ("run",),
    "ray": ("program", "train", "deploy_model"),
    "kubernetes": ("job", "deploy_model"),
}


@dataclass(frozen=True, slots=True)
class Section:
    """models: the requests that it may become; omitted: what the flow itself fills in; extra: fields of the section
    that stand for others. has_own_words: a form of all operations of a runtime, which groups their fields, and says of
    one that several have what it means to each."""

    file: str
    path: tuple[str, ...]
    models: Sequence[type[BaseModel]]
    omitted: frozenset[str] = frozenset()
    extra: frozenset[str] = frozenset()
    has_own_words: bool = False

    @property
    def name(self) -> str:
        return ".".join(self.path) or "form"

    def qualify(self, field: str) -> str:
        """The field's path in the flow's form."""
        return ".".join((*self.path, field))


def list_sections() -> list[Section]:
    """Raises whatever the import of a registry raises that is not whole, which its own rule reports."""
    from f.flexcore.lib import runtimes
    from f.flexcore.lib.core import forms
    from f.flexcore.lib.pipeline.hybrid_request import ComputeResources

    registry = runtimes.RUNTIMES
    compute = frozenset(ComputeResources().fields())
    sections = [
        Section(DATA, (), [forms.DataPipelineForm], extra=frozenset([*registry, "shown", "notify"])),
        Section(DATA, ("data",), [forms.DataSource]),
        Section(DATA, ("workload",), [forms.DeclaredWork]),
        *(
            Section(
                DATA,
                (each.name,),
                request_models(each.name, each.pipeline_operations),
                FORECAST,
                frozenset({each.service_field}),
            )
            for each in registry.values()
        ),
        Section(HYBRID, ("extraction",), stage_models("extraction"), HANDED_ON, frozenset({"project"})),
        Section(HYBRID, ("ml",), stage_models("ml"), HANDED_ON, frozenset({"cluster"})),
        Section(
            HYBRID,
            ("deployment",),
            stage_models("deployment"),
            HANDED_ON | compute,
            frozenset({"target", "cluster", "resources"}),
        ),
        Section(HYBRID, ("deployment", "resources"), [ComputeResources]),
    ]
    return sections + [
        Section(
            f"f/flexcore/{name}/execute__flow/flow.yaml",
            (),
            request_models(name, operations),
            omitted=FORECAST,
            extra=FORECAST | {registry[name].service_field, "settings"},
            has_own_words=True,
        )
        for name, operations in EXECUTE_OPERATIONS.items()
        if name in registry
    ]


def request_models(runtime: str, operations: Sequence[str]) -> list[type[BaseModel]]:
    from f.flexcore.lib import runtimes

    return [runtimes.RUNTIMES[runtime].operation(name).request for name in operations]


def stage_models(stage: Any) -> list[type[BaseModel]]:
    """Of every runtime that the stage of hybrid_pipeline may run on."""
    from f.flexcore.lib import runtimes

    name, operation = runtimes.STAGES[stage]
    names = [name] if name else [each.name for each in runtimes.RUNTIMES.values() if operation in each.operations]
    return [model for each in names for model in request_models(each, [operation])]


def compare_section(section: Section, flow: Item) -> Iterator[Difference]:
    parts = [part for name in section.path for part in ("properties", name)]
    schema = flow.get("schema", *parts)
    if schema is None:
        place = flow.get("schema", "properties") or flow
        message = f"the form has no section {section.name}; add it with the fields of its request"
        yield difference(section.file, place, section.name, "missing", message)
    elif schema.get("properties"):
        models = [list_fields(model, of_flow=True) for model in section.models]
        yield from _compare_names(section, schema, models)
        yield from _compare_fields(section, schema, models)
        yield from _compare_order(section, schema, models)


def _compare_names(section: Section, schema: Item, models: list[list[Field]]) -> Iterator[Difference]:
    properties = schema.map("properties")
    fields = {field.name for model in models for field in model} - section.omitted
    own = section.extra | OWN_FIELDS
    for name in sorted(fields - properties.keys() - OWN_FIELDS):
        path = section.qualify(name)
        message = f"the request has the field {path}, and the form does not; add it to the form and to its order"
        yield difference(section.file, schema.get("properties") or schema, path, "missing", message)
    for name in sorted(properties.keys() - fields - own):
        path = section.qualify(name)
        message = f"the form has the field {path}, and the request does not; take it out, or add it to the model"
        yield difference(section.file, properties[name], path, "extra", message)


def _compare_fields(section: Section, schema: Item, models: list[list[Field]]) -> Iterator[Difference]:
    for name, prop in schema.map("properties").items():
        candidates = [field for model in models for field in model if field.name == name]
        if candidates and name not in OWN_FIELDS | section.omitted:
            yield from _compare_field(section, prop, candidates)


def _compare_field(section: Section, prop: Item, candidates: list[Field]) -> Iterator[Difference]:
    """What differs from every model that has the field."""
    form, path = prop.plain(), section.qualify(candidates[0].name)
    for kind in KINDS:
        if kind in ("minimum", "maximum") and form.get("type") == "string":
            # An amount with its unit, such as 10GB.
            continue
        if kind == "description" and section.has_own_words and len(candidates) > 1:
            continue
        if kind == "choices" and not any(each.choices for each in candidates):
            # Values that the form suggests where the request takes more.
            continue
        actual, expected = _in_form(kind, form), [_normalize(kind, getattr(each, kind)) for each in candidates]
        if kind == "description":
            # A section that chooses among operations may say what the field is for each.
            expected.append(" ".join(dict.fromkeys(expected)))
        if actual not in expected:
            message = describe_difference(kind, path, _sort(actual), _sort(expected[0]))
            yield difference(section.file, prop.get("enum" if kind == "choices" else kind) or prop, path, kind, message)


def _compare_order(section: Section, schema: Item, models: list[list[Field]]) -> Iterator[Difference]:
    if section.has_own_words:
        return
    order = [item.value for item in schema.list("order")]
    for fields in models:
        names = [field.name for field in fields if field.name in schema.map("properties")]
        names = [name for name in names if name not in section.extra | OWN_FIELDS | section.omitted]
        actual = [name for name in order if name in names]
        if actual != names:
            message = (
                f"the form's order is {', '.join(actual)}, and the request's {', '.join(names)}; use the request's"
            )
            yield difference(section.file, schema.get("order") or schema, section.qualify("order"), "order", message)


def _in_form(kind: str, form: dict[str, Any]) -> Any:
    return _normalize(kind, show_choices(form) if kind == "choices" else form.get(kind))


def _normalize(kind: str, value: Any) -> Any:
    """Empty is empty, however it is written, and no for a switch."""
    if kind == "choices":
        return frozenset(map(str, value)) - {""}
    if kind == "description":
        return normalize_text(value)
    return None if value in ("", [], {}) or value is False else value


def _sort(value: Any) -> Any:
    """A set of choices as a message lists them."""
    return tuple(sorted(value)) if isinstance(value, frozenset) else value
