# requirements: flexcore_base
"""How a training goes on after what befell it, and what is told of that. Shipped as source.

A worker that fails is started again by Ray Train, from the last checkpoint of its generation; a head that dies takes
its generation along, and the next one begins with the last whole checkpoint of those before it. A preempted worker is
told ahead, stores a checkpoint at once, and is counted apart.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import uuid
from typing import Any

from f.flexcore.lib.ray.remote import checkpoints, shared_storage

Json = dict[str, Any]
# What does not change which model comes out: a repeat may have others.
NOT_IN_FINGERPRINT = {
    "source",
    "requires",
    "model",
    "joblib",
    "num_workers",
    "cpus_per_worker",
    "use_gpu",
    "checkpoint_every",
    "max_failures",
    "resume_from",
    "code",
    "memory_gib_per_worker",
}
# Longer than a checkpoint takes to be uploaded; Ray Train ends the workers when the node's own time is over otherwise.
PREEMPTION_GRACE_S = 30.0
# Else Ray Train logs each line that a worker prints a second time.
TRAIN_SETTINGS = {"RAY_TRAIN_ENABLE_PRINT_PATCH": "0"}


def make_fingerprint(parameters: Json) -> Json:
    """What makes a training this one: its request and its data, by the names of the form's fields."""
    asked = {name: value for name, value in parameters.items() if name not in NOT_IN_FINGERPRINT}
    given = {name: value for name, value in asked.get("parameters", {}).items() if value is not None}
    files = sorted(item["checksum"] for item in parameters["source"]["files"])
    return {**asked, "parameters": given, "source": checkpoints.digest(files)}


def choose_start(
    generation: checkpoints.Generation, resume_from: str, fingerprint: Json
) -> checkpoints.Checkpoint | None:
    """The checkpoint to go on from: of an earlier generation, else of the training that the request names."""
    found = generation.find_checkpoint(fingerprint)
    if found is None and resume_from:
        found = checkpoints.find_given(generation.store, resume_from, fingerprint)
    if found:
        of = "another training" if found.generation is None else f"generation {found.generation}"
        print(f"Going on from step {found.step}: the checkpoint {found.uri} of {of}")
    return found


def make_failure_config(max_failures: int) -> Any:
    """Ray Train's, so far as this version of Ray has it. Preemptions are bounded by the job's own deadline."""
    from ray.train import FailureConfig

    wanted: Json = {
        "max_failures": max_failures,
        "max_preemption_failures": -1,
        "relax_collectives_on_preemption": True,
        "preemption_grace_s": PREEMPTION_GRACE_S,
    }
    known = {item.name for item in dataclasses.fields(FailureConfig)}
    return FailureConfig(**{name: value for name, value in wanted.items() if name in known})


def make_logging_config(run_config: Any) -> Json:
    """RunConfig's argument that keeps Ray Train's own remarks out of the log, where this Ray has it."""
    if "logging_config" not in {item.name for item in dataclasses.fields(run_config)}:
        return {}
    from ray.train.v2.api.config import LoggingConfig

    return {"logging_config": LoggingConfig(log_level="WARNING")}


def quiet_logs() -> None:
    """Keeps a worker's log to what concerns the caller."""
    for name in ("ray.train", "ray.data"):
        logging.getLogger(name).setLevel(logging.WARNING)


def skip_needless_watch() -> None:
    """Spares the process that watches for nodes about to be taken away where there is but one node: the head's, with
    which all else goes."""
    import ray

    nodes: Any = ray.nodes
    if sum(bool(node.get("Alive")) for node in nodes()) == 1:
        os.environ["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0"


def make_failure_counter(storage: Json) -> Any:
    """A callback of Ray Train's controller that notes each failure of the workers in the store."""
    from ray.train import UserCallback

    class FailureCounter(UserCallback):
        def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
            store = shared_storage.RemoteStore(storage)
            note_failure(checkpoints.Generation(store, storage["folder"]), list(worker_exceptions.values()))

    return FailureCounter()


def note_failure(generation: checkpoints.Generation, exceptions: list[Any]) -> None:
    """One event for workers that ended together: when one of them was preempted, the others failed for it. None for a
    node that was told to be taken away and went before its time was over, which Ray takes for a failure: that was noted
    when it was told."""
    preempted = [error for error in exceptions if getattr(error, "preempted", False)]
    if preempted:
        nodes = sorted({str(getattr(error, "node_id", "")) for error in preempted})
        note_preemption(generation, nodes)
        return
    told = {node for event in generation.read_all("events") for node in event.get("nodes") or ()}
    if any(node in str(error) for node in told for error in exceptions):
        return
    generation.write_event(f"failure-{uuid.uuid4().hex}", {"errors": [str(error)[:500] for error in exceptions]})


def note_preemption(generation: checkpoints.Generation, nodes: list[str]) -> None:
    """A node that is told to be taken away, and then is, is one preemption."""
    generation.write_event(f"preemption-{checkpoints.digest(nodes)}", {"nodes": nodes})


def look_for_preemption(generation: checkpoints.Generation) -> bool:
    """Whether a node with one of the workers is about to be taken away; a barrier of all workers."""
    import ray.train

    if not hasattr(ray.train, "get_preemption_info"):
        return False
    info = ray.train.get_preemption_info()
    if info is None:
        return False
    if ray.train.get_context().get_world_rank() == 0:
        print("A node is about to be taken away: storing a checkpoint")
        note_preemption(generation, list(info.preempted_node_ids))
    return True


def describe(generation: checkpoints.Generation, start: checkpoints.Checkpoint | None, fields: Json) -> Json:
    """What a result says of it. checkpoints: what `resume_from` of another training takes."""
    return {
        "generation": generation.number,
        "resumed_from": start and {"generation": start.generation, "step": start.step, "uri": start.uri},
        "worker_failures": generation.count_events("failure-"),
        "preemptions": generation.count_events("preemption-"),
        "checkpoints": generation.root,
        **fields,
    }
