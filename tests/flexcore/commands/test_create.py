"""`flexcore workflow create`: a new flow that runs, from one that is there."""

from __future__ import annotations

import json
import shutil

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
    for folder in ("flexcore", "sales"):
        write.file(f"f/{folder}/folder.meta.yaml", "summary: ''\n")
    # The folder of the other tests' bundle: with it, a name alone would not say where it goes.
    shutil.rmtree(write.root / "f/x")
    write.file(
        "flexcore.yaml",
        "templates:\n  old: {file: f/flexcore/templates/retired__flow, runtime: ray, enabled: false}\n",
    )


def test_a_new_workflow_has_its_own_summary_and_defaults_and_runs(flexcore: Command, write: Writer) -> None:
    done = flexcore("workflow", "create", "nightly_sales", "--template", "doubling", "-p", '{"n": 21}', "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    flow = yaml.safe_load((write.root / "f/sales/nightly_sales__flow/flow.yaml").read_text())
    assert made["path"] == "f/sales/nightly_sales" and made["left_to_do"] == []
    assert (flow["summary"], flow["schema"]["properties"]["n"]["default"]) == ("Nightly sales", 21)
    assert flexcore("workflow", "execute", "nightly_sales").stdout == "42\n"


def test_a_workflow_in_a_new_folder_is_told_what_a_push_needs(flexcore: Command, write: Writer) -> None:
    write.file("wmill.yaml", "includes: [f/flexcore/**]\n")
    done = flexcore("workflow", "create", "f/hr/nightly", "--template", "doubling", "--summary", "HR")
    assert done.returncode == 0 and "- f/hr/**" in done.stderr and "wmill folder add-missing" in done.stderr
    write.file("wmill.yaml", "includes: [f/**]\n")
    done = flexcore("workflow", "create", "f/hr/weekly", "--template", "doubling")
    assert done.returncode == 0 and "includes" not in done.stderr


@pytest.mark.parametrize("place", ["f/hr/nightly", "f/hr", "f/hr/"])
def test_the_path_of_a_workflow_is_a_whole_one_or_a_folder(flexcore: Command, place: str) -> None:
    done = flexcore("workflow", "create", "nightly", "--path", place, "--template", "doubling", "--json")
    assert json.loads(done.stdout)["path"] == "f/hr/nightly"


def test_a_name_without_a_folder_is_refused_where_there_are_several(flexcore: Command, write: Writer) -> None:
    write.file("f/hr/folder.meta.yaml", "summary: ''\n")
    done = flexcore("workflow", "create", "nightly", "--template", "doubling")
    assert done.returncode == 2 and "several: f/hr, f/sales" in done.stderr and "--path f/hr/nightly" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["x", "--template", "dubling"], "did you mean doubling?"),
        (["x", "--template", "old"], "templates/retired is disabled: flexcore.yaml says so at templates.old"),
        (["x", "--template", "retired"], "flexcore.yaml says so at templates.old"),
        (["Bad-Name", "--template", "doubling"], "a-z, 0-9 and _ only"),
        (["f/../../x", "--template", "doubling"], "not a path for a workflow"),
        (["x", "--path", "g/sales/x", "--template", "doubling"], "not a path for a workflow"),
        (["x", "--path", "f/flexcore/x", "--template", "doubling"], "the bundle's own folder"),
        (["f/flexcore", "--template", "doubling"], "not a path for a workflow"),
        (["f/flexcore/templates/doubling", "--template", "doubling"], "the bundle's own folder"),
        (["there", "--template", "doubling"], "is there already"),
        (["x", "--template", "doubling", "-p", '{"m": 1}'], "m: is unknown"),
        (["x", "--template", "doubling", "-p", '{"key": "planted"}'], "key is a secret: give $var:PATH"),
    ],
)
def test_what_cannot_be_created_leaves_nothing_behind(
    flexcore: Command, write: Writer, arguments: list[str], words: str
) -> None:
    write.script("f/sales/there", "def main():\n    return 1\n")
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
