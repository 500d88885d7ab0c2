"""The operations of Meltano: request models against the forms of their steps, what is checked without a project, what a
request says of its data."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any

import pytest
import yaml

from f.flexcore.lib.core import operation, resources
from f.flexcore.lib.core.errors import FlexcoreError, InvalidInput, NotFound
from f.flexcore.lib.core.operation import Operation
from f.flexcore.lib.core.resources import MeltanoProject, Settings
from f.flexcore.lib.meltano import installation
from f.flexcore.lib.meltano.dbt import RUN_DBT
from f.flexcore.lib.meltano.extraction import RUN
from f.flexcore.lib.runtimes import check_health, get_runtime

STEPS = Path(__file__).parents[2] / "f/flexcore/meltano"


def test_the_registry_finds_the_operations_and_the_health_of_meltano(home: Path) -> None:
    runtime = get_runtime("meltano")
    assert runtime.operation() is RUN and runtime.operation("run_dbt") is RUN_DBT
    health = check_health(runtime, "this worker")
    assert isinstance(health, operation.Health) and health.runtime == "meltano"


@pytest.mark.parametrize(("operation", "step"), [(RUN, "run"), (RUN_DBT, "run_dbt")])
def test_the_form_of_a_step_shows_the_fields_of_its_request(operation: Operation[Any, Any], step: str) -> None:
    schema = yaml.safe_load((STEPS / f"{step}.script.yaml").read_text())["schema"]
    fields = {name: field for name, field in operation.request.model_fields.items() if name != "more"}
    shown = [name for name in schema["order"] if name not in ("project", "settings")]
    assert sorted(shown) == sorted(fields)
    model = operation.request.model_json_schema()["properties"]
    for name, field in fields.items():
        form = schema["properties"][name]
        assert form["description"] == field.description, name
        assert (name in schema["required"]) == field.is_required(), name
        default = None if field.is_required() else field.default
        assert form["default"] == (None if default == [] else default), name
        bounds = [model[name], *model[name].get("anyOf", [])]
        assert form.get("minimum") == next((item["minimum"] for item in bounds if "minimum" in item), None), name
        if typing.get_origin(field.annotation) is typing.Literal:
            assert form["enum"] == list(typing.get_args(field.annotation)), name


PROJECT = {"path": "/no/such/folder"}


@pytest.mark.parametrize(
    ("operation", "change", "message"),
    [
        (RUN, {"taps": ["tap-a", "tap-a"]}, r"taps holds tap-a twice"),
        (RUN, {"taps": []}, r"taps is empty: give at least one"),
        (RUN, {"config": ["", "password=hunter2"]}, r"config\[0\] is not PLUGIN.SETTING=VALUE"),
        (RUN, {"timeout_s": 0}, r"timeout_s: Input should be greater than or equal to 1"),
        (RUN, {"tap_setings": {}}, r"tap_setings is not a known field"),
        (RUN, {"project": {"git_url": "ssh://x/y"}}, r"git_url must begin with https://"),
        (RUN, {"project": {"git_url": "https://x/y", "git_ref": "--upload-pack=z"}}, r"git_ref: .* is an option"),
        (RUN_DBT, {"run_by": "meltano"}, r"utility is empty: run_by meltano needs one"),
        (RUN_DBT, {"project": {"git_url": "https://u:hunter2@x/y"}}, r"git_url holds credentials"),
    ],
)
def test_what_is_wrong_whatever_the_project_holds_is_refused_without_it(
    operation: Operation[Any, Any], change: dict[str, Any], message: str
) -> None:
    taps = {"taps": ["tap-a"]} if operation is RUN else {}
    with pytest.raises(InvalidInput, match=message) as caught:
        operation.invoke({"project": PROJECT, **taps, **change}, {})
    assert caught.value.remedy and "hunter2" not in str(caught.value)


def test_a_request_is_checked_before_its_project_is_known() -> None:
    RUN.check(RUN.parse({"taps": ["tap-a"]}), None, Settings())
    RUN_DBT.check(RUN_DBT.parse({}), None, Settings())


def test_settings_of_plugins_are_in_no_result_and_their_passwords_are_masked() -> None:
    request = RUN.parse({"taps": ["tap-a"], "tap_settings": {"host": "db", "password": "hunter2"}})
    assert {"tap_settings", "target_settings"}.isdisjoint(resources.dump_public(request))
    assert list(resources.secret_values(request)) == ["hunter2"]


def test_a_request_that_was_prepared_before_says_where_its_taps_read_from_without_starting_meltano(
    project: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (folder / "meltano.yml").read_text()
    setting = "    - {name: files, kind: array, value: [{path: data/orders.csv}]}\n    - {name: marker}\n"
    (folder / "meltano.yml").write_text(text.replace("    - {name: marker}\n", setting))
    invocation = RUN.invoke({"project": project, "taps": ["tap-toy"]}, {})
    assert RUN.plan(invocation).data["taps"] == ["tap-toy"]
    monkeypatch.setattr(installation, "meltano_python", lambda: pytest.fail("Meltano was started"))
    assert RUN.sources
    (source,) = RUN.sources(invocation)
    assert (source.name, source.base, source.paths, source.unknown) == ("tap-toy", folder, ("data/orders.csv",), "")


@pytest.mark.usefixtures("home")
def test_a_dbt_plan_names_the_models_and_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "transform").mkdir()
    (tmp_path / "transform/dbt_project.yml").write_text("name: x\n")
    monkeypatch.setattr(installation, "meltano_python", lambda: pytest.fail("Meltano was started"))
    project = {"path": str(tmp_path)}
    plan = RUN_DBT.plan(RUN_DBT.invoke({"project": project, "adapter": "duckdb"}, {}))
    assert plan.data == {"command": "build", "dbt": "dbt-duckdb", "folder": "transform", "environment": ""}
    with pytest.raises(NotFound, match=r"no dbt_project\.yml in models"):
        RUN_DBT.plan(RUN_DBT.invoke({"project": project, "folder": "models"}, {}))


def test_a_project_of_the_wrong_kind_is_named_by_its_field() -> None:
    with pytest.raises(FlexcoreError, match=r"project: ") as caught:
        RUN.parse_service({"project": {"path": "/a", "git_url": "b"}})
    assert isinstance(caught.value, InvalidInput)
    assert isinstance(RUN.parse_service({"project": PROJECT}), MeltanoProject)
