"""What Ray Train starts for a training of ours, beside its controller and its workers."""

from __future__ import annotations

import pytest

from f.flexcore.lib.ray.remote.trainer import spare_cleaner


def test_no_process_is_started_that_removes_what_ends_with_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also fails once a new Ray calls it otherwise."""
    monkeypatch.setenv("RAY_TRAIN_V2_ENABLED", "1")
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    made = [type(item).__name__ for item in DataParallelTrainer(print)._create_default_callbacks()]
    kept = [type(item).__name__ for item in spare_cleaner(DataParallelTrainer)(print)._create_default_callbacks()]
    assert [name for name in made if name not in kept] == ["PlacementGroupCleanerCallback"]
    assert len(kept) == len(made) - 1
