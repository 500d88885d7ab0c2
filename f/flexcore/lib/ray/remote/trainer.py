# requirements: flexcore_base
"""Ray Train as a training of ours needs it: its workers, their data, and their checkpoints. Shipped as source."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from f.flexcore.lib.ray.remote import boosting, checkpoints, recovery, shared_storage, training_data

Json = dict[str, Any]


def run_trainer(
    kind: Any, worker: Any, loop: Json, split: dict[str, Any], workers: int, explain: Callable[[Any], Exception]
) -> None:
    """Runs `worker` on Ray Train's workers to its end. Raises the problem that they ended with, or what `explain` makes
    of Ray Train's error."""
    from ray.train import CheckpointConfig, DataConfig, RunConfig, ScalingConfig

    parameters, storage = loop["parameters"], loop["storage"]
    store = shared_storage.RemoteStore(storage)
    generation = checkpoints.Generation(store, storage["folder"])
    is_shared = workers > 1 and bool(split)
    made = spare_cleaner(kind)(
        worker,
        # A single worker reads the datasets itself: Ray Train would start two more processes to hand them out.
        train_loop_config=loop if is_shared else loop | {"datasets": split},
        datasets=split if is_shared else None,
        dataset_config=DataConfig(datasets_to_split=["train"]),
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=parameters["use_gpu"],
            resources_per_worker={
                "CPU": float(parameters["cpus_per_worker"]),
                **({"GPU": 1} if parameters["use_gpu"] else {}),
            },
            **training_data.placement_options(parameters),
        ),
        run_config=RunConfig(
            name=checkpoints.RUN_NAME,
            storage_path=store.path(f"{storage['folder']}/ray_train"),
            storage_filesystem=store.fs,
            failure_config=recovery.make_failure_config(int(parameters["max_failures"])),
            checkpoint_config=CheckpointConfig(num_to_keep=checkpoints.KEPT_CHECKPOINTS),
            callbacks=[recovery.make_failure_counter(storage)],
            **recovery.make_logging_config(RunConfig),
        ),
    )
    try:
        made.fit()
    except Exception as error:
        raise generation.read_problem() or explain(error) from error
    problem = generation.read_problem()
    if problem:
        raise problem


def spare_cleaner(kind: Any) -> Any:
    """The trainer without the process that removes the workers' placement group when Ray Train's controller dies alone:
    a job of ours ends then, and the group with it. It takes two seconds of a core, and fails, with a traceback in the
    training's log, where two Rays run on a machine. A Ray without this hook starts what it starts."""

    class LeanTrainer(kind):  # type: ignore[misc]
        def _create_default_callbacks(self) -> list[Any]:
            made = super()._create_default_callbacks()
            return [item for item in made if type(item).__name__ != "PlacementGroupCleanerCallback"]

    return LeanTrainer


def choose_trainer(algorithm: str) -> Any:
    """The trainer that connects the workers of a data-parallel training; any trainer will do for one process."""
    library = boosting.find_library(algorithm)
    if library == "xgboost":
        from ray.train.xgboost import XGBoostTrainer

        return XGBoostTrainer
    if library == "lightgbm":
        from ray.train.lightgbm import LightGBMTrainer

        return LightGBMTrainer
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    return DataParallelTrainer


def get_shard(loop: Json, name: str) -> Any:
    """This worker's share of a dataset: of `train` a part, of the others the whole; None when there is none."""
    import ray.train

    if "datasets" in loop:
        return loop["datasets"].get(name)
    try:
        return ray.train.get_dataset_shard(name)
    except KeyError:
        return None


def read_shard(loop: Json, name: str) -> Any:
    """Its rows as a pandas table."""
    shard = get_shard(loop, name)
    return (shard if "datasets" in loop else shard.materialize()).to_pandas()


@contextmanager
def open_start(generation: checkpoints.Generation, found: checkpoints.Checkpoint | None) -> Iterator[boosting.Start]:
    """The last whole checkpoint of this generation, for workers that take the place of failed ones; else `found`, the
    one that the generation began with.

    The store says which: Ray Train hands on the last that its controller has heard of, and it asks only every other
    second, so that the last ones of killed workers would be lost."""
    last = next(checkpoints.find_whole(generation.store, generation.folder, generation.number), found)
    if last is None:
        yield boosting.Start()
        return
    with tempfile.TemporaryDirectory() as name:
        generation.store.download(last.uri, last.state["files"], Path(name))
        yield boosting.Start(Path(name), last.state)


def report_checkpoint(measures: Json, folder: Path | None, step: int) -> None:
    """A barrier of all workers; the first one's folder becomes the checkpoint. Its name is its own also when workers
    come to this step again after they were cut off there."""
    import ray.train

    made = ray.train.Checkpoint.from_directory(str(folder)) if folder else None
    name = f"{step:08d}-{uuid.uuid4().hex[:8]}"
    ray.train.report(measures, checkpoint=made, checkpoint_dir_name=name)
    if folder:
        print(f"Checkpoint at step {step}")
