"""One broken file of a bundle stops nothing but what is made of it, and is named beside."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.wmlocal.engine.conftest import Command, Writer, call, raw
from wmlocal.engine import CannotStart, Engine

GOOD = raw("a", "def main():\n    return 1\n")


def binary(write: Writer, path: str, content: bytes) -> None:
    write.file(path, "").write_bytes(content)


def loop(write: Writer, path: str) -> None:
    target = write.root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(target)


def two_folders(write: Writer) -> None:
    write.flow("f/x/bad", [GOOD])
    write.flow("f/x/bad", [GOOD], suffix=".flow")


# What breaks, and the words by which it is named.
def without_lock(write: Writer, path: str) -> None:
    write.file(f"{path}.py", "# requirements: base\nimport wmill\n\n\ndef main():\n    return 1\n")
    write.file(f"{path}.script.yaml", "summary: ''\nlock: '!inline locks/base.requirements.in.lock'\nkind: script\n")


BROKEN: dict[str, tuple[Callable[[Writer], object], str]] = {
    "a flow that is not YAML": (
        lambda w: w.file("f/x/bad__flow/flow.yaml", "value: ["),
        "bad__flow/flow.yaml is not valid YAML: line 2",
    ),
    "a flow of bytes": (lambda w: binary(w, "f/x/bad__flow/flow.yaml", b"value: \xff"), "is not UTF-8 text"),
    "a flow without value": (
        lambda w: w.file("f/x/bad__flow/flow.yaml", "summary: x\nmodules: []\n"),
        "has no `value` mapping; put `modules` below `value:`",
    ),
    "a flow that is a list": (lambda w: w.file("f/x/bad__flow/flow.yaml", "- a\n"), "holds no mapping"),
    "an empty flow": (lambda w: w.file("f/x/bad__flow/flow.yaml", ""), "holds no mapping"),
    "a key twice": (lambda w: w.file("f/x/bad__flow/flow.yaml", "summary: a\nsummary: b\n"), "summary is there twice"),
    "an alias of itself": (
        lambda w: w.file("f/x/bad__flow/flow.yaml", "value: &a\n  modules: [*a]\n"),
        "aliases lead back to themselves",
    ),
    "nested too deeply": (lambda w: w.file("f/x/bad__flow/flow.yaml", "value: " + "[" * 5000), "bad__flow/flow.yaml"),
    "a value that is a list": (lambda w: w.file("f/x/bad__flow/flow.yaml", "value: [1]\n"), "has no `value` mapping"),
    "a folder for a file": (
        lambda w: (w.root / "f/x/bad.py").mkdir(parents=True),
        "the script f/x/bad is not a readable",
    ),
    "a link to itself": (lambda w: loop(w, "f/x/bad.py"), "the script f/x/bad is not a readable file"),
    "metadata that is not YAML": (
        lambda w: (w.file("f/x/bad.py", "def main(): pass\n"), w.file("f/x/bad.script.yaml", "summary: [")),
        "f/x/bad.script.yaml is not valid YAML",
    ),
    "a script of bytes": (lambda w: binary(w, "f/x/bad.py", b"\xff\xfe"), "f/x/bad.py is not UTF-8 text"),
    "a resource that is not YAML": (lambda w: w.file("f/x/bad.resource.yaml", "a: b: c\n"), "f/x/bad.resource.yaml"),
    "a variable that is a word": (lambda w: w.file("f/x/bad.variable.yaml", "word\n"), "f/x/bad.variable.yaml"),
    "a trigger that is not YAML": (lambda w: w.file("f/x/bad.http_trigger.yaml", "}"), "f/x/bad.http_trigger.yaml"),
    "a shared lock that did not come along": (
        lambda w: without_lock(w, "f/x/bad"),
        "f/x/bad.script.yaml names the lock locks/base.requirements.in.lock, which is not there",
    ),
    "two folders of one flow": (
        two_folders,
        "f/x/bad is there twice: f/x/bad__flow/flow.yaml is used",
    ),
    "a name of bytes": (
        lambda w: (w.root / "f/x" / os.fsdecode(b"b\xe9.py")).write_text("def main(): pass\n"),
        "is not UTF-8, which a path must be",
    ),
}


def answers(engine: Engine) -> dict[str, list[str]]:
    """The paths of everything that a client can list; every list answers, whatever is broken."""
    headers = {"Authorization": f"Bearer {engine.token}"}
    found = {}
    with httpx.Client(base_url=f"{engine.url}/api/w/{engine.workspace}/", headers=headers, timeout=30) as client:
        for kind in ("flows", "scripts", "resources", "variables"):
            answer = client.get(f"{kind}/list")
            assert answer.status_code == 200, answer.text
            found[kind] = [item["path"] for item in answer.json()]
        answer = client.get(f"{engine.url}/api/r/hello")
        assert answer.status_code == 200, answer.text
    return found


@pytest.mark.parametrize("what", BROKEN)
def test_the_rest_is_listed_and_runs_beside(what: str, write: Writer, home: Path) -> None:
    write.flow("f/x/good", [GOOD])
    write.script("f/x/fine", "def main():\n    return 2\n")
    write.item("f/x/kept", "resource", value={"k": 1}, resource_type="c_kept")
    write.item("f/x/kept", "variable", value="v", is_secret=False, description="")
    write.item(
        "f/x/kept",
        "http_trigger",
        script_path="f/x/fine",
        is_flow=False,
        route_path="hello",
        http_method="get",
        authentication_method="none",
        is_static_website=False,
    )
    make, words = BROKEN[what]
    make(write)
    problems: list[str] = []
    with Engine(write.root, home, on_problem=problems.append) as engine:
        engine.serve()
        assert engine.run("f/x/good").result == 1 and engine.run("f/x/fine").result == 2
        for _ in range(2):
            found = answers(engine)
        assert "f/x/good" in found["flows"] and "f/x/fine" in found["scripts"]
        assert "f/x/kept" in found["resources"] and "f/x/kept" in found["variables"]
    assert [problem for problem in problems if words in problem], problems
    # Each is told once, however often the lists are asked for.
    assert len(problems) == len(set(problems)) and not any(str(write.root) in problem for problem in problems)


def test_what_is_broken_says_so_when_it_is_asked_for(engine: Engine, write: Writer) -> None:
    write.file("f/x/bad__flow/flow.yaml", "summary: No wrapper\nmodules: []\n")
    with pytest.raises(CannotStart, match=r"f/x/bad__flow/flow\.yaml has no `value` mapping; put `modules` below"):
        engine.run("f/x/bad")


def test_a_script_is_refused_rather_than_run_with_packages_that_were_guessed(engine: Engine, write: Writer) -> None:
    without_lock(write, "f/x/bad")
    write.file("locks/bass.requirements.in.lock", "# py: 3.11\n")
    near = r"which is not there \(did you mean locks/bass\.requirements\.in\.lock\?\); copy locks/ with the bundle"
    with pytest.raises(CannotStart, match=near):
        engine.run("f/x/bad")
    write.flow("f/x/y", [call("a", "script", "f/x/bad")])
    with pytest.raises(CannotStart, match=near):
        engine.run("f/x/y")
    write.file("locks/base.requirements.in.lock", "# py: 3.11\n")
    script = engine.bundle.script("f/x/bad")
    assert script is not None and script.lock == "# py: 3.11\n"


def test_a_step_that_needs_a_broken_file_fails_alone(engine: Engine, write: Writer) -> None:
    write.file("f/x/bad.resource.yaml", "a: b: c\n")
    code = "def main(r=None):\n    return r\n"
    module = raw("a", code, {"r": "flow_input.r"}, continue_on_error=True)
    write.flow("f/x/y", [module, GOOD | {"id": "b"}])
    done = engine.run("f/x/y", {"r": "$res:f/x/bad"})
    assert done.success and done.result == 1


def test_an_inline_file_is_found_by_its_exact_name(engine: Engine, write: Writer) -> None:
    value = {"type": "rawscript", "language": "python3", "lock": "", "content": "!inline Handle.py"}
    write.flow("f/x/y", [{"id": "a", "value": value}])
    write.file("f/x/y__flow/handle.py", "def main():\n    return 1\n")
    with pytest.raises(CannotStart, match=r"Handle\.py is missing \(did you mean handle\.py\?\)"):
        engine.run("f/x/y")


def test_secrets_of_a_type_that_cannot_be_read_stay_masked(engine: Engine, write: Writer) -> None:
    write.file("c_vault.resource-type.yaml", "schema: [")
    write.item("f/x/vault", "resource", value={"key": "hunter-sample-22"}, resource_type="c_vault")
    write.script("f/x/s", "def main(r):\n    print(r['key'])\n    return r\n")
    done = engine.run("f/x/s", {"r": "$res:f/x/vault"})
    assert "hunter-sample-22" not in engine.store.logs(done.id)
    assert "hunter-sample-22" not in json.dumps(engine.store.job(done.id))


def test_yaml_is_read_as_windmill_reads_it(engine: Engine, write: Writer) -> None:
    write.flow("f/x/y", [raw("a", "def main(v):\n    return v\n", {"v": None})])
    file = write.root / "f/x/y__flow/flow.yaml"
    file.write_text(file.read_text().replace("value: null", "value: [on, yes, 1_000, 2026-01-01, 1:30, 0o10]"))
    assert engine.run("f/x/y").result == ["on", "yes", "1_000", "2026-01-01", "1:30", 8]


def test_the_command_line_lists_the_rest_and_warns(flexcore: Command, write: Writer) -> None:
    write.flow("f/x/good", [GOOD])
    write.file("f/x/bad__flow/flow.yaml", "value: [")
    done = flexcore("workflow", "list", "--json")
    assert [item["path"] for item in json.loads(done.stdout)] == ["f/x/good"]
    assert "warning: f/x/bad__flow/flow.yaml is not valid YAML" in done.stderr
    assert flexcore("workflow", "execute", "f/x/good", "--json").returncode == 0
    asked_for = flexcore("workflow", "execute", "f/x/bad")
    assert asked_for.returncode == 2 and "is not valid YAML" in asked_for.stderr.splitlines()[-1]


def test_a_preprocessor_makes_the_arguments_of_what_the_command_line_is_given(flexcore: Command, write: Writer) -> None:
    make = raw("preprocessor", "def preprocessor(event):\n    return {'n': event['body']['order']['n'] + 1}\n")
    write.flow("f/x/y", [raw("a", "def main(n):\n    return n\n", {"n": "flow_input.n"})], preprocessor_module=make)
    file = write.root / "f/x/y__flow/flow.yaml"
    file.write_text(file.read_text() + 'schema: {"properties": {"n": {"type": "integer"}}, "required": ["n"]}\n')
    done = flexcore("workflow", "execute", "f/x/y", "-p", '{"order": {"n": 4}}', "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["result"] == 5, done.stderr


def test_a_skipped_run_is_no_success_and_no_failure(flexcore: Command, write: Writer) -> None:
    write.flow("f/x/y", [GOOD | {"stop_after_if": {"expr": "true", "skip_if_stopped": True}}, GOOD | {"id": "b"}])
    done = flexcore("workflow", "execute", "f/x/y", "--json")
    shown = json.loads(done.stdout)
    assert done.returncode == 0 and shown == {"id": shown["id"], "success": False, "result": 1, "skipped": True}
