"""Forms say what the request models say."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from pydantic import BaseModel, Field

from flexcore.rules import forms
from flexcore.rules.fields import list_fields
from flexcore.rules.forms import check_forms, compare_step
from flexcore.rules.registry import Sources, check_registry
from tests.flexcore.rules.conftest import replace
from wmlocal.lint.files import Files
from wmlocal.lint.positions import read

ROOT = Path(__file__).parents[3]


def test_our_forms_say_what_their_requests_say() -> None:
    assert [str(finding) for finding in check_forms(ROOT)] == []


def test_every_operation_of_ours_has_a_step_whose_form_is_compared() -> None:
    if any(check_registry(ROOT)):
        pytest.skip("the registry is not whole; test_registry tells")
    compared = forms._requests_of_steps(Files.below(ROOT), Sources(ROOT))
    assert len(compared) >= len([*Sources(ROOT).operations()])


class Size(StrEnum):
    SMALL = "small"
    LARGE = "large"


class Request(BaseModel):
    program: str = Field(description="What is run.")
    retries: int = Field(default=3, ge=1, le=9, description="How often.")
    size: Size = Field(default=Size.SMALL, description="How large.")
    wait: Literal["block", "defer"] | None = Field(default=None, description="How.")
    names: tuple[str, ...] = Field(default=(), description="Which.")
    cpus: int | None = Field(default=None, gt=0, description="Processors.")
    more: bool = False


def form() -> dict[str, Any]:
    text: dict[str, Any] = {"type": "string"}
    return {
        "order": ["project", "program", "retries", "size", "wait", "names", "cpus", "settings"],
        "required": ["project", "program"],
        "properties": {
            "project": {"type": "object", "format": "resource-c_toy", "default": None, "description": "Where."},
            "program": text | {"default": None, "description": "What is\n run."},
            "retries": {"type": "integer", "default": 3, "minimum": 1, "maximum": 9, "description": "How often."},
            "size": text | {"default": "small", "enum": ["small", "large"], "description": "How large."},
            "wait": text | {"default": "", "enum": ["", "defer", "block"], "description": "How."},
            "names": {"type": "array", "default": None, "description": "Which."},
            "cpus": {"type": "integer", "default": None, "minimum": 1, "description": "Processors."},
            "settings": {"type": "object", "default": None, "description": "What is set."},
        },
    }


def differences(schema: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """(field, kind, the line it is told at, message)."""
    text = yaml.safe_dump({"schema": schema}, sort_keys=False)
    lines = text.splitlines()
    found = compare_step("f/x/run.script.yaml", read(text), list_fields(Request))
    return [(item.field, item.kind, lines[item.line - 1].strip(), item.message) for item in found]


def test_a_form_that_says_what_its_request_says_is_clean() -> None:
    assert differences(form()) == []


def field(name: str, **change: Any) -> Callable[[dict[str, Any]], None]:
    return lambda schema: schema["properties"][name].update(change)


def without(name: str) -> Callable[[dict[str, Any]], None]:
    def change(schema: dict[str, Any]) -> None:
        del schema["properties"][name]
        schema["order"].remove(name)

    return change


@pytest.mark.parametrize(
    ("change", "name", "kind", "line"),
    [
        (without("names"), "names", "missing", "properties:"),
        (lambda schema: schema["properties"].update(speed={"type": "integer"}), "speed", "extra", "speed:"),
        (field("retries", default=4), "retries", "default", "default: 4"),
        (field("retries", minimum=0), "retries", "minimum", "minimum: 0"),
        (field("retries", maximum=None), "retries", "maximum", "maximum: null"),
        (field("cpus", minimum=0), "cpus", "minimum", "minimum: 0"),
        (field("size", description="Its size."), "size", "description", "description: Its size."),
        (field("size", enum=["small"]), "size", "choices", "enum:"),
        (field("wait", enum=["", "auto"]), "wait", "choices", "enum:"),
        (lambda schema: schema["required"].remove("program"), "program", "required", "program:"),
        (lambda schema: schema["required"].append("size"), "size", "required", "size:"),
        (lambda schema: schema["order"].reverse(), "order", "order", "order:"),
    ],
)
def test_each_difference_is_told_at_its_line(
    change: Callable[[dict[str, Any]], None], name: str, kind: str, line: str
) -> None:
    schema = form()
    change(schema)
    assert [item[:3] for item in differences(schema)] == [(name, kind, line)]


FLOW = """
schema:
  properties:
    work:
      properties:
        retries: {type: integer, default: 3, minimum: 1, maximum: 9, description: How often.}
        size: {type: string, default: small, enum: [small, huge], description: How large.}
        names: {type: array, description: Which of them.}
value:
  modules:
    - id: a
      value:
        type: script
        path: f/x/run
        input_transforms:
          retries: {type: javascript, expr: flow_input.work.retries}
          size: {type: javascript, expr: flow_input.work.size}
          names: {type: javascript, expr: flow_input.work.names}
          wait: {type: javascript, expr: flow_input.work.retries > 1}
"""


def compared(text: str, *others: type[BaseModel]) -> list[tuple[str, str]]:
    requests = {"f/x/run": list_fields(Request)}
    for number, other in enumerate(others):
        requests[f"f/x/other{number}"] = list_fields(other)
    return [(item.field, item.kind) for item in forms._compare_flow("flow.yaml", read(text), requests)]


def test_a_field_that_a_flow_hands_on_says_what_the_request_says_and_may_offer_less() -> None:
    assert compared(FLOW) == [("work.size", "choices"), ("work.names", "description")]
    narrower = FLOW.replace("small, huge", "small").replace("Which of them", "Which")
    assert compared(narrower) == []
    assert compared(narrower.replace("default: 3", "default: 5")) == [("work.retries", "default")]


class Other(BaseModel):
    retries: int = Field(default=3, ge=1, le=9, description="How often it is tried again.")


def test_a_field_that_several_steps_get_follows_them_where_they_agree() -> None:
    step = """
    - id: b
      value:
        type: script
        path: f/x/other0
        input_transforms:
          retries: {type: javascript, expr: flow_input.work.retries}
"""
    both = FLOW.rstrip().replace("small, huge", "small").replace("Which of them", "Which") + step
    assert compared(both.replace("How often", "Either"), Other) == []
    assert compared(both.replace("minimum: 1", "minimum: 0"), Other) == [("work.retries", "minimum")]


def test_a_step_may_require_what_an_earlier_stage_hands_on() -> None:
    schema = form()
    schema["required"].append("wait")
    assert differences(schema) == []


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of our bundle, which is not the one that an import of `f` finds."""
    root = tmp_path_factory.mktemp("bundle")
    for folder in ("f", "locks", "dependencies"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "wmill.yaml", root)
    return root


TRAIN, DATA = "f/flexcore/lib/ray/train_job.py", "f/flexcore/data_pipeline__flow/flow.yaml"
SEED = '    seed: int = Field(default=0, ge=0, description="Start of the random numbers.")\n'


def test_a_field_added_to_a_model_is_missed_in_every_form_of_a_bundle_elsewhere(elsewhere: Path) -> None:
    text = (elsewhere / TRAIN).read_text()
    head = "class TrainRequest(LearningRequest):\n"
    (elsewhere / TRAIN).write_text(text.replace(head, head + SEED))
    try:
        found = [*check_forms(elsewhere)]
    finally:
        (elsewhere / TRAIN).write_text(text)
    assert [(item.file, item.message.partition(", ")[0]) for item in found] == [
        ("f/flexcore/ray/train.script.yaml", "the request has the field seed"),
        (DATA, "the request has the field ray.seed"),
        ("f/flexcore/hybrid_pipeline__flow/flow.yaml", "the request has the field ml.seed"),
        ("f/flexcore/ray/execute__flow/flow.yaml", "the request has the field seed"),
    ]
    assert not (elsewhere / "f/flexcore/lib/__pycache__").exists()


def test_a_model_that_cannot_be_imported_is_reported_with_the_reason(elsewhere: Path) -> None:
    text = (elsewhere / TRAIN).read_text()
    (elsewhere / TRAIN).write_text(text.replace("class TrainRequest(LearningRequest):", "class TrainRequest(Learnt):"))
    try:
        (found,) = check_forms(elsewhere)
    finally:
        (elsewhere / TRAIN).write_text(text)
    assert found.file == "f/flexcore/lib/runtimes.py" and "NameError: name 'Learnt' is not defined" in found.message


def test_a_model_that_the_registry_rule_reports_is_not_reported_twice(root: Path) -> None:
    replace(root, "f/flexcore/lib/toy/jobs.py", "    plan=client.plan,\n", "")
    assert any(check_registry(root)) and [*check_forms(root)] == []
