"""What `wmill lint` lets pass, checked on our own bundle: metadata, locks, wiring."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import yaml

from f.flexcore.lib.core import resources
from f.flexcore.lib.selection.forecast import Forecasts

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted((ROOT / "f").rglob("*.py"))
FLOWS = sorted((ROOT / "f").rglob("flow.yaml"))
RESOURCE_TYPES: dict[str, type[resources.Resource]] = {
    "c_meltano_project": resources.MeltanoProject,
    "c_ray_cluster": resources.RayCluster,
    "c_kubernetes_cluster": resources.KubernetesCluster,
    "c_flexcore_settings": resources.Settings,
    "c_flexcore_notifications": resources.Notifications,
}
SET = re.compile(r"\A# requirements: (\w+)\n(?!# py:)")
REQUIREMENTS = sorted((ROOT / "dependencies").glob("*.requirements.in"))
LIBRARY = ROOT / "f/flexcore/lib"
# The steps before it in the flow that it is a part of have looked.
PARTS_OF_FLOWS = {"f/flexcore/operations/run_benchmark"}
# Beside the arguments of `main`, of which a form has as many as it has fields.
MAX_STEP_LINES = 38
# Modules of ours that a step loads before it begins: every run pays for them, as every run is a new interpreter, and a
# server's worker fetches each over HTTP. What only one branch needs is imported there.
MAX_STEP_IMPORTS, MAX_MEDIAN_IMPORTS = 36, 17
# The dashboard's first rows wait for this one.
FIRST_READ, MAX_FIRST_READ_IMPORTS = "f.flexcore.dashboard.read_dashboard", 13
COUNT_IMPORTS = """
import importlib, json, sys
counts = {}
for step in sys.argv[1:]:
    for name in [name for name in sys.modules if name.split(".")[0] == "f"]:
        del sys.modules[name]
    importlib.import_module(step)
    ours = [module for name, module in sys.modules.items() if name.split(".")[0] == "f"]
    counts[step] = sum(getattr(module, "__file__", None) is not None for module in ours)
print(json.dumps(counts))
"""


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def lock_of(requirement_set: str) -> Path:
    return ROOT / f"locks/{requirement_set}.requirements.in.lock"


def main_of(script: Path) -> ast.FunctionDef | None:
    functions = [node for node in ast.parse(script.read_text()).body if isinstance(node, ast.FunctionDef)]
    return next((function for function in functions if function.name == "main"), None)


def steps(value: Any) -> Iterator[dict[str, Any]]:
    """Every script and flow step anywhere in a flow's value."""
    if isinstance(value, dict):
        if value.get("type") in ("script", "flow") and "path" in value:
            yield value
        for item in value.values():
            yield from steps(item)
    elif isinstance(value, list):
        for item in value:
            yield from steps(item)


def schema_at(path: str) -> dict[str, Any]:
    script, flow = ROOT / f"{path}.script.yaml", ROOT / f"{path}__flow/flow.yaml"
    found = script if script.exists() else flow
    schema = yaml.safe_load(found.read_text())["schema"]
    assert isinstance(schema, dict)
    return schema


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_every_script_has_its_requirement_set_metadata_and_shared_lock(script: Path) -> None:
    requirements = SET.match(script.read_text())
    assert requirements, "the first line names the requirement set"
    metadata = yaml.safe_load(script.with_suffix(".script.yaml").read_text())
    assert metadata["summary"]
    assert metadata["lock"] == f"!inline {name(lock_of(requirements[1]))}"
    assert not script.with_suffix(".script.lock").exists(), "scripts of one requirement set share its lock"


@pytest.mark.parametrize("requirements", REQUIREMENTS, ids=lambda path: path.name)
def test_a_shared_lock_is_that_of_its_requirement_set_and_names_the_version_of_python(requirements: Path) -> None:
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    set_name = requirements.name.removesuffix(".requirements.in")
    lock = lock_of(set_name).read_text()
    assert f"# workspace-dependencies: {set_name}:{digest}" in lock, "run `make locks`"
    # A worker takes the version from here; a line in the code would keep the lock from being shared.
    assert "# py: 3.11" in lock


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_what_is_no_library_is_a_step_and_the_library_has_none(script: Path) -> None:
    in_library = script.is_relative_to(LIBRARY)
    assert (main_of(script) is None) == in_library, "a step has a main, a module of the library has none"


def count_lines(script: Path) -> int:
    main = main_of(script)
    return len(script.read_text().splitlines()) - (main.body[0].lineno - main.lineno if main else 0)


def test_a_step_is_short() -> None:
    lengths = {name(script): count_lines(script) for script in SCRIPTS}
    long = {path: length for path, length in lengths.items() if length > MAX_STEP_LINES and "/lib/" not in path}
    assert not long, "move what decides to f/flexcore/lib"


def test_a_step_loads_few_modules_of_ours() -> None:
    # One interpreter for all, in which nothing of ours stays loaded: other packages are not counted.
    modules = [name(step).removesuffix(".py").replace("/", ".") for step in SCRIPTS if main_of(step)]
    command = [sys.executable, "-c", COUNT_IMPORTS, *modules]
    counts: dict[str, int] = json.loads(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout)
    assert set(counts) == set(modules)
    assert not {step: count for step, count in counts.items() if count > MAX_STEP_IMPORTS}
    assert median(counts.values()) <= MAX_MEDIAN_IMPORTS, counts
    assert counts[FIRST_READ] <= MAX_FIRST_READ_IMPORTS, "what only one view needs is imported for it"


@pytest.mark.parametrize("script", [script for script in SCRIPTS if main_of(script)], ids=name)
def test_every_argument_is_described_in_the_order_of_main(script: Path) -> None:
    function = main_of(script)
    assert function
    arguments = [argument.arg for argument in function.args.args]
    required = arguments[: len(arguments) - len(function.args.defaults)]
    schema = schema_at(name(script).removesuffix(".py"))
    assert schema["order"] == arguments
    assert set(schema["properties"]) == set(arguments)
    assert sorted(schema["required"]) == sorted(required)
    assert all(field["description"] for field in schema["properties"].values())


@pytest.mark.parametrize("flow", FLOWS, ids=name)
def test_every_step_of_a_flow_gets_arguments_that_it_has_and_all_that_it_needs(flow: Path) -> None:
    document = yaml.safe_load(flow.read_text())
    for step in steps(document["value"]):
        schema = schema_at(step["path"])
        given = set(step["input_transforms"])
        assert given <= set(schema["properties"]), step["path"]
        assert set(schema["required"]) <= given, step["path"]


def first_steps(modules: list[dict[str, Any]]) -> Iterator[str]:
    """The scripts that a flow may begin with, those of its inner flows among them."""
    value = modules[0]["value"]
    if value["type"] == "flow":
        inner = yaml.safe_load((ROOT / f"{value['path']}__flow/flow.yaml").read_text())
        yield from first_steps(inner["value"]["modules"])
    elif value["type"] == "script":
        yield value["path"]
    else:
        branches = [*(item["modules"] for item in value.get("branches") or ()), value.get("default")]
        for branch in filter(None, [*branches, value.get("modules")]):
            yield from first_steps(branch)


@pytest.mark.parametrize("flow", FLOWS, ids=name)
def test_the_first_step_of_a_flow_refuses_to_begin_while_the_workflow_is_stopped(flow: Path) -> None:
    if name(flow.parent).removesuffix("__flow") in PARTS_OF_FLOWS:
        return
    first = [*first_steps(yaml.safe_load(flow.read_text())["value"]["modules"])]
    assert first and [path for path in first if "stops.refuse_stopped()" not in (ROOT / f"{path}.py").read_text()] == []


@pytest.mark.parametrize("flow", FLOWS, ids=name)
def test_every_flow_input_that_a_step_reads_is_in_the_form_and_described(flow: Path) -> None:
    document = yaml.safe_load(flow.read_text())
    fields = document["schema"]["properties"]
    read = set(re.findall(r"flow_input\.(\w+)", json.dumps(document["value"])))
    asked = set(re.findall(r"fields\.(\w+)", " ".join(field.get("showExpr", "") for field in fields.values())))
    # A loop puts its own `iter` beside the inputs; some fields only say which others are shown.
    assert (read - {"iter"}) | asked == set(fields)
    assert all(field["description"] for field in fields.values())


@pytest.mark.parametrize("kind", RESOURCE_TYPES)
def test_a_resource_type_has_the_fields_and_defaults_of_its_model(kind: str) -> None:
    form = yaml.safe_load((ROOT / f"{kind}.resource-type.yaml").read_text())["schema"]["properties"]
    model = RESOURCE_TYPES[kind].model_fields
    assert list(form) and set(form) == set(model)
    for field, info in model.items():
        assert form[field]["description"]
        assert form[field]["default"] == info.default
    secret = {field for field in form if form[field].get("password")}
    plain = {"token", "git_token", "kubeconfig", "headers", "env", "storage_access_key", "storage_secret_key"}
    plain |= {"webhook_url", "smtp_password", "prometheus_token", "otlp_headers"}
    assert secret == plain & set(form)


def test_the_type_of_the_forecast_has_the_fields_and_defaults_of_the_model() -> None:
    form = yaml.safe_load((ROOT / "c_flexcore_forecast.resource-type.yaml").read_text())["schema"]["properties"]
    assert {name: field["default"] for name, field in form.items()} == Forecasts().plain()
    assert all(field["description"] for field in form.values())


def test_the_laptop_and_the_workers_use_the_same_versions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    pins = set(project["tool"]["uv"]["constraint-dependencies"])
    for requirements in (ROOT / "dependencies").glob("*.requirements.in"):
        assert exact(requirements.read_text()) <= pins


def test_no_file_records_a_download_address() -> None:
    lock = json.loads((ROOT / "package-lock.json").read_text())
    assert not [entry for entry in lock["packages"].values() if "resolved" in entry]
    ignored = (ROOT / ".gitignore").read_text().split()
    assert "uv.lock" in ignored


@pytest.mark.parametrize("requirements", REQUIREMENTS, ids=lambda path: path.name)
def test_a_requirement_set_names_all_that_its_lock_holds(requirements: Path) -> None:
    # A server resolves it again whenever a module changes; what it leaves open would then differ from the lock.
    lock = lock_of(requirements.name.removesuffix(".requirements.in"))
    assert exact(lock.read_text()) == exact(requirements.read_text())


def exact(requirements: str) -> set[str]:
    return {line for line in requirements.splitlines() if line and not line.startswith("#")}
