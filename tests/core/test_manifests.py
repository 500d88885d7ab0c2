from __future__ import annotations

import math
from typing import Any

import pytest

from f.flexcore.lib.core.contracts import (
    LABELS,
    DataManifest,
    File,
    ModelManifest,
    PipelineResult,
    StageResult,
    StepResult,
    Stream,
    check_consistent,
    check_file,
    compute_checksum,
    find_stream,
    finite,
    list_files,
    schema_hash,
)
from f.flexcore.lib.core.errors import InvalidInput, ManifestMismatch
from f.flexcore.lib.core.result_page import add_page

ONE = File(path="flights.jsonl", bytes=3, checksum="sha256:" + "1" * 64)
TWO = File(path="planes.jsonl", bytes=4, checksum="sha256:" + "2" * 64)

CHECKSUM_OF_BOTH = "sha256:e946f582e76790b16c7ed3c3d55fa2665ad1e91f1d820527c03c57350b46f497"
HASH_OF_COLUMNS = "sha256:63a3caec24c95acb9bed1c84a90003241867a4577345ae4090bda2c7741874fd"


def manifest(*files: File) -> DataManifest:
    streams = [Stream(name=file.path.removesuffix(".jsonl"), bytes=file.bytes, files=[file]) for file in files]
    return DataManifest(uri="file:///data", format="jsonl", streams=streams, checksum=compute_checksum(files))


def test_checksums_and_hashes_stay_what_they_are_in_every_version() -> None:
    """Manifests that are stored already hold them."""
    assert compute_checksum([TWO, ONE]) == CHECKSUM_OF_BOTH
    assert schema_hash({"b": "str", "a": "int"}) == HASH_OF_COLUMNS


def test_a_number_that_is_no_json_is_null() -> None:
    assert finite({"a": [1.5, math.nan, math.inf], "b": {"c": -math.inf}}) == {"a": [1.5, None, None], "b": {"c": None}}


def step(runtime: str) -> StepResult:
    return StepResult(success=True, runtime=runtime, execution_key="fc-1", attempt=1, metrics={"loss": math.nan})


def test_results_carry_the_labels_by_which_they_are_found_again() -> None:
    plain = step("ray").plain()
    assert (plain["wm_labels"], plain["metrics"]) == ([*LABELS, "runtime:ray"], {"loss": None})
    began = StepResult.model_validate(plain | {"timings": {"began_at": "2026-01-01T00:00:00Z"}}).plain()
    assert began["timings"]["began_at"] == "2026-01-01T00:00:00Z", "plain is JSON"
    stages = [StageResult(stage="extraction", result=step("meltano")), StageResult(stage="ml", result=step("ray"))]
    labels = [*LABELS, "workflow:hybrid_pipeline", "runtime:meltano", "runtime:ray"]
    assert PipelineResult(success=True, stages=stages).plain()["wm_labels"] == labels
    assert PipelineResult(success=False, partial_results=stages).plain()["wm_labels"] == labels


def test_a_result_is_read_with_or_without_its_page() -> None:
    shown = add_page(step("ray").plain(), "<p>page</p>")
    assert StepResult.model_validate(shown) == StepResult.model_validate(step("ray").plain())
    with pytest.raises(ValueError, match="extra"):
        StepResult.model_validate({**step("ray").plain(), "html": "x"})


def test_the_files_of_a_model_and_of_all_streams_are_vouched_for() -> None:
    assert list_files(manifest(ONE, TWO)) == [ONE, TWO]
    files: dict[str, Any] = {"files": [ONE]}
    assert list_files(ModelManifest.model_construct(**files)) == [ONE]


def test_the_order_of_files_and_columns_does_not_matter() -> None:
    assert compute_checksum([ONE, TWO]) == compute_checksum([TWO, ONE])
    assert schema_hash({"a": "int", "b": "str"}) == schema_hash({"b": "str", "a": "int"})


def test_a_manifest_that_was_edited_is_refused() -> None:
    check_consistent(manifest(ONE, TWO))
    edited = manifest(ONE).model_copy(update={"checksum": compute_checksum([TWO])})
    with pytest.raises(ManifestMismatch) as caught:
        check_consistent(edited)
    assert str(caught.value) == (
        "The manifest of file:///data does not match its own checksum. "
        "Pass the manifest on unchanged, or run the stage that produced it again."
    )
    assert caught.value.subject == "file:///data"


def test_a_manifest_without_files_vouches_for_nothing() -> None:
    empty = DataManifest(uri="file:///data", format="jsonl", streams=[Stream(name="a", bytes=0)])
    with pytest.raises(ManifestMismatch) as caught:
        check_consistent(empty)
    said = "The manifest of file:///data lists no files. Run the stage that produced it again."
    assert (str(caught.value), caught.value.subject) == (said, "file:///data")


@pytest.mark.parametrize(
    ("actual", "problem"),
    [
        (None, "is missing"),
        (ONE.model_copy(update={"bytes": 9}), "has 9 bytes instead of 3"),
        (ONE.model_copy(update={"checksum": TWO.checksum}), "has another checksum"),
    ],
)
def test_a_stored_file_that_differs_is_named_with_the_difference(actual: File | None, problem: str) -> None:
    with pytest.raises(ManifestMismatch) as caught:
        check_file("file:///data", ONE, actual)
    said = f"flights.jsonl at file:///data {problem}. Run the stage that produced it again."
    assert (str(caught.value), caught.value.subject) == (said, "flights.jsonl")
    check_file("file:///data", ONE, ONE.model_copy())


def test_the_only_stream_needs_no_name_and_a_wrong_name_lists_the_choices() -> None:
    assert find_stream(manifest(ONE), "") == "flights"
    assert find_stream(manifest(ONE, TWO), "planes") == "planes"
    with pytest.raises(InvalidInput) as caught:
        find_stream(manifest(ONE, TWO), "")
    said = "The data has several streams and none is named. Choose one of: flights, planes."
    assert (str(caught.value), caught.value.subject) == (said, "stream")
    with pytest.raises(InvalidInput, match="No stream is named 'ships'"):
        find_stream(manifest(ONE), "ships")
