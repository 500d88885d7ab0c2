"""`flexcore workflow create`: a new flow that runs, from one that is there."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.wmlocal.engine.conftest import Command, Writer, call, raw


@pytest.fixture(autouse=True)
def template(write: Writer) -> None:
    modules = [raw("double", "def main(n):\n    return 2 * n\n", {"n": "flow_input.n"})]
    schema = {"properties": {"n": {"type": "integer"}, "key": {"type": "string", "password": True}}, "required": ["n"]}
    flow = {"summary": "Doubling", "description": "", "schema": schema, "value": {"modules": modules}}
    for name in ("doubling", "retired"):
        write.file(f"f/flexcore/templates/{name}__flow/flow.yaml", yaml.safe_dump(flow))
    write.file("f/flexcore/folder.meta.yaml", "summary: ''\n")
    write.file(
        "flexcore.yaml",
        "templates:\n  old: {file: f/flexcore/templates/retired__flow, runtime: ray, enabled: false}\n",
    )


def test_a_new_workflow_has_its_own_summary_and_defaults_and_runs(flexcore: Command, write: Writer) -> None:
    done = flexcore("workflow", "create", "nightly_sales", "--template", "doubling", "-p", '{"n": 21}', "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    flow = yaml.safe_load((write.root / "f/flexcore/nightly_sales__flow/flow.yaml").read_text())
    assert made["path"] == "f/flexcore/nightly_sales" and made["left_to_do"] == []
    assert (flow["summary"], flow["schema"]["properties"]["n"]["default"]) == ("Nightly sales", 21)
    assert flexcore("workflow", "execute", "nightly_sales").stdout == "42\n"


def test_a_workflow_outside_of_our_folder_is_told_what_a_push_needs(flexcore: Command) -> None:
    done = flexcore("workflow", "create", "f/sales/nightly", "--template", "doubling", "--summary", "Sales")
    assert done.returncode == 0 and "- f/sales/**" in done.stderr and "wmill folder add-missing" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["x", "--template", "dubling"], "did you mean doubling?"),
        (["x", "--template", "old"], "templates/retired is disabled: flexcore.yaml says so at templates.old"),
        (["x", "--template", "retired"], "flexcore.yaml says so at templates.old"),
        (["Bad-Name", "--template", "doubling"], "a-z, 0-9 and _ only"),
        (["f/../../x", "--template", "doubling"], "no name for a workflow"),
        (["templates/doubling", "--template", "doubling"], "is there already"),
        (["x", "--template", "doubling", "-p", '{"m": 1}'], "m: is unknown"),
        (["x", "--template", "doubling", "-p", '{"key": "planted"}'], "key is a secret: give $var:PATH"),
    ],
)
def test_what_cannot_be_created_leaves_nothing_behind(
    flexcore: Command, write: Writer, arguments: list[str], words: str
) -> None:
    before = sorted(write.root.rglob("*"))
    done = flexcore("workflow", "create", *arguments)
    assert done.returncode == 2 and words in done.stderr and "planted" not in done.stderr
    assert sorted(write.root.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["retired"], "templates/retired is disabled: flexcore.yaml says so at templates.old"),
        (["on_ray"], "on_ray would run on ray, which flexcore.yaml disables at runtimes.ray"),
        (["chooses", "--runtime", "ray"], "flexcore.yaml disables at runtimes.ray"),
    ],
)
def test_what_flexcore_yaml_disables_is_not_executed(
    flexcore: Command, write: Writer, arguments: list[str], words: str
) -> None:
    off = "runtimes:\n  ray: {enabled: false}\n"
    write.file("flexcore.yaml", (write.root / "flexcore.yaml").read_text() + off)
    write.script("f/flexcore/ray/train", "def main():\n    return 1\n")
    write.flow("f/x/on_ray", [call("a", "script", "f/flexcore/ray/train")])
    write.flow("f/x/chooses", [raw("a", "def main():\n    return 1\n")])
    document = write.root / "f/x/chooses__flow/flow.yaml"
    document.write_text(document.read_text() + "schema: {properties: {runtime: {type: string}}}\n")
    done = flexcore("workflow", "execute", *arguments, "-p", '{"n": 1}' if arguments == ["retired"] else "{}")
    assert done.returncode == 2 and words in done.stderr and "enabled: true" in done.stderr
    assert flexcore("workflow", "list", "--executions", "--json").stdout == "[]\n"
