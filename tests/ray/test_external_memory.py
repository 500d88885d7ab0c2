"""Rows larger than memory: the operating system holds the limit, the boosters learn from files, nothing is left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from f.flexcore.lib.ray.remote import dataset, external_memory, holdout, memory_limit, shared_storage

ROOT = Path(__file__).parents[2]
MIB = 1 << 20
LIMIT = 192 * MIB
COLUMNS = 128


def run(algorithm: str, folder: Path, decoded_bytes: int, rounds: int = 6) -> subprocess.CompletedProcess[str]:
    rows = decoded_bytes // (8 * COLUMNS)
    arguments = [algorithm, str(LIMIT), str(folder), str(rows), str(COLUMNS), str(rounds)]
    environment = {**os.environ, "TMPDIR": str(folder), "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-m", "tests.ray.learn_on_disk", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500, check=False)


@pytest.mark.slow
def test_the_same_rows_in_memory_are_refused_by_the_operating_system(tmp_path: Path) -> None:
    done = run("in-memory", tmp_path, 4 * LIMIT)
    assert done.returncode != 0
    assert "MemoryError" in done.stderr or "ArrowMemoryError" in done.stderr or "malloc" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["xgboost", "lightgbm"])
def test_four_times_the_limit_is_learned_from_on_disk_and_leaves_nothing(algorithm: str, tmp_path: Path) -> None:
    done = run(algorithm, tmp_path, 4 * LIMIT)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["cached_rows"] * COLUMNS * 8 == 4 * LIMIT
    assert (told["r2"] > 0.8, told["left"]) == (True, [])


def test_columns_get_as_many_bins_as_fit_into_the_limit() -> None:
    wide = plan_of(786_432, {f"x{number}": "number" for number in range(COLUMNS)})
    assert memory_limit.choose_bins(wide, 786_432, LIMIT) == 60
    assert memory_limit.choose_bins(wide, 786_432, 4 * LIMIT) == memory_limit.MAX_BINS
    with pytest.raises(shared_storage.Problem, match=r"xgboost keeps about 0\.14 GiB of 786,432 rows in memory"):
        memory_limit.is_large(wide, {"algorithm": "xgboost", "memory_gib_per_worker": 0.125}, 1)


def test_small_files_are_read_together_and_none_is_left_out(tmp_path: Path) -> None:
    cache = external_memory.Cache(tmp_path, limit=20 * 1000)
    for rows in (100, 100, 100, 300, 10):
        cache.add(np.zeros((rows, 1)), np.zeros(rows), None)
    assert [list(files) for files in external_memory.group_files(cache)] == [[0, 1, 2], [3], [4]]
    assert len(cache.read_all("x", range(2))) == 200


def plan_of(rows: int, kinds: dict[str, str] | None = None, task: str = "regression") -> dataset.Plan:
    features = kinds or {f"x{number}": "number" for number in range(32)}
    return dataset.Plan("y", "number", task, features, {}, rows)


@pytest.mark.parametrize(
    ("algorithm", "rows", "gib", "task", "large"),
    [
        ("xgboost", 1_000_000, 0, "regression", False),
        ("xgboost", 1_000_000, 4, "regression", False),
        ("xgboost", 1_000_000, 0.5, "regression", True),
        ("LGBM", 1_000_000, 0.5, "classification", True),
        ("Ridge", 1_000, 0.25, "regression", False),
    ],
)
def test_what_does_not_fit_is_learned_from_on_disk(
    algorithm: str, rows: int, gib: float, task: str, large: bool
) -> None:
    parameters = {"algorithm": algorithm, "memory_gib_per_worker": gib}
    assert memory_limit.is_large(plan_of(rows, task=task), parameters, 1) is large


def test_what_a_booster_keeps_of_each_row_must_fit_in_any_case() -> None:
    parameters = {"algorithm": "lightgbm", "memory_gib_per_worker": 0.25}
    with pytest.raises(
        shared_storage.Problem, match=r"lightgbm keeps about 0\.\d+ GiB of 8,000,000 rows in memory"
    ) as caught:
        memory_limit.is_large(plan_of(8_000_000), parameters, 1)
    assert "more workers, or fewer rows" in caught.value.flexcore["remedy"]
    assert memory_limit.is_large(plan_of(8_000_000), parameters, 16) is True


@pytest.mark.parametrize(
    ("algorithm", "task", "named"),
    [("RandomForestRegressor", "regression", "RandomForestRegressor"), ("xgboost", "ranking", "a ranking")],
)
def test_what_learns_in_memory_alone_is_refused_by_name_before_it_starts(algorithm: str, task: str, named: str) -> None:
    parameters = {"algorithm": algorithm, "memory_gib_per_worker": 0.5}
    with pytest.raises(shared_storage.Problem) as caught:
        memory_limit.is_large(plan_of(8_000_000, task=task), parameters, 1)
    told = caught.value.flexcore
    assert told["message"].startswith(f"memory_gib_per_worker is 0.5 GiB, and {named} learns in memory: 8,000,000 rows")
    assert (told["type"], told["subject"]) == ("InvalidInput", "memory_gib_per_worker")
    assert "or give at least 7.3 GiB" in told["remedy"]


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("std::bad_alloc"), RuntimeError("Unable to allocate 16.0 MiB for an array")]
)
def test_a_training_that_takes_more_says_so(error: Exception) -> None:
    problem = memory_limit.memory_problem(error, {"memory_gib_per_worker": 2})
    assert problem is not None and "took more than memory_gib_per_worker, 2 GiB" in str(problem)
    assert memory_limit.memory_problem(error, {"memory_gib_per_worker": 0}) is None
    assert memory_limit.memory_problem(ValueError("max_depth"), {"memory_gib_per_worker": 2}) is None


def test_a_disk_without_room_for_the_cache_is_named_before_anything_is_written() -> None:
    cache = external_memory.open_cache(plan_of(10**12), 10**12, MIB)
    with pytest.raises(shared_storage.Problem, match=r"needs about [\d.]+ GiB of disk") as caught, cache:
        raise AssertionError("it must not come here")
    assert (caught.value.flexcore["subject"], "TMPDIR" in caught.value.flexcore["remedy"]) == ("disk", True)


def prepared(rows: int) -> pa.Table:
    generator = np.random.default_rng(0)
    hashes = generator.integers(0, 2**63, rows).astype("uint64")
    return pa.table({dataset.HASH: hashes, dataset.ROW: np.arange(rows, dtype="uint64"), "y": ["a", "b"] * (rows // 2)})


def test_parts_by_key_are_disjoint_and_of_the_size_that_was_asked_for() -> None:
    table = prepared(20_000)
    parts = [holdout.select_between(table, low, high) for low, high in ((0, 0.2), (0.2, 0.28), (0.28, 1))]
    assert sum(map(len, parts)) == 20_000
    assert abs(len(parts[0]) - 4000) < 200 and abs(len(parts[1]) - 1600) < 150
    again = holdout.select_between(table.take(np.arange(20_000)[::-1]), 0, 0.2)
    assert set(again[dataset.ROW].to_pylist()) == set(parts[0][dataset.ROW].to_pylist())
    counted: dict[str, Any] = {row["value"]: row["count"] for row in holdout.count_values(table, "y").to_pylist()}
    assert counted == {"a": 10_000, "b": 10_000}
