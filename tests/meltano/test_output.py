"""Files of a target as a manifest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core.contracts import check_consistent
from f.flexcore.lib.core.errors import DataError
from f.flexcore.lib.meltano.target_output import build_manifest, match_stream, mixed_streams, scan_bytes

SCHEMAS = {"orders": {"id": "integer", "price": "number"}, "main-orders": {}, "lines": {}}


def test_a_manifest_tells_rows_bytes_columns_and_checksums_of_each_stream(tmp_path: Path) -> None:
    (tmp_path / "orders.jsonl").write_text('{"id": 1, "price": null}\n{"id": 2, "extra": "x", "price": 1.5}\n')
    (tmp_path / "lines-20260102T030405.jsonl").write_text('{"n": 1}\n{"n": 1.5}\n{"n": null, "tags": []}')
    manifest = build_manifest(tmp_path, "file:///d", "jsonl", SCHEMAS)
    assert manifest is not None
    check_consistent(manifest)
    by_name = {item.name: item for item in manifest.streams}
    assert by_name["orders"].columns == {"id": "integer", "price": "number", "extra": "string"}
    assert by_name["lines"].columns == {"n": "number", "tags": "array"}
    assert (manifest.rows, by_name["orders"].rows, by_name["lines"].rows) == (5, 2, 3)
    content = (tmp_path / "orders.jsonl").read_bytes()
    assert by_name["orders"].files[0].checksum == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert manifest.bytes == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_without_files_there_is_no_manifest(tmp_path: Path) -> None:
    assert build_manifest(tmp_path, "file:///d", "jsonl", {}) is None


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b"a,b\n1,2\n3,4\n", 3),
        (b"a,b\r\n1,2\r\n3,4", 3),
        (b'a,b\n1,"two\nlines"\n', 2),
        (b'a,b\n1,"say ""hi""\n there"\n2,x\n', 3),
        (b"", 0),
    ],
)
def test_a_line_break_within_quotes_is_not_a_row_of_csv(tmp_path: Path, content: bytes, rows: int) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    assert scan_bytes(tmp_path / "a.csv", "a.csv", quoted=True)[1] == rows


def test_csv_has_its_header_as_columns_and_not_as_a_row(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text('id,"full name",price\n1,"a, b",2\n')
    manifest = build_manifest(tmp_path, "file:///d", "csv", SCHEMAS)
    assert manifest is not None and manifest.rows == 1
    assert manifest.streams[0].columns == {"id": "integer", "full name": "string", "price": "number"}


def test_rows_of_a_format_that_cannot_be_counted_here_are_unknown(tmp_path: Path) -> None:
    (tmp_path / "orders.parquet").write_bytes(b"PAR1")
    manifest = build_manifest(tmp_path, "file:///d", "parquet", SCHEMAS)
    assert manifest is not None and manifest.rows is None and manifest.streams[0].rows is None
    assert manifest.streams[0].columns == {"id": "integer", "price": "number"}


NAMES = [
    "orders",
    "orders_old",
    "main-orders",
    "sales.orders",
    "sales/returns",
    "a b",
    "events",
    "events_20240101",
    "x.csv",
    "Größe",
]


@pytest.mark.parametrize(
    ("path", "stream"),
    [
        ("orders.jsonl", "orders"),
        ("orders-20260102T030405.jsonl", "orders"),
        ("orders-20260102-030405.csv", "orders"),
        ("orders_2026-01-02.csv", "orders"),
        ("orders-20260102_030405-0-12.gz.parquet", "orders"),
        ("orders-1767322800.jsonl", "orders"),
        ("orders/part-0.parquet", "orders"),
        ("orders/2026/01/part-0.snappy.parquet", "orders"),
        ("orders_old-20260102T030405.jsonl", "orders_old"),
        ("main-orders.jsonl", "main-orders"),
        ("sales.orders.jsonl", "sales.orders"),
        ("sales_orders-20260102T030405Z.jsonl", "sales.orders"),
        ("sales/returns.jsonl", "sales/returns"),
        ("sales_returns.csv", "sales/returns"),
        ("A-B.jsonl", "a b"),
        ("events.jsonl", "events"),
        ("events_20240101.jsonl", "events_20240101"),
        ("events_20240102.jsonl", "events"),
        ("events_20240101-20260102T030405.jsonl", "events_20240101"),
        ("x.csv", "x.csv"),
        ("x.csv.csv", "x.csv"),
        ("größe.jsonl", "Größe"),
        ("unknown-2.jsonl", "unknown-2"),
        ("unknown_20240101.csv", "unknown_20240101"),
    ],
)
def test_a_file_belongs_to_the_stream_of_its_name_or_folder(path: str, stream: str) -> None:
    assert match_stream(Path(path), NAMES) == stream


@pytest.mark.parametrize(
    ("path", "stream"),
    [
        ("_bersicht.jsonl", "Übersicht"),
        ("ubersicht.csv", "Übersicht"),
        ("raw_orders.jsonl", "raw -- orders"),
        ("raw_orders_old.jsonl", "raw_orders_old"),
        ("other.jsonl", "other"),
    ],
)
def test_a_file_whose_name_a_target_made_simpler_belongs_to_its_stream(path: str, stream: str) -> None:
    assert match_stream(Path(path), ["Übersicht", "raw -- orders", "数据"]) == stream


def test_without_a_known_stream_a_file_is_one_of_its_own(tmp_path: Path) -> None:
    for name in ("sales.orders", "sales.returns", "events_20240101", "events_20240102"):
        (tmp_path / f"{name}.jsonl").write_text('{"id": 1}\n')
    manifest = build_manifest(tmp_path, "file:///d", "jsonl", {})
    assert manifest is not None and len(manifest.streams) == 4


def test_streams_that_share_a_file_are_found(tmp_path: Path) -> None:
    (tmp_path / "a_b.jsonl").write_text('{"id": 1}\n')
    manifest = build_manifest(tmp_path, "file:///d", "jsonl", {"a b": {}, "a:b": {}})
    assert manifest is not None
    assert sorted(mixed_streams({"a b": 1, "a:b": 2}, manifest)) == ["a b", "a:b"]
    assert mixed_streams({"a b": 1, "a:b": 0}, manifest) == []
    assert sorted(mixed_streams({"a b": 1, "a:b": 2, "A -- B": 1}, manifest)) == ["A -- B", "a b", "a:b"]
    other = build_manifest(tmp_path, "file:///d", "jsonl", {"x": {}, "y": {}})
    assert other is not None and mixed_streams({"x": 1, "y": 2}, other) == ["x", "y"]
    # One stream under another name is what a target's own mapping may make of it.
    assert mixed_streams({"x": 1}, other) == []


def test_a_type_holds_every_row_however_late_it_comes(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"n": 1, "mixed": 1, "whole": 1, "none": None, "list": []} for _ in range(999)]
    odd = {"n": 2.5, "mixed": "x", "whole": 2**70, "none": None, "list": {}, "late": True}
    (tmp_path / "s.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in [*rows, odd]))
    declared = {"s": {"n": "integer", "mixed": "integer", "whole": "integer", "none": "string", "absent": "string"}}
    manifest = build_manifest(tmp_path, "file:///d", "jsonl", declared)
    assert manifest is not None and manifest.rows == 1000
    assert manifest.streams[0].columns == {
        "n": "number",
        "mixed": "string",
        "whole": "integer",
        "none": "string",
        "list": "string",
        "late": "boolean",
    }


def test_a_cell_of_csv_widens_what_the_schema_says(tmp_path: Path) -> None:
    content = "\ufeffid,amount,flag,code,free\n1,1,true,7,x\n2,60.37,,A7,\n3,,False,,1\n"
    (tmp_path / "s.csv").write_text(content, encoding="utf-8")
    kinds = {"id": "integer", "amount": "integer", "flag": "boolean", "code": "integer"}
    manifest = build_manifest(tmp_path, "file:///d", "csv", {"s": kinds})
    assert manifest is not None and manifest.rows == 3
    assert manifest.streams[0].columns == {
        "id": "integer",
        "amount": "number",
        "flag": "boolean",
        "code": "string",
        "free": "string",
    }


def test_nan_becomes_null_and_no_other_character_changes(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text('{"a": NaN, "t": "NaN \\"Infinity\\"", "d": 0.10000000000000000001}\n{"a": 1, "b": [-Infinity]}\n')
    warnings: list[str] = []
    manifest = build_manifest(tmp_path, "file:///d", "jsonl", {"s": {"a": "number"}}, warnings)
    assert path.read_text() == (
        '{"a": null, "t": "NaN \\"Infinity\\"", "d": 0.10000000000000000001}\n{"a": 1, "b": [null]}\n'
    )
    assert manifest is not None and manifest.streams[0].columns["a"] == "number"
    assert manifest.streams[0].files[0].checksum == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    assert warnings == ["s: NaN and Infinity are not JSON and were replaced by null: a (1), b (1)"]
    assert [item.name for item in tmp_path.iterdir()] == ["s.jsonl"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"a": 1}\n{"a": ', r"s\.jsonl, which the target wrote, is not JSON in line 2"),
        ('{"a": 1}\n[1]\n', r"has list in place of a row in line 2"),
    ],
)
def test_a_file_that_is_not_jsonl_is_refused_with_its_line(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "s.jsonl").write_text(content)
    with pytest.raises(DataError, match=said):
        build_manifest(tmp_path, "file:///d", "jsonl", {})


def test_blank_lines_and_whole_numbers_of_any_length_are_read(tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_text('\ufeff{"a": %s}\n\n{"a": 2}\n' % ("9" * 5000))
    manifest = build_manifest(tmp_path, "file:///d", "jsonl", {})
    assert manifest is not None and manifest.rows == 2 and manifest.streams[0].columns == {"a": "integer"}
