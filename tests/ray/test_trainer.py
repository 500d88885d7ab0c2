"""What Ray Train starts for a training of ours, beside its controller and its workers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from f.flexcore.lib.ray.remote.trainer import spare_processes


@pytest.mark.parametrize("has_datasets", [False, True])
def test_no_process_is_started_that_a_job_has_no_use_for(monkeypatch: pytest.MonkeyPatch, has_datasets: bool) -> None:
    monkeypatch.setenv("RAY_TRAIN_V2_ENABLED", "1")
    from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    made = DataParallelTrainer(print)._create_default_callbacks()
    kept = spare_processes(DataParallelTrainer, has_datasets)(print)._create_default_callbacks()
    assert [type(item).__name__ for item in made if type(item).__name__ == "PlacementGroupCleanerCallback"]
    assert not [item for item in kept if type(item).__name__ == "PlacementGroupCleanerCallback"]
    assert len(kept) == len(made) - 1
    (datasets,) = (item for item in kept if isinstance(item, DatasetsCallback))
    assert (type(datasets) is DatasetsCallback) is has_datasets
    assert type(datasets).after_worker_group_start is DatasetsCallback.after_worker_group_start


def test_a_loop_that_asks_ray_train_for_rows_is_told_where_they_are() -> None:
    from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    made = spare_processes(DataParallelTrainer, has_datasets=False)(print)._create_default_callbacks()
    (callback,) = (item for item in made if isinstance(item, DatasetsCallback))
    workers: list[Any] = [object(), object()]
    given: list[Any] = callback.before_init_train_context(workers)["dataset_shard_provider"]
    assert len(given) == 2
    with pytest.raises(KeyError, match=r"train was not given to Ray Train; a loop has its rows from loop\.shard"):
        given[0].get_dataset_shard(SimpleNamespace(dataset_name="train"))
