"""meltano/run over lines as taps really print them: names of streams, types that change, lines that are no message,
discoveries that print something else, selections without effect. Real Meltano, a tap that prints a file, and the
published target-jsonl."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core.contracts import DataManifest, StepResult
from f.flexcore.lib.core.errors import ExecutionFailed, FlexcoreError, InvalidInput
from tests.meltano.conftest import HERE, PROJECT
from tests.meltano.test_run import run

pytestmark = pytest.mark.slow

REPLAY = """
  - name: tap-replay
    namespace: tap_replay
    executable: ./toy_replay.py
    capabilities: {capabilities}
    settings:
    - {{name: messages, value: messages.jsonl}}
    - {{name: catalog, value: catalog.json}}
    - {{name: discover, kind: integer, value: 0}}
    - {{name: honest, kind: boolean, value: true}}
{extras}"""
PUBLISHED = """pip_url: target-jsonl==0.1.4
    executable: target-jsonl
"""
# A target that replaces what it does not like in a file's name, and splits by time.
SIMPLE = """#!/usr/bin/env python3
import json, re, sys
from pathlib import Path

folder = Path(json.loads(Path(sys.argv[2]).read_text())["destination_path"])
for line in sys.stdin:
    message = json.loads(line)
    if message["type"] == "RECORD":
        name = re.sub("[^a-z0-9]", "_", message["stream"].lower())
        with (folder / f"{name}-20260102T03040{message['record']['id'] % 2}.jsonl").open("a") as file:
            file.write(json.dumps(message["record"]) + "\\n")
    if message["type"] == "STATE":
        print(json.dumps(message["value"]), flush=True)
"""


def schema(stream: str, **columns: Any) -> str:
    properties = {name: {"type": kind} for name, kind in columns.items()}
    message = {"type": "SCHEMA", "stream": stream, "schema": {"properties": properties}, "key_properties": []}
    return json.dumps(message)


def record(stream: str, **values: Any) -> str:
    return json.dumps({"type": "RECORD", "stream": stream, "record": values})


def state(**value: Any) -> str:
    return json.dumps({"type": "STATE", "value": value})


@pytest.fixture
def replay(folder: Path, project: dict[str, Any]) -> Callable[..., StepResult]:
    """Runs the tap over these lines; catalog: {stream: columns} to discover, or the text that the discovery prints."""

    def begin(
        lines: Iterable[str | bytes],
        catalog: dict[str, list[str]] | str | None = None,
        capabilities: str = "",
        extras: str = "",
        simple: bool = False,
        others: Sequence[str] = (),
        **arguments: Any,
    ) -> StepResult:
        content = b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines)
        (folder / "messages.jsonl").write_bytes(content)
        can = capabilities or ("[state]" if catalog is None else "[state, catalog, discover]")
        entry = REPLAY.format(capabilities=can, extras=extras)
        text = PROJECT.replace("  loaders:", f"{entry}\n  loaders:", 1)
        if simple:
            text = text.replace(PUBLISHED, "executable: ./simple_target.py\n")
        (folder / "meltano.yml").write_text(
            text.replace("- name: dev\n", f"- name: dev\n{arguments.pop('dev', '')}", 1)
        )
        shutil.copy(HERE / "toy_replay.py", folder)
        (folder / "simple_target.py").write_text(SIMPLE)
        (folder / "simple_target.py").chmod(0o755)
        (folder / "catalog.json").write_text(
            catalog if isinstance(catalog, str) else json.dumps(discovered(catalog or {}))
        )
        return run(project, "tap-replay", *others, **arguments)

    return begin


def discovered(streams: dict[str, list[str]]) -> dict[str, Any]:
    def entry(breadcrumb: list[str]) -> dict[str, Any]:
        return {"breadcrumb": breadcrumb, "metadata": {"inclusion": "available"}}

    return {
        "streams": [
            {
                "tap_stream_id": name,
                "stream": name,
                "schema": {"properties": {column: {"type": "string"} for column in columns}},
                "metadata": [entry([]), *(entry(["properties", column]) for column in columns)],
            }
            for name, columns in streams.items()
        ]
    }


def rows_of(result: StepResult) -> dict[str, int | None]:
    assert isinstance(result.output, DataManifest)
    return {item.name: item.rows for item in result.output.streams}


def columns_of(result: StepResult) -> dict[str, str]:
    assert isinstance(result.output, DataManifest)
    (stream,) = result.output.streams
    return stream.columns


NAMES = [
    "sales.orders",
    "sales.returns",
    "events_20240101",
    "events_20240102",
    "events",
    "Orders",
    "orders",
    "a stream: with signs",
    "größe.цвет",
    "x.jsonl",
    "2024-01-02",
]


def test_every_stream_has_the_name_that_the_tap_gave_it_whatever_it_looks_like(
    replay: Callable[..., StepResult],
) -> None:
    lines = [line for name in NAMES for line in (schema(name, id="integer"), record(name, id=1))]
    result = replay([*lines, record("events", id=2), state(a=1)])
    wanted = {name: 1 + (name == "events") for name in NAMES}
    assert rows_of(result) == wanted and result.data["streams"] == wanted
    assert "row_counts_differ" not in result.data and result.data["state_advanced"] is True


def test_files_that_a_target_splits_by_time_are_one_stream_with_its_own_name(replay: Callable[..., StepResult]) -> None:
    lines = [schema("Sales Orders", id="integer"), *(record("Sales Orders", id=number) for number in range(4))]
    result = replay(lines, simple=True)
    assert rows_of(result) == {"Sales Orders": 4}
    assert isinstance(result.output, DataManifest) and len(result.output.streams[0].files) == 2


def test_two_streams_that_a_target_wrote_into_one_file_are_named(replay: Callable[..., StepResult]) -> None:
    lines = [line for name in ("a b", "a:b") for line in (schema(name, id="integer"), record(name, id=1))]
    with pytest.raises(InvalidInput, match=r"target-jsonl wrote the streams a b, a:b into one file"):
        replay(lines, simple=True)


def test_a_stream_whose_name_cannot_be_a_files_name_is_named_when_its_target_fails(
    replay: Callable[..., StepResult],
) -> None:
    with pytest.raises(ExecutionFailed, match=r"target-jsonl failed .*a/b.*rename the stream with a mapping") as caught:
        replay([schema("a/b", id="integer"), record("a/b", id=1), state(a=1)])
    assert caught.value.category == "loader_failed"


def test_a_type_holds_what_every_schema_and_every_row_says(replay: Callable[..., StepResult]) -> None:
    rows = [record("s", id=number, amount=number, late=number, gone=None) for number in range(300)]
    lines = [
        schema("s", id="integer", amount="integer", gone=["null", "string"], late="integer"),
        *rows,
        schema("s", id="integer", amount="number", code=["null", "integer", "string"], big="integer"),
        record("s", id=2**70, amount=60.37, code=7, big=10**400, late=0.5, new=True),
        state(serial=18446744073709551615),
    ]
    result = replay(lines)
    assert columns_of(result) == {
        "id": "integer",
        "amount": "number",
        "late": "number",
        "gone": "string",
        "code": "string",
        "big": "integer",
        "new": "boolean",
    }


def test_nan_and_infinity_become_null_with_a_warning(replay: Callable[..., StepResult]) -> None:
    lines = [
        schema("s", id="integer", ratio="number", text="string"),
        '{"type": "RECORD", "stream": "s", "record": {"id": 1, "ratio": NaN, "text": "NaN and Infinity"}}',
        '{"type": "RECORD", "stream": "s", "record": {"id": 2, "ratio": -Infinity, "text": "x"}}',
        '{"type": "RECORD", "stream": "s", "record": {"id": 3, "ratio": 123456789012345678.123456789, "text": "x"}}',
    ]
    result = replay(lines)
    assert isinstance(result.output, DataManifest)
    content = Path(result.output.uri.removeprefix("file://"), "s.jsonl").read_text().splitlines()
    assert json.loads(content[0]) == {"id": 1, "ratio": None, "text": "NaN and Infinity"}
    assert json.loads(content[1])["ratio"] is None and "123456789012345678.123456789" in content[2]
    assert result.data["warnings"] == ["s: NaN and Infinity are not JSON and were replaced by null: ratio (2)"]


def test_a_state_with_nan_is_refused_and_does_not_move(replay: Callable[..., StepResult], worker: Any) -> None:
    lines = [schema("s", id="integer"), record("s", id=1)]
    with pytest.raises(ExecutionFailed, match=r"state of tap-replay holds NaN at bookmarks\.s") as caught:
        replay([*lines, '{"type": "STATE", "value": {"bookmarks": {"s": NaN}}}'])
    assert caught.value.subject == "tap-replay"
    worker("flow-2")
    assert replay([*lines, state(bookmarks={"s": 1})]).data["state_advanced"] is True


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "Fetched page 1 of 2 (api_token=abcdef123456)",
            r"printed a line that is not a Singer message .*line 2\).*Fetched",
        ),
        ('{"type": "RECORD", "stream": "s", "record": {"id": 1 2}}', r"a line of broken JSON .*line 2\)"),
        (b"\xef\xbb\xbf" + state().encode(), r"begins with a byte order mark"),
        (record("t", id=1), r"a record of the stream 't' before its schema"),
        (b'{"type": "RECORD", "stream": "s", "record": {"id": "caf\xe9"}}', r"not UTF-8"),
    ],
)
def test_a_line_that_the_target_fails_on_is_quoted_with_who_printed_it(
    replay: Callable[..., StepResult], worker: Any, line: str | bytes, said: str
) -> None:
    around = [schema("s", id=["integer", "string"]), record("s", id=1), state(a=1)]
    try:
        result = replay([around[0], line, *around[1:]])
    except FlexcoreError as error:
        assert isinstance(error, ExecutionFailed) and error.subject == "tap-replay"
        message = str(error)
        worker("flow-2")
        assert replay(around).data["state_advanced"] is True
    else:
        message = "\n".join(result.data["warnings"])
        assert rows_of(result)["s"] == 1
    assert_matches(message, said)
    assert "abcdef123456" not in message


def assert_matches(text: str, pattern: str) -> None:
    with pytest.raises(AssertionError, match=pattern):
        raise AssertionError(text)


@pytest.mark.parametrize("simple", [False, True])
def test_rows_that_come_as_files_are_not_lost_in_silence(replay: Callable[..., StepResult], simple: bool) -> None:
    """The published target fails over such a message, the other one passes it over."""
    batch = {"type": "BATCH", "stream": "s", "encoding": {"format": "jsonl"}, "manifest": ["file:///x.jsonl.gz"]}
    lines = [schema("s", id="integer"), record("s", id=1), json.dumps(batch), state(a=1)]
    with pytest.raises(FlexcoreError, match=r"tap-replay .*BATCH message.*Leave batch_config out") as caught:
        replay(lines, simple=simple)
    assert caught.value.subject == "tap-replay"


def test_a_schema_twice_and_versions_double_no_row(replay: Callable[..., StepResult]) -> None:
    version = json.dumps({"type": "ACTIVATE_VERSION", "stream": "s", "version": 1})
    once = [schema("s", id="integer"), version]
    result = replay([*once, record("s", id=1), *once, record("s", id=2), state(a=1)])
    assert rows_of(result) == {"s": 2} and result.data["state_advanced"] is True and "warnings" not in result.data


LINES = [
    schema("orders", id="integer", email="string"),
    record("orders", id=1, email="a@b.c"),
    schema("people", name="string"),
    record("people", name="Ada"),
    state(a=1),
]
CATALOG = {"orders": ["id", "email"], "people": ["name"]}


@pytest.mark.parametrize(
    ("printed", "code", "said"),
    [
        (
            "INFO loading 3 plugins\n" + json.dumps(discovered(CATALOG)),
            0,
            r"no catalog; it begins with: INFO loading 3",
        ),
        ("", 0, r"The discovery of tap-replay printed nothing"),
        ('{"error": "unauthorized", "token": "abcdef123456"}', 0, r'not a catalog: \{"error": "unauthorized"'),
        ('{"error": "unauthorized"}', 3, r'discovery of tap-replay failed with exit code 3: \{"error": "unauthorized"'),
    ],
)
def test_a_discovery_that_prints_no_catalog_is_quoted_and_not_kept(
    replay: Callable[..., StepResult], worker: Any, printed: str, code: int, said: str
) -> None:
    with pytest.raises(ExecutionFailed, match=said) as caught:
        replay(LINES, printed, config=[f"tap-replay.discover={code}"])
    assert caught.value.category == "extractor_failed" and caught.value.subject == "tap-replay"
    assert "abcdef123456" not in str(caught.value) + json.dumps(caught.value.details)
    worker("flow-2")
    assert rows_of(replay(LINES, CATALOG)) == {"orders": 1, "people": 1}


def test_a_large_catalog_in_one_line_is_read(replay: Callable[..., StepResult]) -> None:
    """Meltano's own reader ends at 64 KiB."""
    many = {f"table_{number}": ["id"] for number in range(500)}
    assert rows_of(replay(LINES, {**CATALOG, **many})) == {"orders": 1, "people": 1}


def test_an_empty_catalog_is_named_where_no_row_comes(replay: Callable[..., StepResult]) -> None:
    with pytest.raises(FlexcoreError, match=r"extracted no rows: The discovery of tap-replay has no stream"):
        replay([state(a=1)], '{"streams": []}')


@pytest.mark.parametrize(
    ("select", "said"),
    [
        (["ordres.*"], r"'ordres\.\*' matches no stream of its catalog \(orders, people.*Write 'orders\.\*'"),
        (["orders.*", "!orders.emial"], r"'!orders\.emial' matches no column of the stream orders.*'!orders\.email'"),
        (["!people.*"], r"only leaves out .* Begin with what to extract"),
        (["sales.refunds.*"], r"Write 'sales\\\\?\.refunds\.\*' \(a period of the stream's own name is escaped\)"),
    ],
)
def test_a_selection_of_the_request_without_effect_ends_before_the_tap_runs(
    replay: Callable[..., StepResult], select: list[str], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said) as caught:
        replay(LINES, {**CATALOG, "sales.refunds": ["id"]}, select=select)
    assert caught.value.subject == "select" and "Ada" not in caught.value.details["log_tail"]


OF_ENVIRONMENT = """  config:
    plugins:
      extractors:
      - name: tap-replay
        select: ['*.*', '!x.*']
"""


@pytest.mark.parametrize("capabilities", ["[state]", "[discover]"])
def test_a_selection_for_a_tap_that_takes_no_catalog_is_refused(
    replay: Callable[..., StepResult], capabilities: str
) -> None:
    with pytest.raises(InvalidInput, match=r"tap-replay takes no catalog .*select has no effect.*Add catalog"):
        replay(LINES, CATALOG, capabilities=capabilities, select=["orders.*"])


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ({"capabilities": "[state]", "extras": "    select: [orders.*]"}, r"select has no effect"),
        ({"capabilities": "[state]", "extras": "    metadata: {people: {selected: false}}"}, r"metadata has no effect"),
        ({"extras": "    select: ['*.*', '!peple.*']"}, r"'!peple\.\*' matches no stream .*'!people\.\*'"),
        ({"extras": "    metadata: {order: {replication-method: FULL_TABLE}}"}, r"metadata 'order' matches no stream"),
        ({"extras": "    catalog: own.json\n    select: [orders.*]"}, r"a catalog of its own .*select has no effect"),
        ({"dev": OF_ENVIRONMENT}, r"select '!x\.\*' matches no stream"),
    ],
)
def test_a_selection_of_the_project_without_effect_is_a_warning_of_the_result(
    replay: Callable[..., StepResult], folder: Path, where: dict[str, str], said: str
) -> None:
    own = discovered(CATALOG)
    for stream in own["streams"]:
        stream["metadata"][0]["metadata"]["selected"] = True
    (folder / "own.json").write_text(json.dumps(own))
    result = replay(LINES, CATALOG, **where)
    assert rows_of(result) == {"orders": 1, "people": 1}
    assert_matches("\n".join(result.data["warnings"]), said)


@pytest.mark.parametrize(
    ("capabilities", "select"),
    [
        ("[state, catalog, discover]", ["*.*", "!people", "!*.email"]),
        ("[properties, discover]", ["orders.*", "!orders.email"]),
    ],
)
def test_a_selection_with_effect_leaves_out_what_it_says_without_a_word(
    replay: Callable[..., StepResult], capabilities: str, select: list[str]
) -> None:
    result = replay(LINES, CATALOG, capabilities=capabilities, select=select)
    assert rows_of(result) == {"orders": 1} and list(columns_of(result)) == ["id"]
    assert "warnings" not in result.data


def test_a_tap_that_ignores_a_selection_of_the_request_hands_on_nothing(replay: Callable[..., StepResult]) -> None:
    with pytest.raises(ExecutionFailed, match=r"tap-replay ignores its catalog: it extracts the stream 'people'"):
        replay(LINES, CATALOG, select=["orders.*"], config=["tap-replay.honest=false"])


def test_a_pattern_for_several_taps_may_match_in_one_of_them_alone(
    replay: Callable[..., StepResult], project: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput, match=r"tap-toy: select 'x\.\*' matches no stream of its catalog \(orders\)"):
        replay(LINES, CATALOG, others=["tap-toy"], select=["people.*", "orders.*", "x.*"])


def test_rows_that_another_kind_of_target_gets_are_counted_without_metrics(
    replay: Callable[..., StepResult], project: dict[str, Any], tmp_path: Path
) -> None:
    project["env"] = {"TARGET_TOY_FILE": str(tmp_path / "rows")}
    result = replay(LINES, target="target-toy")
    assert result.data["streams"] == {"orders": 1, "people": 1} and result.metrics["rows"] == 2


def test_a_mapper_that_prints_something_other_than_messages_is_named(
    replay: Callable[..., StepResult], folder: Path
) -> None:
    text = (folder / "toy_mapper.py").read_text()
    (folder / "toy_mapper.py").write_text(
        text.replace("for line in sys.stdin:", "print('mapping')\nfor line in sys.stdin:")
    )
    with pytest.raises(
        ExecutionFailed, match=r"mapper-toy printed a line that is not .*'mapping'; target-jsonl failed"
    ) as caught:
        replay(LINES, mappings=["hide-names"])
    assert caught.value.subject == "mapper-toy" and caught.value.category == "mapper_failed"
