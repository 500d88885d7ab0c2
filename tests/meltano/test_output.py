"""Files of a target as a manifest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from f.flexcore.core.manifests import check_consistent
from f.flexcore.meltano.output import catalog_schemas, json_type, manifest_of, scan, stream_of

SCHEMAS = {
    "orders": {"id": {"type": "integer"}, "price": {"anyOf": [{"type": "null"}, {"type": "number"}]}},
    "main-orders": {},
}


def test_a_manifest_tells_rows_bytes_columns_and_checksums_of_each_stream(tmp_path: Path) -> None:
    (tmp_path / "orders.jsonl").write_text('{"id": 1, "price": null}\n{"id": 2, "extra": "x", "price": 1.5}\n')
    (tmp_path / "lines-20260102T030405.jsonl").write_text('{"n": 1}\n{"n": 1.5}\n{"n": null, "tags": []}')
    manifest = manifest_of(tmp_path, "file:///d", "jsonl", SCHEMAS)
    assert manifest is not None
    check_consistent(manifest)
    by_name = {item.name: item for item in manifest.streams}
    assert by_name["orders"].columns == {"id": "integer", "price": "number", "extra": "string"}
    assert by_name["lines"].columns == {"n": "number", "tags": "array"}
    assert (manifest.rows, by_name["orders"].rows, by_name["lines"].rows) == (5, 2, 3)
    content = (tmp_path / "orders.jsonl").read_bytes()
    assert by_name["orders"].files[0].checksum == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert manifest.bytes == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_no_file_is_no_manifest(tmp_path: Path) -> None:
    assert manifest_of(tmp_path, "file:///d", "jsonl", {}) is None


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
def test_a_line_break_within_quotes_is_no_row_of_csv(tmp_path: Path, content: bytes, rows: int) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    assert scan(tmp_path / "a.csv", "a.csv", quoted=True)[1] == rows


def test_csv_has_its_header_as_columns_and_not_as_a_row(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text('id,"full name",price\n1,"a, b",2\n')
    manifest = manifest_of(tmp_path, "file:///d", "csv", SCHEMAS)
    assert manifest is not None and manifest.rows == 1
    assert manifest.streams[0].columns == {"id": "integer", "full name": "string", "price": "number"}


def test_rows_of_a_format_that_cannot_be_counted_here_are_unknown(tmp_path: Path) -> None:
    (tmp_path / "orders.parquet").write_bytes(b"PAR1")
    manifest = manifest_of(tmp_path, "file:///d", "parquet", SCHEMAS)
    assert manifest is not None and manifest.rows is None and manifest.streams[0].rows is None
    assert manifest.streams[0].columns == {"id": "integer", "price": "number"}


@pytest.mark.parametrize(
    ("path", "stream"),
    [
        ("orders.jsonl", "orders"),
        ("orders-20260102T030405.jsonl", "orders"),
        ("orders-20260102-030405.csv", "orders"),
        ("orders/part-0.parquet", "orders"),
        ("main-orders.jsonl", "main-orders"),
        ("unknown-2.jsonl", "unknown-2"),
    ],
)
def test_a_file_belongs_to_the_stream_of_its_name_or_folder(path: str, stream: str) -> None:
    assert stream_of(Path(path), SCHEMAS) == stream


def test_types_are_found_in_every_way_that_json_schema_writes_them() -> None:
    shapes = [{"type": "string"}, {"type": ["null", "string"]}, {"oneOf": [{"type": ["null"]}, {"type": "string"}]}]
    assert {json_type(shape) for shape in shapes} == {"string"}
    assert json_type({}) == json_type(None) == ""


def test_a_catalog_gives_schemas_by_stream_and_by_its_id(tmp_path: Path) -> None:
    path = tmp_path / "catalog.json"
    assert catalog_schemas(path) == {}
    schema: dict[str, dict[str, dict[str, str]]] = {"properties": {"id": {}}}
    path.write_text(json.dumps({"streams": [{"tap_stream_id": "public-a", "stream": "a", "schema": schema}]}))
    assert catalog_schemas(path) == {"a": {"id": {}}, "public-a": {"id": {}}}
    path.write_text("[]")
    assert catalog_schemas(path) == {}
