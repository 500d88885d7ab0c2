"""Files as people have them: what is in them is read as one table, or the file, the line and the cause are told."""

from __future__ import annotations

import bz2
import datetime as dt
import decimal
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from f.flexcore.lib.ray.remote import file_blocks
from f.flexcore.lib.ray.remote.read import detect_format
from f.flexcore.lib.ray.remote.shared_storage import Problem
from f.flexcore.lib.ray.remote.stream_profile import classify_column
from tests.ray.learning import parts_of, rows_of, stream_of

Json = dict[str, Any]


def written(folder: Path, *contents: str | bytes, suffix: str = "jsonl") -> list[Path]:
    files = []
    for number, content in enumerate(contents):
        path = folder / f"part-{number}.{suffix}"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        files.append(path)
    return files


def kinds(stream: Any) -> Json:
    return {name: classify_column(item) for name, item in stream.columns.items()}


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('{"a": 1}\n{"a": null}\n\n{"b": "x"}', [{"a": 1, "b": None}, {"a": None, "b": None}, {"a": None, "b": "x"}]),
        ('[{"a": 1},\n {"a": "two"}]', [{"a": "1"}, {"a": "two"}]),
        ('{\n  "a": 1\n}\n{"a": 2}', [{"a": 1}, {"a": 2}]),
        ('{"a": 18446744073709551616}\n{"a": -1}', [{"a": "18446744073709551616"}, {"a": "-1"}]),
        ('{"a": 18446744073709551615}', [{"a": 18446744073709551615}]),
        ('{"a": 9007199254740993}', [{"a": 9007199254740993}]),
        ('{"a": 1e400}\n{"a": 1}', [{"a": float("inf")}, {"a": 1.0}]),
        ('{"a": "2024-01-01"}', [{"a": "2024-01-01"}]),
        ('{"a": [1, "two"]}\n{"a": {"b": 1}}', [{"a": '[1, "two"]'}, {"a": '{"b": 1}'}]),
        ('{"a": true}\n{"a": 1}', [{"a": "true"}, {"a": "1"}]),
        ('{"a": "\\ud800"}', [{"a": "?"}]),
        ('{"": 1, "a": 2}', [{"a": 2}]),
        ('{"a": "x\\ny", "ü ß": "東京"}\r\n', [{"a": "x\ny", "ü ß": "東京"}]),
    ],
)
def test_a_value_of_json_is_read_as_it_is_written(tmp_path: Path, text: str, rows: list[Json]) -> None:
    assert rows_of("jsonl", written(tmp_path, text)) == rows


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_no_json_are_no_values(tmp_path: Path, word: str) -> None:
    stream = stream_of("jsonl", written(tmp_path, f'{{"a": 1.5, "b": [1, "x"]}}\n{{"a": {word}, "b": 2}}\n'))
    assert stream.columns["a"]["distinct"] == {"1.5"}


@pytest.mark.parametrize(
    ("text", "line", "cause"),
    [
        ('{"a": 1}\n{"a": 2\n{"a": 3}\n', 2, "not valid JSON at column 8"),
        ('{"a": 1}\n\n{"a": tru}', 3, "not valid JSON"),
        ('{"a": 1}\n[1, 2]', 2, "an array where an object is needed"),
        ("5\n", 1, "a number where an object is needed"),
        ('[{"a": 1},\n {"a": }]', 2, "not valid JSON"),
        ('[1, {"a": 1}]', 1, "item 1 of its array is a number"),
        (b'{"a": "x"}\n{"a": "Z\xfcrich"}\n', 2, "the byte 0xfc is not UTF-8"),
    ],
)
def test_a_line_that_is_no_row_is_told(tmp_path: Path, text: str | bytes, line: int, cause: str) -> None:
    with pytest.raises(Problem) as caught:
        stream_of("jsonl", written(tmp_path, text))
    told = caught.value.flexcore
    assert (told["type"], told["details"]["line"]) == ("DataError", line)
    assert told["message"].startswith(f"part-0.jsonl line {line}: ")
    assert cause in told["message"]
    assert told["remedy"] and "xtract it again" not in told["remedy"]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("[" * 100_000 + "]" * 100_000, "nested"),
        ('{"k":' * 400 + "1" + "}" * 400, "nested"),
        ('["[[[", ' + "[" * 150 + '"\\"]"' + "]" * 150 + "]", "nested"),
        ("9" * 5000, "unusable"),
    ],
    ids=["100,000 lists", "400 objects", "brackets in text", "5,000 digits"],
)
def test_a_value_that_python_cannot_hold_stops_no_other_column(tmp_path: Path, value: str, kind: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f'{{"x": {number}, "z": {value}}}\n' for number in range(3)))
    assert [row["x"] for row in rows_of("jsonl", [path])] == [0, 1, 2]
    assert classify_column(stream_of("jsonl", [path]).columns["z"]) == kind
    assert rows_of("jsonl", [path], ["x"]) == [{"x": 0}, {"x": 1}, {"x": 2}]


def test_what_is_never_closed_is_told_however_deep_it_is(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"x": 1}\n{"x": ' + "[" * 300 + "]" * 200 + "}\n")
    with pytest.raises(Problem) as caught:
        stream_of("jsonl", [path])
    assert caught.value.flexcore["message"].startswith("rows.jsonl line 2: it is not valid JSON")


def test_lines_are_counted_over_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_blocks, "BLOCK_BYTES", 64)
    lines = [json.dumps({"n": number, "text": "ü" * (number % 7)}, ensure_ascii=False) for number in range(100)]
    files = written(tmp_path, "\n".join(lines))
    assert len(parts_of("jsonl", files)) > 10
    assert [row["n"] for row in rows_of("jsonl", files)] == list(range(100))
    lines[70] = "{"
    with pytest.raises(Problem, match="line 71"):
        stream_of("jsonl", written(tmp_path, "\n".join(lines)))


def test_the_first_error_is_told_and_no_value_of_the_data(tmp_path: Path) -> None:
    good = '{"a": 1}\n'
    bad: list[str | bytes] = [
        good + '{"a": "secret-one"',
        good + good + '{"a": "secret-two"',
        b'{"a": "secret-three \xfc"}',
    ]
    for first, second, name in ((good, bad[0], "part-1"), (bad[1], bad[0], "part-0"), (good, bad[2], "part-1")):
        with pytest.raises(Problem, match=rf"{name}\.jsonl line") as caught:
            stream_of("jsonl", written(tmp_path, first, second))
        assert "secret" not in json.dumps(caught.value.flexcore)


@pytest.mark.parametrize(
    "declared", [{}, {"a": "integer", "b": "string", "c": "number"}, {"a": "string", "d": "string"}]
)
def test_what_a_manifest_declares_does_not_beat_the_rows(tmp_path: Path, declared: Json) -> None:
    files = written(tmp_path, '{"a": 1, "b": 2, "c": "x"}\n', '{"a": 60.37, "b": null, "c": 3}\n')
    found = kinds(stream_of("jsonl", files, None, declared))
    assert (found["a"], found["b"], found["c"]) == ("number", "number", "category")
    assert found.get("d", "empty") == "empty"


def test_columns_keep_the_order_of_the_file(tmp_path: Path) -> None:
    files = written(tmp_path, '{"n": 1, "t": "x", "a": "2024-01-01", "f": true}\n{"more": 1}\n')
    for declared in ({}, {"t": "string", "f": "boolean", "a": "string"}):
        assert list(stream_of("jsonl", files, None, declared).columns) == ["n", "t", "a", "f", "more"]


def test_only_the_columns_that_are_asked_for_are_read(tmp_path: Path) -> None:
    files = written(
        tmp_path, '{"x": 1, "id": 99999999999999999999, "m": [1, "a"], "m": 2}\n{"x": 2, "id": "n", "m": {}}\n'
    )
    stream = stream_of("jsonl", files, ["x"])
    assert kinds(stream) == {"x": "number"}
    assert stream.names == ["x", "id", "m"]
    assert stream.twice == {}
    assert stream_of("jsonl", files).twice == {"m": "part-0.jsonl line 1 has it twice"}


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_files_of_which_one_has_no_values_are_one_table(tmp_path: Path, suffix: str, order: tuple[int, ...]) -> None:
    contents = {
        "jsonl": ['{"y": 1, "city": null}\n', '{"y": 2.5, "city": "Lima"}\n', '{"y": 3, "city": "Oslo"}\n'],
        "csv": ["y,city\n1,\n", "y,city\n2.5,Lima\n", "y,city\n3,Oslo\n"],
    }[suffix]
    files = written(tmp_path, *[contents[at] for at in order], suffix=suffix)
    assert kinds(stream_of(suffix, files)) == {"y": "number", "city": "category"}


def test_an_empty_file_beside_full_ones_has_no_rows(tmp_path: Path) -> None:
    assert stream_of("jsonl", written(tmp_path, "", '{"a": 1}', "\n")).rows == 1
    assert stream_of("csv", written(tmp_path, "", "a\n1\n", "a\n", suffix="csv")).rows == 1
    for suffix, content in (("jsonl", ""), ("csv", "a,b\n")):
        with pytest.raises(Problem, match="no rows"):
            stream_of(suffix, written(tmp_path, content, suffix=suffix))


def test_a_column_that_some_files_lack_is_noted(tmp_path: Path) -> None:
    stream = stream_of("csv", written(tmp_path, "x,y\n1,2\n", "y,z\n3,4\n", suffix="csv"))
    assert kinds(stream) == {"x": "number", "y": "number", "z": "number"}
    assert stream.notes == ["x is not in part-1.csv; it is null there", "z is not in part-0.csv; it is null there"]


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("a,b\n1,x\n", [{"a": "1", "b": "x"}]),
        ("a,b\r\n007,\r\n", [{"a": "007", "b": None}]),
        ("a,b\r1,x\r", [{"a": "1", "b": "x"}]),
        ('a,"b ""c"", d"\n"1\n2","x, y"\n', [{"a": "1\n2", 'b "c", d': "x, y"}]),
        ('"a\nb",c\n1,2\n', [{"a\nb": "1", "c": "2"}]),
        (" a ,größe\n1,2\n", [{" a ": "1", "größe": "2"}]),
        ("a;b\n0,5;x,y\n-1,25;1,2,3\n", [{"a": "0.5", "b": "x,y"}, {"a": "-1.25", "b": "1,2,3"}]),
        ("a\tb\n1\t2\n", [{"a": "1", "b": "2"}]),
        ("sep=;\na;b\n1;2\n", [{"a": "1", "b": "2"}]),
        ("\n\na,b\n1,2\n\n", [{"a": "1", "b": "2"}]),
        (b"\xef\xbb\xbfa,b\n1,2\n", [{"a": "1", "b": "2"}]),
        ("a\tb\n1\tü\n".encode("utf-16"), [{"a": "1", "b": "ü"}]),
        ("a,b\n1,ü\n".encode("utf-16-le"), [{"a": "1", "b": "ü"}]),
        ("a,b\n1,ü\n".encode("utf-16-be"), [{"a": "1", "b": "ü"}]),
        ("a,b,\n1,2,3\n", [{"a": "1", "b": "2"}]),
        ("a,a,b\n1,2,3\n", [{"b": "3"}]),
    ],
)
def test_a_csv_file_is_read_as_it_was_written(tmp_path: Path, content: str | bytes, rows: list[Json]) -> None:
    assert rows_of("csv", written(tmp_path, content, suffix="csv")) == rows


@pytest.mark.parametrize(
    ("content", "line", "cause"),
    [
        ("a,b\n1,2\n3\n", 3, "1 values where the header has 2"),
        ("a,b\n1,2\n3,4,5\n6,7\n", 3, "3 values where the header has 2"),
        ('a,b\n"1\n\n2",2\n3,4,5\n', 5, "3 values"),
        ('a,b\n1,2\n3,"4\n5,6\n7,8\n', 3, "never closed"),
        (b"a,b\n1,2\n3,Z\xfcrich\n", 3, "0xfc is not UTF-8"),
        (b"a,\xfcb\n1,2\n", 1, "0xfc is not UTF-8"),
        (b"PK\x03\x04\x00\x00", 1, "binary data"),
    ],
)
def test_a_line_that_breaks_a_csv_file_is_told(tmp_path: Path, content: str | bytes, line: int, cause: str) -> None:
    with pytest.raises(Problem) as caught:
        stream_of("csv", written(tmp_path, content, suffix="csv"))
    told = caught.value.flexcore
    assert (told["type"], told["details"]["line"]) == ("DataError", line)
    assert cause in told["message"] and told["message"].startswith("part-0.csv line")


def test_what_a_header_leaves_open_is_told(tmp_path: Path) -> None:
    stream = stream_of("csv", written(tmp_path, "x,x,,y\n1,2,3,4\n", suffix="csv"))
    assert kinds(stream) == {"y": "constant"}
    assert stream.twice == {"x": "part-0.csv line 1 has it as columns 1 and 2"}
    assert stream.notes == ["part-0.csv: column 3 has no name and is left out"]
    notes = stream_of("csv", written(tmp_path, "x;y\n1;2\n", suffix="csv")).notes
    assert notes == ["part-0.csv is separated by semicolons; 0,5 in it is read as 0.5"]


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress)])
def test_packed_files_are_unpacked(tmp_path: Path, suffix: str, pack: Any) -> None:
    content = pack(b"a,b\n1,2\n")
    assert rows_of("csv", written(tmp_path, content, suffix=f"csv.{suffix}")) == [{"a": "1", "b": "2"}]


def test_a_gzip_file_needs_no_suffix_and_a_cut_one_is_told(tmp_path: Path) -> None:
    content = gzip.compress(b'{"a": 1}\n' * 1000)
    assert stream_of("jsonl", written(tmp_path, content)).rows == 1000
    for cut in (content[:-20], b"no gzip at all"):
        with pytest.raises(Problem) as caught:
            stream_of("jsonl", written(tmp_path, cut, suffix="jsonl.gz"))
        assert caught.value.flexcore["type"] == "DataError"
        assert "part-0.jsonl.gz" in caught.value.flexcore["message"]


def parquet(folder: Path, *tables: Any) -> list[Path]:
    files = []
    for number, table in enumerate(tables):
        files.append(folder / f"part-{number}.parquet")
        pa.parquet.write_table(table, files[-1])
    return files


def test_every_type_of_parquet_is_read_or_left_out(tmp_path: Path) -> None:
    table = pa.table(
        {
            "date": pa.array([dt.date(1, 1, 1), dt.date(9999, 12, 31)]),
            "time": pa.array([-(2**62), 2**62], pa.timestamp("ns")),
            "zoned": pa.array([0, 253402300799999], pa.timestamp("ms", "America/New_York")),
            "clock": pa.array([dt.time(1), dt.time(2)]),
            "took": pa.array([1, 2], pa.duration("us")),
            "cost": pa.array(
                [decimal.Decimal("1.5"), decimal.Decimal("12345678901234567890.5")], pa.decimal256(50, 20)
            ),
            "half": pa.array([1.5, float("nan")], pa.float16()),
            "big": pa.array([2**64 - 1, 0], pa.uint64()),
            "raw": pa.array([b"\xff", b"\x00"]),
            "kind": pa.array(["a", "b"]).dictionary_encode(),
            "list": pa.array([[1], [2]]),
            "map": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())),
            "a.b": pa.array([1, 2]),
            "nothing": pa.nulls(2),
        }
    )
    assert kinds(stream_of("parquet", parquet(tmp_path, table))) == {
        "date": "time",
        "time": "time",
        "zoned": "time",
        "clock": "clock",
        "took": "number",
        "cost": "number",
        "half": "number",
        "big": "number",
        "raw": "bytes",
        "kind": "category",
        "list": "nested",
        "map": "nested",
        "a.b": "number",
        "nothing": "empty",
    }


def test_parquet_files_may_differ_in_types_and_columns(tmp_path: Path) -> None:
    files = parquet(tmp_path, pa.table({"x": pa.nulls(2), "y": [1, 2]}), pa.table({"y": [1.5], "x": ["a"], "z": [1]}))
    stream = stream_of("parquet", files)
    assert kinds(stream) == {"x": "category", "y": "number", "z": "number"}
    assert kinds(stream_of("parquet", files, ["y"])) == {"y": "number"}


def test_a_parquet_file_that_is_none_or_names_a_column_twice_is_told(tmp_path: Path) -> None:
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array([3])], names=["x", "x", "y"])
    assert stream_of("parquet", parquet(tmp_path, twice)).twice == {"x": "part-0.parquet has 2 columns of this name"}
    with pytest.raises(Problem, match=r"part-0\.parquet is not a Parquet file"):
        stream_of("parquet", written(tmp_path, "a,b\n1,2\n", suffix="parquet"))


@pytest.mark.parametrize(
    ("form", "path", "found"),
    [
        ("jsonl", "x", "jsonl"),
        ("csv", "x", "csv"),
        ("parquet", "x", "parquet"),
        ("files", "a.jsonl.gz", "jsonl"),
        ("target-csv", "a", "csv"),
    ],
)
def test_the_format_is_told_by_the_manifest_or_the_files(form: str, path: str, found: str) -> None:
    assert detect_format({"format": form, "files": [{"path": path}]}) == found


def test_a_format_that_cannot_be_read_is_told() -> None:
    with pytest.raises(Problem, match="'sqlite'"):
        detect_format({"format": "sqlite", "files": [{"path": "a.db"}]})
