"""What lines between plugins say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from f.flexcore.lib.meltano.remote.singer import (
    MAX_RECENT_BYTES,
    ConsumerWatch,
    LineRefused,
    ProducerWatch,
    column_types,
    find_catalog_problem,
    find_problem,
    json_type,
)
from f.flexcore.lib.meltano.run_command import has_streams

SCHEMA = '{"type": "SCHEMA", "stream": "s", "schema": {"properties": {"id": {"type": "integer"}}}}\n'
ROW = '{"type": "RECORD", "stream": "s", "record": {"id": 1}}\n'


def watched(*lines: str, last: bool = True, failed: bool = False) -> dict[str, list[dict[str, Any]]]:
    """What a watch of tap-a reports of the lines, by kind."""
    found: dict[str, list[dict[str, Any]]] = {}
    watch = ProducerWatch("tap-a", lambda kind, content: found.setdefault(kind, []).append(content), last)
    for line in lines:
        watch.writeline(line)
    watch.report_end(failed)
    return found


def test_rows_are_counted_in_whatever_way_a_message_is_written() -> None:
    ways = [
        ROW,
        '{"type":"RECORD","stream":"s","record":{"id":2},"version":1}\n',
        '{"record": {"stream": "t", "type": "STATE"}, "stream": "s", "type": "RECORD"}\n',
        ' {"type": "RECORD", "stream": "s\\u0041", "record": {}}\n',
        '{"type": "RECORD", "stream": "s", "record": {}}',
    ]
    found = watched(SCHEMA, *ways, *ways)
    assert found["rows"] == [{"rows": {"s": 8, "sA": 2}, "batches": {}}]
    assert [item["problem"] for item in found["odd_line"]] == ["a record of the stream 'sA' before its schema"]


def test_only_what_the_target_gets_is_counted_and_typed() -> None:
    assert watched(SCHEMA, ROW, last=False) == {}


def test_a_schema_is_reported_again_only_when_it_says_something_else() -> None:
    other = SCHEMA.replace("integer", "number")
    found = watched(SCHEMA, ROW, SCHEMA, other)["schema"]
    assert [item["columns"] for item in found] == [{"id": "integer"}, {"id": "number"}]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (ROW, ""),
        ('{"type": "STATE", "value": {}}', ""),
        ('{"type": "ACTIVATE_VERSION", "stream": "s", "version": 1}', ""),
        ("", "an empty line"),
        ("Fetched page 1 of 2", "a line that is not a Singer message"),
        ("[1, 2]", "a line that is not a Singer message (it has no type)"),
        ('{"level": "info"}', "a line that is not a Singer message (it has no type)"),
        ('{"type": "RECORD", "stream"', "a line of broken JSON"),
        ("\ufeff" + ROW, "a line that begins with a byte order mark"),
        ('{"type": "LOG"}', "a message of the unknown type 'LOG'"),
        ('{"type": "RECORD", "record": {}}', "a RECORD without a stream"),
        ('{"type": "RECORD", "stream": "s", "record": null}', "a RECORD whose record is not an object"),
        ('{"type": "SCHEMA", "stream": "s"}', "a SCHEMA whose schema is not an object"),
        ('{"type": "STATE", "value": "2024"}', "a STATE whose value is not an object"),
        ('{"type": "STATE"}', "a STATE whose value is not an object"),
        ('{"type": "RECORD", "stream": "s", "record": {"a": NaN}}', "a line with NaN, which is not JSON"),
    ],
)
def test_a_line_that_is_not_a_message_has_its_problem_named(line: str, problem: str) -> None:
    assert find_problem(line) == problem


def test_a_broken_row_is_found_among_the_last_lines_once_the_run_has_failed() -> None:
    broken = ROW.replace("1}}", "1 2}}")
    assert "odd_line" not in watched(SCHEMA, ROW, broken, ROW)
    (odd,) = watched(SCHEMA, ROW, broken, ROW, failed=True)["odd_line"]
    assert odd["number"] == 3 and odd["problem"] == "a line of broken JSON" and odd["line"] == broken.strip()
    half = ROW.replace('{"id": 1}', '{"id": "\\ud83d"}')
    (odd,) = watched(SCHEMA, ROW, half, failed=True)["odd_line"]
    assert odd["problem"] == "a line with half of a surrogate pair"
    assert "odd_line" not in watched(SCHEMA, ROW, half.replace("d83d", "d83d\\ude00"), failed=True)
    long = json.dumps({"type": "RECORD", "stream": "s", "record": {"text": "x" * (MAX_RECENT_BYTES // 2)}}) + "\n"
    assert "odd_line" not in watched(SCHEMA, ROW, broken, long, long, failed=True)


def test_a_state_that_json_cannot_hold_is_refused_and_one_that_loses_digits_is_warned_of_once() -> None:
    def state(value: str) -> str:
        return f'{{"type": "STATE", "value": {{"bookmarks": [{{"at": {value}}}]}}}}\n'

    assert watched(state("18446744073709551615"), state("0.1"), state("1E+3")) == {
        "rows": [{"rows": {}, "batches": {}}]
    }
    (warning,) = watched(state("0.10000000000000000001"), state("0.10000000000000000001"))["warning"]
    assert "bookmarks[0].at, of which Meltano keeps 0.1" in warning["text"]
    with pytest.raises(LineRefused, match=r"state of tap-a holds -Infinity at bookmarks\[0\]\.at"):
        watched(state("-Infinity"))


def test_what_a_target_prints_besides_states_is_named() -> None:
    found: list[dict[str, Any]] = []
    watch = ConsumerWatch("target-x", lambda _, content: found.append(content))
    for line in ('{"bookmarks": {}}\n', "Loaded 3 rows\n"):
        watch.writeline(line)
    assert [(item["plugin"], item["number"], item["line"]) for item in found] == [("target-x", 2, "Loaded 3 rows")]


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "string"}, "string"),
        ({"type": ["null", "string"]}, "string"),
        ({"oneOf": [{"type": ["null"]}, {"type": "string", "format": "date-time"}]}, "string"),
        ({"type": ["null", "integer", "string"]}, "string"),
        ({"type": ["integer", "number"]}, "number"),
        ({"anyOf": [{"type": "integer"}, {"type": ["number", "null"]}]}, "number"),
        ({"type": ["object", "array", "null"]}, "string"),
        ({"enum": [1, 2, None]}, "integer"),
        ({"type": "null"}, ""),
        ({}, ""),
        (None, ""),
        (True, ""),
    ],
)
def test_the_type_of_a_column_holds_all_that_its_schema_allows(schema: Any, kind: str) -> None:
    assert json_type(schema) == kind
    assert column_types({"properties": {"a": schema}}) == {"a": kind}


def test_a_schema_without_properties_has_no_columns() -> None:
    assert column_types(None) == column_types({}) == column_types({"properties": []}) == {}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"streams": [{"tap_stream_id": "a"}]}\n', ""),
        ('{"streams": []}', ""),
        (" \n", "nothing"),
        ("INFO loading\n{}", "no catalog; it begins with: INFO loading"),
        ('{"streams": []}\nDone', "more than a catalog: Done"),
        ('{"streams": [{"tap_', 'broken JSON; it begins with: {"streams": [{"tap_'),
        ('\ufeff{"streams": []}', "a byte order mark before its catalog"),
        ('{"error": "no"}', 'JSON that is not a catalog: {"error": "no"}'),
        ("[]", "JSON that is not a catalog: []"),
        ('{"streams": [{"stream": "a"}]}', "a catalog whose streams[0] has no tap_stream_id"),
    ],
)
def test_what_there_is_instead_of_a_catalog_is_quoted(text: str, problem: str) -> None:
    assert find_catalog_problem(text) == problem


@pytest.mark.parametrize(
    ("text", "kept"),
    [('{"streams": [{"tap_stream_id": "a"}]}', True), ('{"streams": []}', False), ("", False), ("INFO x", False)],
)
def test_only_a_catalog_with_streams_is_kept(tmp_path: Any, text: str, kept: bool) -> None:
    assert has_streams(tmp_path / "none.json") is False
    (tmp_path / "catalog.json").write_text(text)
    assert has_streams(tmp_path / "catalog.json") is kept
