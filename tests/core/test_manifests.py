from __future__ import annotations

import pytest

from f.flexcore.lib.core.contracts import (
    DataManifest,
    File,
    Stream,
    check_consistent,
    check_file,
    compute_checksum,
    find_stream,
    schema_hash,
)
from f.flexcore.lib.core.errors import InvalidInput, ManifestMismatch

ONE = File(path="flights.jsonl", bytes=3, checksum="sha256:" + "1" * 64)
TWO = File(path="planes.jsonl", bytes=4, checksum="sha256:" + "2" * 64)


def manifest(*files: File) -> DataManifest:
    streams = [Stream(name=file.path.removesuffix(".jsonl"), bytes=file.bytes, files=[file]) for file in files]
    return DataManifest(uri="file:///data", format="jsonl", streams=streams, checksum=compute_checksum(files))


def test_the_order_of_files_and_columns_does_not_matter() -> None:
    assert compute_checksum([ONE, TWO]) == compute_checksum([TWO, ONE])
    assert schema_hash({"a": "int", "b": "str"}) == schema_hash({"b": "str", "a": "int"})


def test_a_manifest_that_was_edited_is_refused() -> None:
    check_consistent(manifest(ONE, TWO))
    edited = manifest(ONE).model_copy(update={"checksum": compute_checksum([TWO])})
    with pytest.raises(ManifestMismatch, match=r"file:///data does not match its own checksum"):
        check_consistent(edited)


def test_a_manifest_without_files_vouches_for_nothing() -> None:
    empty = DataManifest(uri="file:///data", format="jsonl", streams=[Stream(name="a", bytes=0)])
    with pytest.raises(ManifestMismatch, match="lists no files"):
        check_consistent(empty)


@pytest.mark.parametrize(
    ("actual", "problem"),
    [
        (None, "is missing"),
        (ONE.model_copy(update={"bytes": 9}), "has 9 bytes instead of 3"),
        (ONE.model_copy(update={"checksum": TWO.checksum}), "has another checksum"),
    ],
)
def test_a_stored_file_that_differs_is_named_with_the_difference(actual: File | None, problem: str) -> None:
    with pytest.raises(ManifestMismatch, match=f"flights.jsonl at file:///data {problem}"):
        check_file("file:///data", ONE, actual)


def test_the_only_stream_needs_no_name_and_a_wrong_name_lists_the_choices() -> None:
    assert find_stream(manifest(ONE), "") == "flights"
    assert find_stream(manifest(ONE, TWO), "planes") == "planes"
    with pytest.raises(InvalidInput, match="Choose one of: flights, planes"):
        find_stream(manifest(ONE, TWO), "")
    with pytest.raises(InvalidInput, match="No stream is named 'ships'"):
        find_stream(manifest(ONE), "ships")
