"""A flow's form beside the request models that check it, and what a person sees of it.

By the rules of Windmill's SchemaForm a field whose `showExpr` is false is hidden, and its value is taken out.
Source: handleHiddenFields in frontend/src/lib/components/SchemaForm.svelte.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import quickjs
import yaml
from pydantic import BaseModel

from f.flexcore.lib import runtimes
from f.flexcore.lib.core import resources
from flexcore.rules import sections
from wmlocal.lint.positions import read

ROOT = Path(__file__).parents[1]
FLOWS = sorted(path.parent for path in (ROOT / "f/flexcore").glob("**/*__flow/flow.yaml"))
FORMS = {path.name.removesuffix("__flow"): path for path in FLOWS if path.name != "execute__flow"}
MAX_AT_FIRST_SIGHT = 10
Schema = dict[str, Any]


def schema_of(form: str) -> Schema:
    schema: Schema = yaml.safe_load((FORMS[form] / "flow.yaml").read_text())["schema"]
    return schema


def shown(schema: Schema, values: dict[str, Any]) -> dict[str, Any]:
    """The values that the form sends, once it was opened with `values`: what is hidden is taken out, what is shown and
    empty gets its default."""
    kept = dict(values)
    for name in schema["order"]:
        field = schema["properties"][name]
        if "showExpr" in field and not holds(field["showExpr"], kept):
            kept.pop(name, None)
            continue
        if field.get("properties"):
            kept[name] = shown(field, kept.get(name) or {})
        elif kept.get(name) is None and field.get("default") is not None:
            kept[name] = field["default"]
    return kept


def holds(condition: str, fields: dict[str, Any]) -> bool:
    return bool(quickjs.Context().eval(f"const fields = {json.dumps(fields)}; Boolean({condition})"))


def visible(schema: Schema, values: dict[str, Any], path: str = "") -> Iterator[str]:
    """The fields that a person sees and can fill in; a section counts by its fields."""
    for name in schema["order"]:
        field = schema["properties"][name]
        if "showExpr" in field and not holds(field["showExpr"], values):
            continue
        if field.get("properties"):
            yield from visible(field, values.get(name) or {}, f"{path}{name}.")
        else:
            yield path + name


def with_more(schema: Schema) -> dict[str, Any]:
    """The values of a form whose switches `more` are all on."""
    fields = schema["properties"]
    inner = {name: with_more(field) for name, field in fields.items() if field.get("properties")}
    return {**({"more": True} if "more" in fields else {}), **{name: value for name, value in inner.items() if value}}


@pytest.mark.parametrize("form", FORMS)
def test_a_form_shows_at_most_ten_fields_at_first_sight(form: str) -> None:
    schema = schema_of(form)
    seen = list(visible(schema, shown(schema, {})))
    assert len(seen) <= MAX_AT_FIRST_SIGHT, seen


@pytest.mark.parametrize("form", FORMS)
def test_every_required_field_is_seen_at_first_sight(form: str) -> None:
    schema = schema_of(form)
    seen = set(visible(schema, shown(schema, {})))
    assert required(schema) <= seen


def required(schema: Schema, path: str = "") -> set[str]:
    """Required fields that no condition hides."""
    found: set[str] = set()
    for name, field in schema["properties"].items():
        if "fields.shown" in field.get("showExpr", ""):
            continue
        if field.get("properties"):
            found |= required(field, f"{path}{name}.")
        elif name in schema.get("required", ()):
            found.add(path + name)
    return found


@pytest.mark.parametrize("form", FORMS)
def test_more_shows_every_field_that_no_other_choice_hides(form: str) -> None:
    schema = schema_of(form)
    seen = set(visible(schema, shown(schema, with_more(schema))))
    for path, field in leaves(schema):
        if field.get("showExpr", "").startswith("fields.more ||"):
            assert path in seen or path.startswith(("ray.", "kubernetes.")), path


def leaves(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    for name, field in schema["properties"].items():
        if field.get("properties"):
            yield from leaves(field, f"{path}{name}.")
        else:
            yield path + name, field


OTHER = {"string": "other", "integer": 77, "number": 7.5, "array": ["other"], "object": "$res:f/a/other"}


@pytest.mark.parametrize("form", FORMS)
def test_a_value_that_came_with_the_form_is_neither_hidden_nor_lost(form: str) -> None:
    """Run again, and resume, open the form with the values of an earlier run, whose switch `more` was off."""
    for section, schema in [("", schema_of(form)), *inner_sections(schema_of(form))]:
        for name, field in schema["properties"].items():
            if not field.get("showExpr", "").startswith(("fields.more ||", "fields.partial_results")):
                continue
            value = not field.get("default") if field["type"] == "boolean" else OTHER[field["type"]]
            if field.get("enum"):
                value = next(item for item in field["enum"] if item != field.get("default"))
            if field.get("properties"):
                value = {next(iter(field["properties"])): "other"}
            kept = shown(schema, {name: value})
            assert name in kept, f"{section}{name} is lost"


def inner_sections(schema: Schema) -> Iterator[tuple[str, Schema]]:
    for name, field in schema["properties"].items():
        if field.get("properties") and field.get("order"):
            yield f"{name}.", field


# Against the request models


DATA, HYBRID = ROOT / sections.DATA, ROOT / sections.HYBRID
SECTIONS = sections.list_sections()


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: f"{Path(section.file).parent} {section.name}")
def test_a_section_of_a_form_is_that_of_its_request_model(section: sections.Section) -> None:
    flow = read((ROOT / section.file).read_text())
    assert [*sections.compare_section(section, flow)] == []


def test_every_section_with_fields_of_its_own_is_compared() -> None:
    compared = {(section.file, section.path) for section in SECTIONS}
    for flow in (DATA, HYBRID):
        schema = yaml.safe_load(flow.read_text())["schema"]
        file = flow.relative_to(ROOT).as_posix()
        own = {name for name, field in schema["properties"].items() if field.get("order")}
        assert {(file, (name,)) for name in own} <= compared


STEPS = [
    *(
        (DATA, each.name, each.name, "select", sections.request_models(each.name, each.pipeline_operations))
        for each in runtimes.RUNTIMES.values()
    ),
    (HYBRID, "extract", "extraction", "prepare", sections.request_models("meltano", ["run"])),
    (HYBRID, "train", "ml", "prepare", sections.request_models("ray", ["train"])),
    (HYBRID, "deploy_ray", "deployment", "prepare", sections.request_models("ray", ["deploy_model"])),
    (HYBRID, "deploy_kubernetes", "deployment", "prepare", sections.request_models("kubernetes", ["deploy_model"])),
]


@pytest.mark.parametrize(
    ("flow", "step", "section", "first", "models"), STEPS, ids=lambda item: item if isinstance(item, str) else ""
)
def test_a_step_gets_every_field_checked_and_what_may_be_secret_from_the_form_itself(
    flow: Path, step: str, section: str, first: str, models: list[type[BaseModel]]
) -> None:
    value = yaml.safe_load(flow.read_text())["value"]
    given = {name: item.get("expr", "") for name, item in find_step(value, step)["input_transforms"].items()}
    marked = {name for model in models for name in resources.marked_fields(model)}
    for name in {name for model in models for name in model.model_fields} - sections.FORECAST:
        if name in sections.HANDED_ON and flow == HYBRID:
            assert given[name].startswith("results."), name
        else:
            source = f"flow_input.{section}" if name in marked else f"results.{first}.{section}"
            assert given[name] == f"{source}.{name}"


def find_step(value: Any, step: str) -> Schema:
    """The value of the module with that id, anywhere in a flow."""
    if isinstance(value, dict) and value.get("id") == step:
        return dict(value["value"])
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        if found := find_step(item, step):
            return found
    return {}
