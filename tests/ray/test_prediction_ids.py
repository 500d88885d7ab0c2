"""What can tell the rows of a batch inference apart, and what is refused with counts before anything is predicted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from f.flexcore.lib.ray.remote import predict, prediction_resume
from f.flexcore.lib.ray.remote.shared_storage import Problem
from tests.ray.learning import parts_of, stream_of


class Parts:
    """The parts of a stream as Ray Data holds them, in this process."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches

    def map_batches(self, pick: Callable[[Any], Any], **_: Any) -> Parts:
        return Parts([pick(batch) for batch in self.batches])

    def iter_batches(self, **_: Any) -> Iterator[Any]:
        return iter(self.batches)


def files_of(folder: Path, values: list[Any]) -> list[Path]:
    """Two files, so that a value may stand in both."""
    halves = values[: len(values) // 2], values[len(values) // 2 :]
    paths = [folder / f"rows-{number}.jsonl" for number in range(2)]
    for path, half in zip(paths, halves, strict=True):
        path.write_text("".join(json.dumps({"k": value}) + "\n" for value in half))
    return paths


@pytest.mark.parametrize(
    ("values", "kind", "words"),
    [
        ([n % 20 for n in range(40)], pa.int64(), "'k' is not unique: 40 rows have 20 different values"),
        (["a", "b", "a"], pa.string(), "'k' is not unique: 3 rows have 2 different values"),
        ([None if n % 4 == 0 else n for n in range(40)], pa.int64(), "'k' is null in 10 of 40 rows"),
        ([n / 3 for n in range(40)], pa.float64(), "'k' holds double, which cannot tell rows apart"),
    ],
)
def test_ids_that_cannot_tell_rows_apart_are_refused_with_counts(
    tmp_path: Path, values: list[Any], kind: Any, words: str
) -> None:
    parts = Parts([pa.Table.from_pylist([part]) for part in parts_of("jsonl", files_of(tmp_path, values))])
    with pytest.raises(Problem, match=words) as caught:
        prediction_resume.check_ids(parts, "k", kind, 1)
    assert (caught.value.flexcore["type"], caught.value.flexcore["subject"]) == ("InvalidInput", "id_column")
    assert caught.value.flexcore["remedy"].startswith("Name a column ")


@pytest.mark.parametrize(("values", "kind"), [([3, 1, 2], pa.int64()), (["a", "b", "A"], pa.string())])
def test_ids_of_which_no_two_are_the_same_are_taken(tmp_path: Path, values: list[Any], kind: Any) -> None:
    parts = Parts([pa.Table.from_pylist([part]) for part in parts_of("jsonl", files_of(tmp_path, values))])
    prediction_resume.check_ids(parts, "k", kind, 1)


def test_an_id_that_no_file_has_is_named(tmp_path: Path) -> None:
    stream = stream_of("jsonl", files_of(tmp_path, [1, 2]))
    with pytest.raises(Problem, match="nowhere") as caught:
        predict.check_columns(stream, {"signature": {"inputs": [{"name": "k"}]}}, [], "nowhere")
    assert caught.value.flexcore["subject"] == "id_column"
