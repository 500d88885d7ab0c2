"""A training without Ray: the same reading, plan, split and model, in this process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from f.flexcore.lib.ray.remote.dataset import HASH, ROW, Plan, make_plan, prepare, select_features
from f.flexcore.lib.ray.remote.holdout import hold_out, select_part
from f.flexcore.lib.ray.remote.model_files import make_examples, measure_model
from f.flexcore.lib.ray.remote.read import Parts, open_part
from f.flexcore.lib.ray.remote.stream_profile import Stream, collect
from f.flexcore.lib.ray.remote.training_data import read_target
from f.flexcore.lib.serving.estimators import make_estimator, make_pipeline, needs_label_wrapper, wrap_labels

Json = dict[str, Any]


@dataclass
class Learned:
    plan: Plan
    pipeline: Any
    metrics: Json
    notes: list[str]
    example: list[Json]
    seen: int
    held_out: int


def parts_of(
    form: str, files: list[Path], columns: list[str] | None = None, declared: Json | None = None
) -> list[Json]:
    """The parts of some files as Ray's workers read them."""
    texts = [name for name, kind in (declared or {}).items() if kind == "string"]
    read = Parts({"uri": "file:///"}, form, columns, texts)
    return [
        row
        for number, path in enumerate(files)
        for table in read(pa.Table.from_pylist([{"number": number, "uri": f"file://{path}", "name": path.name}]))
        for row in table.to_pylist()
    ]


def stream_of(form: str, files: list[Path], columns: list[str] | None = None, declared: Json | None = None) -> Stream:
    return collect(parts_of(form, files, columns, declared), list(declared or {}))


def rows_of(form: str, files: list[Path], columns: list[str] | None = None) -> list[Json]:
    """The rows of all parts, as they were read."""
    tables = [open_part(item["table"]) for item in parts_of(form, files, columns) if item["table"]]
    return [row for table in tables for row in table.to_pylist()]


def learn(
    form: str,
    files: list[Path],
    target: str,
    algorithm: str = "xgboost",
    features: list[str] | None = None,
    task: str = "auto",
    declared: Json | None = None,
    date_parts: bool = True,
) -> Learned:
    wanted = [target, *features] if features else None
    parts = parts_of(form, files, wanted, declared)
    plan = make_plan(collect(parts, list(declared or {})), target, features or [], task, date_parts)
    whole = pa.concat_tables(prepare(pa.Table.from_pylist(parts), plan))
    classes = whole[target].to_pylist() if plan.task == "classification" else None
    held, notes = hold_out(whole[HASH].to_numpy(), whole[ROW].to_numpy(), classes, 0.2)
    seen, test = (select_part(whole, held, side).to_pandas() for side in (False, True))
    estimator = make_estimator(algorithm, plan.task, {}, 1)
    pipeline = make_pipeline(estimator, plan.features, plan.categories, plan.times)
    if needs_label_wrapper(estimator, plan.labels):
        pipeline.steps[-1] = ("model", wrap_labels(estimator))
    truth = read_target(seen, plan)
    pipeline.fit(select_features(seen, plan), truth)
    metrics = measure_model(pipeline, select_features(test, plan), read_target(test, plan), truth, plan.task)
    example = make_examples(select_features(whole.to_pandas(), plan), plan.features)
    return Learned(plan, pipeline, metrics, [*plan.notes, *notes], example, len(seen), len(test))
