"""Every defect is found at its line, and a bundle without one is clean."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.wmlocal.lint.cases import CASES, Case
from tests.wmlocal.places import places, put
from wmlocal.formats.misplaced import names_of, where_it_belongs
from wmlocal.lint import Severity, check
from wmlocal.lint.parsers import Signature, Source, signatures
from wmlocal.lint.positions import NotYaml, read
from wmlocal.lint.results_use import misuses
from wmlocal.lint.secret_values import looks_secret

ROOT = Path(__file__).parents[3]
GOOD: dict[str, str] = yaml.safe_load((Path(__file__).parent / "good_bundle.yaml").read_text())


@pytest.fixture(autouse=True)
def parsers_are_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most cases leave the code as it is; node's start would take most of the time."""
    monkeypatch.setattr("wmlocal.lint.code.signatures", _remembered)


ANSWERS: dict[tuple[str, str, str], Signature] = {}


def _remembered(sources: list[Source], root: Path) -> dict[str, Signature]:
    new = [source for source in sources if (source.language, source.content, source.path) not in ANSWERS]
    for key, signature in signatures(new, root).items():
        source = next(source for source in new if source.key == key)
        ANSWERS[source.language, source.content, source.path] = signature
    return {
        source.key: ANSWERS[known]
        for source in sources
        if (known := (source.language, source.content, source.path)) in ANSWERS
    }


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def line_of(text: str, part: str) -> int:
    assert part in text
    return text[: text.index(part)].count("\n") + 1


def test_a_good_bundle_is_clean(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    assert check(tmp_path) == []


def test_our_own_bundle_is_clean() -> None:
    assert [finding for finding in check(ROOT) if finding.severity is Severity.ERROR] == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_defect_is_found_at_its_line_and_no_other_is_made_up(case: Case, tmp_path: Path) -> None:
    assert case.old in GOOD[case.file]
    files = GOOD | {case.file: GOOD[case.file].replace(case.old, case.new, 1)}
    write(tmp_path, files)
    file = case.found_in or case.file
    findings = check(tmp_path)
    expected = (file, line_of(files[file], case.at or case.new), case.rule)
    found = [finding for finding in findings if (finding.file, finding.line, finding.rule) == expected]
    assert found, [str(finding) for finding in findings]
    assert found[0].severity is (Severity.WARNING if case.warning else Severity.ERROR)
    others = {finding.rule for finding in findings if (finding.file, finding.line) != expected[:2]}
    # A misspelt key is missing as well.
    follows = {"normal-form", "missing-key"} if case.rule == "unknown-key" else set()
    assert others <= CONSEQUENCES.get(case.name, set()) | follows, [str(finding) for finding in findings]


# What follows from a defect, rightly, in another line.
CONSEQUENCES: dict[str, set[str]] = {
    "an inline file that does not exist": {"unused-file"},
    "an inline lock that does not exist": {"unused-file"},
    "a step without a lock": {"unused-file"},
    "a key twice": {"wrong-kind"},
    "an unknown key of wmill.yaml": {"not-pushed"},
    "a field of another type": {"wrong-argument"},
    "a requirement set that does not exist": {"stale-lock"},
    "a lock without a package of the set": {"not-locked"},
    "an annotation of a type that does not exist": {"schema-type"},
    "code in the flow itself": {"unused-file"},
    "a library where a step wants a script": {"no-main", "schema-extra", "schema-required"},
    "a flow in a folder of the other suffix": {"wrong-suffix"},
}


def test_files_without_a_use_are_found(tmp_path: Path) -> None:
    extra = {
        "f/shop/order__flow/old.py": "def main(): pass\n",
        "f/shop/order__flow/README.md": "a push does not look at it\n",
        "f/shop/gone.script.yaml": GOOD["f/shop/add.script.yaml"],
        "f/bare.py": "def main(): pass\n",
        "f/shop/label.py": "def main(path: str, file: dict = None): pass\n",
        "f/shop/Nightly.schedule.yaml": GOOD["f/shop/nightly.schedule.yaml"],
        "f/shop/query.sql": "select 1\n",
    }
    write(tmp_path, GOOD | extra)
    found = {(finding.file, finding.rule) for finding in check(tmp_path) if finding.severity is Severity.ERROR}
    assert found == {
        ("f/shop/order__flow/old.py", "unused-file"),
        ("f/shop/gone.script.yaml", "orphan-file"),
        ("f/bare.py", "bad-name"),
        ("f/shop/label.ts", "duplicate-path"),
        ("f/shop/nightly.schedule.yaml", "case-collision"),
        ("f/shop/query.sql", "unknown-language"),
    }


# A record, a key that it does not have, the record of the step's value, and what is said of it.
PLACES_OF_KEYS = [
    ("RawScript", "timeout", "", "it belongs to the step, beside `value`"),
    ("PathScript", "retry", "", "it belongs to the step, beside `value`"),
    ("WhileloopFlow", "stop_after_if", "", "it belongs to the step, beside `value`"),
    ("PathFlow", "suspend", "", "it belongs to the step, beside `value`"),
    ("BranchAll", "parallelism", "", "type forloopflow has it"),
    ("BranchOne", "expr", "", "each of `branches`"),
    ("FlowModule", "skip_failures", "ForloopFlow", "it belongs inside `value`"),
    ("FlowModule", "language", "RawScript", "it belongs inside `value`"),
    ("FlowModule", "required_events", "", "inside `suspend`"),
    ("FlowModule", "attempts", "", "inside `retry`"),
    ("FlowModule", "failure_module", "", "inside the flow's `value`"),
    ("FlowModule", "if", "", "`skip_if: {expr: …}`"),
    ("FlowModule", "rety", "", "did you mean retry?"),
    ("Flow", "modules", "", "inside the flow's `value`"),
    ("Flow", "same_worker", "", "inside the flow's `value`"),
    ("Flow", "error_handler", "", "`failure_module`"),
    ("Flow", "retry", "", "it belongs to a step"),
    ("FlowValue", "schema", "", "at the top of flow.yaml"),
    ("FlowValue", "summary", "", "at the top of flow.yaml"),
    ("FlowValue", "stop_after_if", "", "it belongs to a step"),
    ("PredicateBranch", "default", "", "beside `branches`"),
    ("Branch", "skip_failures", "", "did you mean skip_failure?"),
    ("Retry", "attempts", "", "below `constant` or `exponential`"),
    ("ConstantRetry", "multiplier", "", "below `exponential`"),
    ("ConstantRetry", "retry_if", "", "beside `constant`"),
    ("Suspend", "continue_on_error", "", "beside `suspend`"),
    ("StopAfterIf", "message", "", "`error_message`"),
    ("Script", "retry", "", "the flow's step, the schedule or the trigger"),
    ("Script", "suspend", "", "it belongs to the step that runs this"),
    ("Script", "properties", "", "inside `schema`"),
    ("Script", "schedule", "", "PATH.schedule.yaml"),
    ("Script", "env", "", "`envs`"),
    ("Schedule", "cron", "", "`schedule`"),
    ("Schedule", "error_handler", "", "on_failure"),
    ("Schedule", "constant", "", "inside `retry`"),
    ("Schedule", "route_path", "", "HTTP trigger"),
    ("http", "error_handler", "", "error_handler_path"),
    ("http", "schedule", "", "PATH.schedule.yaml"),
    ("Config", "overrides", "", "below a workspace's name"),
    ("Resource", "is_secret", "", "a variable"),
    ("Flow", "bogus", "", ""),
]


@pytest.mark.parametrize(("record", "key", "own", "said"), PLACES_OF_KEYS)
def test_of_a_misplaced_key_is_said_where_it_belongs(record: str, key: str, own: str, said: str) -> None:
    names = sorted(names_of(record))
    assert names and key not in names
    told = where_it_belongs(record, key, names, own)
    assert said in told and bool(told) == bool(said)


ASKS_WRONGLY = [
    '"c" in results',
    "'c' in results ? 1 : 2",
    "Object.hasOwn(results, 'c')",
    "results.hasOwnProperty('c')",
    "Object.prototype.hasOwnProperty.call(results, 'c')",
    "Reflect.has(results, 'c')",
    "({...results}).c",
    "[...results]",
    "Object.keys(results).includes('c')",
    "Object.entries(results).length",
    "JSON.stringify(results)",
    "for (const k in results) { return k } return null",
    "results",
    "[results]",
    "const r = results; return r.c",
    "const {c} = results; return c ? 1 : 2",
    "const {c = 3} = results; return c",
    "const {c, ...rest} = results; return rest",
    "typeof results.c !== 'undefined'",
    "results.c === undefined",
    "void 0 !== results?.c",
    "results['c'].x",
    "results['c'] ?? 'no'",
    "results?.['c']?.x",
    "results[flow_input.k].x",
    "results[`c`] ? 1 : 2",
]
ASKS_RIGHTLY = [
    "results.c ?? null",
    "results?.c?.text ?? 'none'",
    'results["c"]?.x',
    "results['c']",
    "return results['c']",
    "(await results['c']).x",
    "results && results.c",
    "results.c == null",
    "results.c === null",
    "'x' in results.c",
    "typeof results.c === 'string'",
    "Object.keys(results.c)",
    "({...results.c})",
    "const {c} = results; return await c",
    "const results = {a: 1}; return 'a' in results",
    "flow_input.results",
    "'results'",
    "results.c.x === undefined",
]


@pytest.mark.parametrize("expression", ASKS_WRONGLY)
def test_what_results_cannot_tell_is_found(expression: str) -> None:
    assert misuses(expression)


@pytest.mark.parametrize("expression", ASKS_RIGHTLY)
def test_what_results_can_tell_is_left_alone(expression: str) -> None:
    assert not misuses(expression)


QUIET: dict[str, dict[str, str]] = {
    "resources and variables that no push takes": {
        "wmill.yaml": GOOD["wmill.yaml"] + "skipResources: true\nskipVariables: true\nskipResourceTypes: true\n",
        "f/shop/store.resource.yaml": "value: {password: clear}\nresource_type: c_store\nis_oauth: false\n",
        "f/shop/currency.variable.yaml": "anything: 1\n",
    },
    "scripts that no push takes": {
        "wmill.yaml": "includes:\n  - f/**\nskipScripts: true\nskipFlows: true\nskipApps: true\nnonDottedPaths: true\n"
        "includeSchedules: false\nincludeTriggers: false\n",
        "f/shop/add.script.yaml": "anything: 1\n",
    },
    "schedules and triggers that are left out on purpose": {
        "wmill.yaml": GOOD["wmill.yaml"]
        .replace("includeSchedules: true", "includeSchedules: false")
        .replace("includeTriggers: true", "includeTriggers: false"),
        "f/shop/nightly.schedule.yaml": "anything: 1\n",
    },
    "a Deno script that imports nothing": {
        "f/shop/bare.deno.ts": "export async function main() { return 1 }\n",
        "f/shop/bare.script.lock": "",
        "f/shop/bare.script.yaml": "summary: ''\ndescription: ''\nlock: '!inline f/shop/bare.script.lock'\n"
        "kind: script\n"
        "schema:\n  $schema: https://json-schema.org/draft/2020-12/schema\n  type: object\n  properties: {}\n"
        "  required: []\n",
    },
    "a default that is a name": {
        "f/shop/add.py": "UNIT = 'kg'\n\n\ndef main(a: int, b: int = 1, unit: str = UNIT) -> dict:\n    return {}\n",
    },
    "a bundle of its own in a folder": {
        "other/wmill.yaml": "includes:\n  - f/**\n",
        "other/f/x/y__flow/flow.yaml": "summary: ''\n",
    },
}


@pytest.mark.parametrize("what", QUIET)
def test_nothing_is_found_in(what: str, tmp_path: Path) -> None:
    write(tmp_path, GOOD | QUIET[what])
    # A workspace's other items may well be there when no push takes them.
    assert [finding for finding in check(tmp_path) if finding.rule not in ("outside-path", "stale-hash")] == []


def test_a_flow_outside_of_f_and_u_is_named(tmp_path: Path) -> None:
    write(tmp_path, GOOD | {"flows/order.flow/flow.yaml": "summary: ''\n", "tests/f/x/y__flow/flow.yaml": "a: 1\n"})
    assert [(finding.file, finding.rule) for finding in check(tmp_path)] == [
        ("flows/order.flow/flow.yaml", "outside-path")
    ]


def test_a_step_inside_a_branch_may_be_read_where_null_is_expected(tmp_path: Path) -> None:
    flow = GOOD["f/shop/order__flow/flow.yaml"]
    for expression in ("results.many ?? null", "results.many?.x ?? 1", "results.many == null", "results.many ? 1 : 2"):
        changed = flow.replace("""previous_result ? "results.no" : flow_input.unit""", expression)
        write(tmp_path, GOOD | {"f/shop/order__flow/flow.yaml": changed})
        assert check(tmp_path) == []


def test_a_preprocessors_script_needs_no_main(tmp_path: Path) -> None:
    flow = GOOD["f/shop/order__flow/flow.yaml"].replace(
        "  failure_module:",
        "  preprocessor_module:\n    id: preprocessor\n    value:\n      type: script\n      input_transforms: {}\n"
        "      path: f/shop/prepare\n  failure_module:",
    )
    code = {"f/shop/prepare.py": "def preprocessor(event: dict) -> dict:\n    return event\n"}
    write(tmp_path, GOOD | code | {"f/shop/order__flow/flow.yaml": flow})
    assert {finding.rule for finding in check(tmp_path)} == {"missing-metadata"}


@given(st.text(max_size=200))
def test_any_text_is_a_document_or_says_why_not(text: str) -> None:
    try:
        read(text)
    except NotYaml as error:
        assert error.line >= 1


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("results.x?.[")
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


PLACES = [(name, way) for name, text in GOOD.items() if name.endswith(".yaml") for way in places(yaml.safe_load(text))]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(PLACES), VALUES)
def test_no_value_at_any_place_gives_a_traceback(place: tuple[str, tuple[Any, ...]], value: Any) -> None:
    name, way = place
    with tempfile.TemporaryDirectory() as folder:
        text = yaml.safe_dump(put(yaml.safe_load(GOOD[name]), way, value), allow_unicode=True)
        write(Path(folder), GOOD | {name: text})
        check(Path(folder))


def flexcore(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flexcore", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def test_the_command_says_by_its_exit_code_what_it_found(tmp_path: Path) -> None:
    assert flexcore("check", "--root", str(tmp_path)).returncode == 2
    write(tmp_path, GOOD)
    assert flexcore("check", "--root", str(tmp_path)).returncode == 0
    (tmp_path / "f/shop/currency.variable.yaml").write_text("description: x\nis_secret: false\nscret: 1\nvalue: EUR\n")
    told = flexcore("check", "--root", str(tmp_path))
    assert told.returncode == 1
    assert "f/shop/currency.variable.yaml:3:1: unknown-key" in told.stdout
    assert "did you mean is_secret?" in told.stdout
    told = flexcore("check", "--json", "--root", str(tmp_path))
    assert told.returncode == 1
    assert [(f["file"], f["line"], f["rule"]) for f in json.loads(told.stdout) if f["severity"] == "error"] == [
        ("f/shop/currency.variable.yaml", 3, "unknown-key")
    ]


CLEAR_TEXT = [
    ("REDIS_URL", "redis://:pa55word@redis:6379/0"),
    ("AUTH", "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghijklmnop"),
    ("BASIC_AUTH", "admin:changeme"),
    ("HOOK", "https://hooks.slack.com/services/T000/B000/abcdefghijklmnop"),
    ("CONN", "Server=db;User Id=sa;Password=Secr3t!;"),
    ("STORE", "DefaultEndpointsProtocol=https;AccountName=x;AccountKey=abcdEFGH1234=="),
    ("PGPASSWORD", "s3cret"),
    ("ANY", "ghp_abcdefghijklmnopqrstuvwxyz012345"),
]
NO_SECRETS = [
    ("API_KEY", "$var:f/x/key"),
    ("PASSWORD", "${DB_PASSWORD}"),
    ("PASSWORD_FILE", "/run/secrets/pw"),
    ("TOKEN_URL", "https://auth.example.test/token"),
    ("MAX_TOKENS", "4096"),
    ("PRIMARY_KEY", "id"),
    ("DSN", "postgres://app:${PW}@db/app"),
    ("DSN", "postgres://app:<password>@db/app"),
    ("CONN", "Server=db;Password=%PW%;"),
    ("URL", "http://host:8080/path@v1"),
    ("REMOTE", "git@github.com:org/repo.git"),
    ("IMAGE", "registry:5000/x@sha256:abc"),
]


@pytest.mark.parametrize(("name", "value"), CLEAR_TEXT)
def test_a_secret_in_clear_text_is_recognized_by_name_or_shape(name: str, value: str) -> None:
    assert looks_secret(name, value)


@pytest.mark.parametrize(("name", "value"), NO_SECRETS)
def test_what_only_looks_like_a_secret_is_left_alone(name: str, value: str) -> None:
    assert not looks_secret(name, value)


UNREADABLE = {
    "Python that cannot be parsed, without metadata": ("f/shop/odd.py", "def main(:\n", "unparsable"),
    "an inline file's name without quotes": (
        "f/shop/odd__flow/flow.yaml",
        "summary: ''\nvalue:\n  modules:\n    - id: a\n      value:\n        type: rawscript\n"
        "        content: !inline a.py\n        language: python3\n",
        "yaml-syntax",
    ),
    "a form that is text": (
        "f/shop/odd__flow/flow.yaml",
        "summary: ''\nvalue: {modules: []}\nschema: x\n",
        "wrong-type",
    ),
    "a form whose fields are a list": (
        "f/shop/odd__flow/flow.yaml",
        "summary: ''\nvalue: {modules: []}\nschema: {properties: [x]}\n",
        "wrong-type",
    ),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_a_file_that_cannot_be_read_is_named(what: str, tmp_path: Path) -> None:
    file, text, rule = UNREADABLE[what]
    write(tmp_path, GOOD | {file: text})
    assert (file, rule) in {(finding.file, finding.rule) for finding in check(tmp_path)}


def test_an_inline_preprocessor_with_a_main_alone_is_named(tmp_path: Path) -> None:
    module = (
        "  preprocessor_module:\n    id: preprocessor\n    value:\n      type: rawscript\n"
        '      content: "def {name}(event):\\n    return event\\n"\n'
        "      input_transforms: {{}}\n      lock: '# py: 3.11'\n      language: python3\n  failure_module:"
    )
    flow = "f/shop/order__flow/flow.yaml"
    said = {}
    for name in ("main", "preprocessor"):
        write(tmp_path, GOOD | {flow: GOOD[flow].replace("  failure_module:", module.format(name=name), 1)})
        said[name] = [finding.message for finding in check(tmp_path) if finding.rule in ("no-main", "missing-argument")]
    assert ["function called preprocessor" in text for text in said["main"]] == [True]
    assert said["preprocessor"] == []


def test_code_of_bytes_and_a_link_to_nothing_are_named(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    (tmp_path / "f/shop/odd.py").write_bytes(b"# caf\xe9\ndef main():\n    return 1\n")
    (tmp_path / "f/shop/gone.variable.yaml").symlink_to("/nowhere/at/all")
    said = {finding.file: finding.message for finding in check(tmp_path) if finding.rule == "not-utf8"}
    assert "save it as UTF-8" in said["f/shop/odd.py"]
    assert "a link to /nowhere/at/all" in said["f/shop/gone.variable.yaml"]
