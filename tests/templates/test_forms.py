"""Every template's form, schedule and sample input, as files."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from f.flexcore.lib.api.request_arguments import check_arguments
from tests.templates.conftest import FOLDER, ROOT, sample, schema_of

TEMPLATES = sorted(path.name.removesuffix("__flow") for path in (ROOT / FOLDER).glob("*__flow"))
# What Windmill's form shows as something else than a JSON editor. Source: setInputCat in its frontend/src/lib/utils.ts.
PLAIN = ("string", "number", "integer", "boolean")


def needs_json(field: dict[str, Any]) -> bool:
    if field["type"] == "array":
        items = field["items"]
        # Each item is a form of its own where its fields are known (ArgInput.svelte of the same source).
        known = items["type"] == "object" and items.get("properties")
        return any(map(needs_json, known.values())) if known else items["type"] not in PLAIN
    if field["type"] == "object":
        form = field.get("format", "")
        shown = form == "resource" or form.startswith(("resource-", "dynselect-", "dynmultiselect-"))
        return not shown and not field.get("properties")
    return field["type"] not in PLAIN


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_form_needs_no_json(template: str) -> None:
    assert [name for name, field in schema_of(template)["properties"].items() if needs_json(field)] == []


@pytest.mark.parametrize("template", TEMPLATES)
def test_each_dynamic_select_has_a_function_over_fields_of_the_form(template: str) -> None:
    schema = schema_of(template)
    code = schema["x-windmill-dyn-select-code"]
    assert schema["x-windmill-dyn-select-lang"] == "python3"
    assert re.match(r"# requirements: flexcore_\w+\n# py: ==3\.11\.\*\n", code)
    functions = {node.name: node for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)}
    formats = {field.get("format", "") for field in schema["properties"].values()}
    assert {text.split("-", 1)[1] for text in formats if text.startswith("dyn")} == set(functions)
    for function in functions.values():
        assert {argument.arg for argument in function.args.args} <= {"filterText", *schema["properties"]}


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_field_is_shown_on_a_condition_over_fields_of_the_form_and_their_values(template: str) -> None:
    fields = schema_of(template)["properties"]
    for field in fields.values():
        condition = field.get("showExpr", "")
        for name, default, compared in re.findall(r"fields\.(\w+)(?: \?\? '?(\w*)'?\))?(?: !?==? '(\w*)')?", condition):
            assert name in fields, condition
            values = [value for value in (default, compared) if value]
            allowed = fields[name].get("enum") or [str(fields[name].get("default"))]
            assert all(value in allowed for value in values), condition


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_schedule_is_shipped_that_is_off_and_does_not_overlap(template: str) -> None:
    schedule = yaml.safe_load((ROOT / f"{FOLDER}/{template}.schedule.yaml").read_text())
    assert schedule["enabled"] is False and schedule["no_flow_overlap"] is True and schedule["is_flow"] is True
    assert schedule["script_path"] == f"{FOLDER}/{template}"
    check_arguments(schedule["args"], schema_of(template))
    named = re.findall(r"\$res:(f/flexcore/\w+)", str(schedule["args"]))
    assert named and all(name in schedule["description"] for name in named)


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_sample_input_fills_in_the_form(template: str) -> None:
    check_arguments(sample(template), schema_of(template))


def test_no_sample_is_left_over() -> None:
    assert {path.stem for path in Path(ROOT / "resources/samples").iterdir()} == set(TEMPLATES)
