"""What the engine does not do it refuses by name, before anything runs."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.wmlocal.engine.conftest import Writer, call, raw
from tests.wmlocal.places import places, put
from wmlocal.engine import CannotStart, Engine, Unsupported, unsupported
from wmlocal.engine.bundle import Flow
from wmlocal.engine.unsupported import check_flow
from wmlocal.formats.misplaced import names_of

STEP = raw("ok", "def main():\n    return 1\n")


def with_value(**value: Any) -> dict[str, Any]:
    return {"id": "a", "value": value}


REFUSED: dict[str, tuple[list[dict[str, Any]], dict[str, Any], str]] = {
    "an unknown key of a module": ([STEP | {"bogus_key": 1}], {}, "`bogus_key`"),
    "an unknown key of a flow": ([STEP], {"bogus_key": 1}, "`bogus_key`"),
    "an unknown key of a retry": ([STEP | {"retry": {"constnt": {"attempts": 1}}}], {}, "`constnt`"),
    "an unknown key of a stop condition": ([STEP | {"stop_after_if": {"exp": "true"}}], {}, "`exp`"),
    "an unknown type": ([with_value(type="teleport")], {}, "type teleport"),
    "a module without a type": ([with_value(path="f/x/y")], {}, "no type"),
    "an agent": ([with_value(type="aiagent", tools=[], input_transforms={})], {}, "aiagent"),
    "another language": ([with_value(type="rawscript", language="bun", content="x")], {}, "bun"),
    "the hub": ([call("a", "script", "hub/123/x")], {}, "hub"),
    "a missing script": ([call("a", "script", "f/x/none")], {}, "f/x/none is not in the bundle"),
    "a missing flow": ([call("a", "flow", "f/x/none")], {}, "f/x/none is not in the bundle"),
    "a transform made by a model": (
        [with_value(type="script", path="f/x/s", input_transforms={"a": {"type": "ai"}})],
        {},
        "type ai",
    ),
    "a preprocessor that is a flow": (
        [STEP],
        {"preprocessor_module": call("preprocessor", "flow", "f/x/y")},
        "the preprocessor is of type flow",
    ),
    "a step called failure": ([STEP | {"id": "failure"}], {}, "move it to `failure_module`"),
    "a time-out inside of value": (
        [with_value(type="rawscript", language="python3", content="", timeout=3)],
        {},
        "beside `value`, not inside",
    ),
    "a flow of the hub": ([call("a", "flow", "hub/0/approval")], {}, "an approval is a step with `suspend"),
    "modules that are a mapping": ([with_value(type="whileloopflow", modules={})], {}, "`modules` is a mapping"),
    "a retry that is a word": ([STEP | {"retry": "twice"}], {}, "`retry` is 'twice'"),
    "a number that is a word": ([STEP | {"suspend": {"required_events": "one"}}], {}, "`required_events` is 'one'"),
    "an input without its type": (
        [with_value(type="script", path="f/x/s", input_transforms={"a": 1})],
        {},
        "the transform of `a` is 1",
    ),
    "a cache": ([STEP | {"cache_ttl": 60}], {}, "cache_ttl"),
    "kept runners": (
        [with_value(type="forloopflow", iterator={"type": "static", "value": []}, modules=[], squash=True)],
        {},
        "squash",
    ),
    "a loop without an iterator": ([with_value(type="forloopflow", modules=[])], {}, "iterator"),
    "an id used twice": ([STEP, STEP], {}, "twice"),
    "named approvers": (
        [STEP | {"suspend": {"required_events": 1, "user_auth_required": True}}],
        {},
        "user_auth_required",
    ),
    "a construct deep inside": (
        [with_value(type="branchall", branches=[{"modules": [STEP | {"bogus_key": 1}]}])],
        {},
        "f/x/y/a/ok: `bogus_key`",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_flow_is_refused_for(what: str, engine: Engine, write: Writer) -> None:
    modules, flow, words = REFUSED[what]
    write.script("f/x/s", "def main():\n    return 1\n")
    write.flow("f/x/y", modules, **flow)
    with pytest.raises(Unsupported) as refusal:
        engine.run("f/x/y")
    assert words in str(refusal.value)
    assert not engine.store.jobs()


def test_all_findings_of_all_subflows_are_named_at_once(engine: Engine, write: Writer) -> None:
    write.flow("f/x/inner", [call("a", "script", "f/x/none")])
    write.flow("f/x/y", [call("s", "flow", "f/x/inner"), call("t", "script", "f/x/nothing")])
    with pytest.raises(Unsupported) as refusal:
        engine.run("f/x/y")
    assert [finding.where for finding in refusal.value.findings] == ["f/x/inner/a", "f/x/y/t"]


def test_a_missing_inline_file_is_named(engine: Engine, write: Writer) -> None:
    write.flow("f/x/y", [with_value(type="rawscript", language="python3", content="!inline gone.py", lock="")])
    with pytest.raises(Unsupported, match=r"gone\.py"):
        engine.run("f/x/y")


def test_what_the_community_edition_ignores_is_ignored(engine: Engine, write: Writer) -> None:
    write.flow("f/x/y", [STEP | {"priority": 3, "summary": "s"}], concurrent_limit=1, notes=[], groups=[], priority=2)
    assert engine.run("f/x/y").success


def test_a_flow_that_calls_itself_is_checked_once(engine: Engine, write: Writer) -> None:
    branch = with_value(
        type="branchone",
        branches=[{"expr": "flow_input.n > 0", "modules": [call("again", "flow", "f/x/y", n="flow_input.n - 1")]}],
        default=[STEP],
    )
    write.flow("f/x/y", [branch])
    assert engine.run("f/x/y", {"n": 2}).result == 1


@pytest.mark.parametrize("args", [[], "x", 1])
def test_arguments_must_be_an_object(engine: Engine, write: Writer, args: Any) -> None:
    write.script("f/x/s", "def main():\n    return 1\n")
    with pytest.raises(CannotStart, match="JSON object"):
        engine.run("f/x/s", args)


def test_a_folder_without_a_bundle_is_refused(tmp_path: Any) -> None:
    with pytest.raises(CannotStart, match="not a Windmill bundle"):
        Engine(tmp_path, tmp_path / "home")


def test_yaml_that_cannot_be_read_is_refused(engine: Engine, write: Writer) -> None:
    write.file("f/x/y__flow/flow.yaml", "value: [")
    with pytest.raises(CannotStart, match="is not valid YAML"):
        engine.run("f/x/y")


WHOLE: dict[str, Any] = {
    "modules": [
        STEP
        | {
            "retry": {"constant": {"attempts": 1, "seconds": 0}, "retry_if": {"expr": "true"}},
            "suspend": {"required_events": 1, "timeout": 5},
            "stop_after_if": {"expr": "false", "skip_if_stopped": False},
            "sleep": {"type": "static", "value": 0},
            "mock": {"enabled": False},
        },
        with_value(type="forloopflow", iterator={"type": "static", "value": []}, modules=[STEP]) | {"id": "l"},
        with_value(type="branchone", branches=[{"expr": "true", "modules": [STEP]}], default=[]) | {"id": "o"},
        with_value(type="branchall", branches=[{"modules": [STEP]}], parallel=True) | {"id": "p"},
        call("s", "flow", "f/x/none", k="flow_input.k") | {"skip_if": {"expr": "false"}},
    ],
    "failure_module": STEP | {"id": "failure"},
    "preprocessor_module": STEP | {"id": "preprocessor"},
}
ODD: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 0, -1, 2.5, "", "x", [], [None], ["x"], {}, {"x": 1}, {"type": "static"}, [[]]]
)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([way for way in places(WHOLE) if way]), ODD)
def test_no_value_at_any_place_of_a_flow_gives_a_traceback(engine: Engine, way: tuple[Any, ...], odd: Any) -> None:
    try:
        check_flow(engine.bundle, Flow("f/x/y", put(WHOLE, way, odd), {}))
    except Unsupported as refusal:
        assert refusal.findings


def test_a_key_at_the_top_of_a_flow_that_nothing_reads_is_refused_with_its_place(engine: Engine, write: Writer) -> None:
    write.flow("f/x/y", [STEP])
    file = write.root / "f/x/y__flow/flow.yaml"
    file.write_text(file.read_text() + "error_handler: f/x/s\n")
    with pytest.raises(Unsupported, match=r"`error_handler`.* a flow's error handler is `failure_module`"):
        engine.run("f/x/y")


KNOWN = {
    **unsupported.VALUE_KEYS,
    "module": unsupported.MODULE_KEYS,
    "the flow's value": unsupported.FLOW_KEYS,
    "branch": unsupported.BRANCH_KEYS,
    **unsupported.NESTED_KEYS,
    **{f"retry.{key}": known for key, known in unsupported.RETRY_KEYS.items()},
}


@pytest.mark.parametrize("kind", KNOWN)
def test_every_key_that_a_server_reads_is_done_ignored_or_refused_by_name(kind: str) -> None:
    handled = KNOWN[kind] | unsupported.IGNORED | set(unsupported.REFUSED) | {"type"}
    assert names_of(unsupported.RECORDS[kind]) <= handled


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"tag": "gpu"}, "inside `value`"),
        ({"concurrency_key": "k"}, "`custom_concurrency_key`, inside `value`"),
        ({"parallel": False}, "inside `value`"),
        ({"skip_failure": True}, "to a branch"),
        ({"input_transforms": {}}, "inside `value`"),
    ],
)
def test_a_key_of_one_place_is_refused_at_another(
    more: dict[str, Any], said: str, engine: Engine, write: Writer
) -> None:
    write.flow("f/x/flow", [raw("a", "def main():\n    return 1\n", **more)])
    with pytest.raises(Unsupported, match=re.escape(said)):
        engine.run("f/x/flow")


def test_words_about_the_look_of_an_approval_are_ignored(engine: Engine, write: Writer) -> None:
    suspend = {"required_events": 0, "skin": "minimal", "description": "really?"}
    write.flow("f/x/flow", [STEP | {"suspend": suspend}, raw("b", "def main():\n    return 2\n")])
    assert engine.run("f/x/flow").result == 2
