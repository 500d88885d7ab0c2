# requirements: flexcore_base
"""Runs a training loop of the caller's own on Ray Train's workers, as a Ray job. Shipped as source.

The program defines `train_loop(config, loop)`, which every worker calls; `loop` is the class Loop below. The data comes
as Ray Data streams it, so that it may be larger than a worker's memory.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from f.flexcore.lib.ray.remote import boosting, checkpoints, recovery, shared_storage, trainer, training_data

Json = dict[str, Any]
Save = Callable[[Path], Any]
READERS = {"parquet": "read_parquet", "jsonl": "read_json", "csv": "read_csv"}
HASH_RANGE = 2**32


class Loop:
    """What a loop has at hand.

    rank, workers     this worker's number, and how many there are
    step, resumed     the steps that the checkpoint to go on from has done, and its folder; 0 and None at the beginning
    shard(name)       this worker's rows of `train`, or all of `test`: an iterator of Ray Data (iter_batches, …)
    report(…)         tells the measures after a step; every worker calls it after every step
    publish(save)     stores the model: the first worker calls save(folder)
    """

    def __init__(self, loop: Json, start: boosting.Start, generation: checkpoints.Generation) -> None:
        import ray.train

        context = ray.train.get_context()
        self.rank, self.workers = int(context.get_world_rank()), int(context.get_world_size())
        self.step, self.resumed = start.step, start.folder
        self._loop, self._generation, parameters = loop, generation, loop["parameters"]
        self._metric, self._higher = parameters["stop_metric"], parameters["stop_mode"] == "max"
        self._rounds = boosting.Rounds(
            fingerprint=recovery.make_fingerprint(parameters),
            total=0,
            every=int(parameters["checkpoint_every"]),
            patience=int(parameters["early_stopping_steps"]) if self._metric else 0,
            start=start,
            save=lambda save, folder: save(folder),
            report=trainer.report_checkpoint,
            is_first=self.rank == 0,
            is_preempted=partial(recovery.look_for_preemption, generation),
            check_current=generation.check_current,
        )
        self.measures: Json = dict(start.state.get("measures") or {})
        self.model: Json | None = None

    def shard(self, name: str = "train") -> Any:
        shard = trainer.get_shard(self._loop, name)
        if shard is None:
            raise shared_storage.Problem(
                "InvalidInput", f"The loop has no data {name!r}", "source", "Pass the output of an extraction."
            )
        return shard.iterator() if hasattr(shard, "iterator") else shard

    def report(self, step: int, measures: Json, save: Save) -> bool:
        """Whether to stop: early stopping has seen no better `stop_metric` for long. save(folder) writes what the loop
        needs to go on from here; it is called by the first worker alone, when a checkpoint is due."""
        self.step, self.measures = step, {name: to_number(value) for name, value in measures.items()}
        score = self.measures.get(self._metric) if self._metric else None
        if self._metric and score is None:
            raise shared_storage.Problem(
                "InvalidInput",
                f"The loop reported no {self._metric!r} at step {step}",
                "stop_metric",
                f"Report it at every step, or name one of: {', '.join(self.measures) or 'none was reported'}.",
            )
        return self._rounds.after_round(step, save, score, self._higher)

    def publish(self, save: Save) -> None:
        """Stores what save(folder) writes as the model of this training."""
        if self.rank != 0:
            return
        self._generation.check_current()
        uri = self._generation.uri("model")
        with tempfile.TemporaryDirectory() as name:
            save(Path(name))
            files = self._generation.store.upload(Path(name), uri)
        self.model = {"uri": uri, "files": files}

    def finish(self, value: Any) -> None:
        """Stores the result; the training is done by it."""
        rounds = {"steps": self.step, "best_step": self._rounds.best.get("step"), "stored": self._rounds.saves}
        result = {
            "manifest": self.model or {"uri": self._generation.uri("model"), "files": []},
            "metrics": self.measures,
            "result": value,
            "recovery": recovery.describe(self._generation, self._loop["start"], rounds),
            "fingerprint": recovery.make_fingerprint(self._loop["parameters"]),
        }
        self._generation.write("", "trained.json", result)


def to_number(value: Any) -> Any:
    """A number of numpy's or torch's as Python's own."""
    return value.item() if hasattr(value, "item") else value


def run(parameters: Json, storage: Json) -> Json:
    """{manifest, metrics, result: what the first worker's loop returned, recovery}"""
    training_data.check_packages(parameters["requires"])
    store = shared_storage.RemoteStore(storage)
    store.check_shared()
    generation = checkpoints.Generation(store, storage["folder"])
    generation.claim()
    fingerprint = recovery.make_fingerprint(parameters)
    published = generation.find_published(fingerprint)
    if published:
        print("The loop has ended already: this is its result")
        return published
    start = recovery.choose_start(generation, parameters["resume_from"], fingerprint)
    os.environ.update(training_data.FAST_SETTINGS | recovery.TRAIN_SETTINGS)
    split: Json = {}
    if parameters["source"]["files"]:
        store.verify(parameters["source"]["uri"], parameters["source"]["files"])
    training_data.connect()
    recovery.skip_needless_watch()
    if parameters["source"]["files"]:
        split = read_split(parameters["source"], store, float(parameters["test_fraction"]))
    loop = {"parameters": parameters, "storage": storage, "start": start}
    trainer.run_trainer(trainer.choose_trainer(""), run_worker, loop, split, int(parameters["num_workers"]), explain)
    result: Json = store.read_json(generation.uri("trained.json"))
    return result


def read_split(source: Json, store: shared_storage.RemoteStore, test_fraction: float) -> Json:
    """train and, with a fraction, test: read as they are used, and the same rows on each side every time."""
    import ray.data

    paths = [store.path(f"{source['uri']}/{item['path']}") for item in source["files"]]
    rows = getattr(ray.data, READERS[source["format"]])(paths, filesystem=store.fs)
    if not test_fraction:
        return {"train": rows}
    arguments: Json = {"batch_format": "pandas", "num_cpus": 0}
    return {
        side: rows.map_batches(select_side, fn_args=[test_fraction, side == "test"], **arguments)
        for side in ("train", "test")
    }


def select_side(batch: Any, fraction: float, is_test: bool) -> Any:
    """The rows of a pandas batch on one side, by their content alone."""
    import pandas as pd

    plain = batch.apply(lambda column: column.astype(str) if column.dtype == object else column)
    hashes = pd.util.hash_pandas_object(plain, index=False).to_numpy() % HASH_RANGE
    return batch[(hashes < fraction * HASH_RANGE) == is_test]


def run_worker(loop: Json) -> None:
    """What each worker does."""
    recovery.quiet_logs()
    generation = checkpoints.Generation(shared_storage.RemoteStore(loop["storage"]), loop["storage"]["folder"])
    if generation.read_problem() or generation.has_published():
        # Workers before these have ended with it.
        return
    program: Json = {"__name__": "train_loop"}
    exec(compile(loop["parameters"]["program"], "train_loop.py", "exec"), program)
    with ExitStack() as stack:
        start = stack.enter_context(trainer.open_start(generation, loop["start"]))
        helper = Loop(loop, start, generation)
        try:
            value = program["train_loop"](loop["parameters"]["config"], helper)
        except shared_storage.Problem as problem:
            generation.write_problem(problem)
            if helper.workers > 1:
                raise
            return
        if helper.rank == 0:
            helper.finish(value)


def explain(error: BaseException) -> Exception:
    """The exception of the caller's loop behind those of Ray Train."""
    chain = list(training_data.iterate_causes(error))
    for cause in chain:
        if isinstance(cause, shared_storage.Problem):
            return cause
    last = chain[-1]
    return shared_storage.Problem(
        "ExecutionFailed",
        f"train_loop failed: {type(last).__name__}: {str(last)[:400]}",
        "program",
        "Read the end of the log, correct the loop, and run the step again: it goes on from the last checkpoint.",
    )
