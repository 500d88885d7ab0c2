"""The document says exactly what is shipped: routes, parameters, schemas."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from openapi_spec_validator import validate
from pydantic import BaseModel

from f.flexcore.lib.api import routes
from f.flexcore.lib.core.operation import Health
from f.flexcore.lib.runtimes import RUNTIMES
from f.flexcore.lib.windmill import execution_models
from tests.api.conftest import MEDIA_TYPE

ROOT = Path(__file__).parent.parent.parent
DOCUMENT: dict[str, Any] = yaml.safe_load((ROOT / "resources/openapi.yaml").read_text())
TRIGGERS = sorted((ROOT / "f").rglob("*.http_trigger.yaml"))
SCHEMAS = DOCUMENT["components"]["schemas"]
Json = dict[str, Any]


def trigger(file: Path) -> Json:
    told = yaml.safe_load(file.read_text())
    assert isinstance(told, dict)
    return told


def operations() -> Iterator[tuple[str, str, Json]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                yield (
                    method,
                    path,
                    operation | {"parameters": [*item.get("parameters", []), *operation.get("parameters", [])]},
                )


def test_the_document_is_valid_openapi() -> None:
    validate(DOCUMENT)


def test_every_shipped_trigger_is_described_and_nothing_else() -> None:
    shipped = {}
    for file in TRIGGERS:
        told = trigger(file)
        path = "/" + re.sub(r":([-\w]+)", r"{\1}", told["route_path"])
        shipped[told["http_method"], path] = (file.name.partition(".")[0], told["summary"])
    described = {
        (method, path): (operation["operationId"], operation["summary"]) for method, path, operation in operations()
    }
    assert described == shipped


@pytest.mark.parametrize("file", TRIGGERS, ids=lambda file: file.name)
def test_every_trigger_asks_for_a_windmill_token_and_is_of_its_workspace(file: Path) -> None:
    told = trigger(file)
    assert told["authentication_method"] == "windmill" and told["workspaced_route"] is True
    assert told["raw_string"] is (told["http_method"] == "post")
    assert (told["mode"], told["request_type"], told["is_flow"]) == ("enabled", "sync", False)
    assert told["route_path_key"] == re.sub(r":[-\w]+", ":key", told["route_path"])
    script = yaml.safe_load((ROOT / f"{told['script_path']}.script.yaml").read_text())
    assert script["has_preprocessor"] is True


def test_every_route_has_a_handler_in_the_script_of_its_trigger() -> None:
    shipped: dict[str, set[str]] = {}
    for file in TRIGGERS:
        told = trigger(file)
        shipped.setdefault(told["script_path"], set()).add(told["route_path"])
    assert shipped == {
        "f/flexcore/api/handle_get": set(routes.GET),
        "f/flexcore/api/handle_post": set(routes.POST),
        "f/flexcore/api/list_runtimes": {"flexcore/runtimes"},
    }


def test_no_operation_is_open_and_all_say_how_they_refuse() -> None:
    assert DOCUMENT["security"] == [{"windmill": []}]
    for _, path, operation in operations():
        assert "security" not in operation
        assert {"401", "403", "422", "500", "503"} <= set(operation["responses"]), path
        assert ("404" in operation["responses"]) == ("{id}" in path or operation["operationId"] == "start_execution")
        if "requestBody" in operation:
            # Windmill resolves references in a body of application/json with the rights of the trigger's owner.
            assert list(operation["requestBody"]["content"]) == [MEDIA_TYPE]


@pytest.mark.parametrize(
    ("operation", "model"), [("list_executions", execution_models.ListQuery), ("read_logs", execution_models.LogQuery)]
)
def test_query_parameters_are_those_of_the_model_within_the_same_bounds(operation: str, model: type[BaseModel]) -> None:
    parameters = next(told["parameters"] for _, _, told in operations() if told["operationId"] == operation)
    described = {item["name"]: resolved(item["schema"]) for item in parameters if item.get("in") == "query"}
    schema = model.model_json_schema()["properties"]
    assert set(described) == set(schema)
    for name, field in schema.items():
        (kind,) = [option for option in field.get("anyOf", [field]) if option.get("type") != "null"]
        if name == "runtime":
            kind = {**kind, "enum": list(RUNTIMES)}
        for bound in ("type", "minimum", "maximum", "minLength", "maxLength", "pattern", "enum"):
            assert described[name].get(bound) == kind.get(bound), (name, bound)
        if described[name].get("default"):
            assert described[name]["default"] == field["default"]


def resolved(schema: Json) -> Json:
    found: Json = SCHEMAS[schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema
    return found


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("Execution", execution_models.Execution),
        ("ExecutionDetail", execution_models.ExecutionDetail),
        ("Step", execution_models.Step),
        ("ExecutionError", execution_models.ExecutionError),
    ],
)
def test_a_schema_has_the_fields_of_its_model(name: str, model: type[BaseModel]) -> None:
    assert list(SCHEMAS[name]["properties"]) == list(model.model_fields)
    assert set(SCHEMAS[name]["required"]) == set(model.model_fields)
    for field, told in model.model_json_schema(mode="serialization")["properties"].items():
        kinds = {option.get("type") for option in told.get("anyOf", [told])} - {None}
        described = resolved(SCHEMAS[name]["properties"][field]).get("type")
        if described:
            assert kinds <= set(described if isinstance(described, list) else [described]), field


def test_health_and_states_are_those_of_the_code() -> None:
    names = [field.name for field in fields(Health)]
    assert list(SCHEMAS["RuntimeHealth"]["properties"]) == names == SCHEMAS["RuntimeHealth"]["required"]
    assert SCHEMAS["RuntimeName"]["enum"] == list(RUNTIMES)
    assert set(execution_models.STEP_STATUSES.values()) <= set(SCHEMAS["Step"]["properties"]["status"]["enum"])
