# requirements: flexcore_base
"""A trained model in the store: measured, proven to load, with its card, and published last of all. Shipped as source.

Its files go into the folder of this run alone; what makes them a model is the result, written when they are all there.
A training that ends before that, because a disk is full or it was killed, leaves files that nobody names.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from f.flexcore.lib.ray.remote import (
    class_weights,
    dataset,
    importance,
    leakage,
    model_card,
    model_files,
    ranking,
    recovery,
    shared_storage,
    training_data,
)

Json = dict[str, Any]


def publish_model(loop: Json, pipeline: Any, seen: Any, truth: Any, held_out: Any, told: Json) -> None:
    """seen, truth: the features and the target of the rows that were learned from, or a sample of them; told: of
    checkpoints and interruptions. Raises Problem when the model cannot be loaded again or the store is full."""
    import pandas as pd

    plan, parameters = loop["plan"], loop["parameters"]
    held_out = ranking.order_by_group(held_out) if plan.group else held_out
    rows, held_truth = dataset.select_features(held_out, plan), training_data.read_target(held_out, plan)
    metrics = measure(pipeline, held_out, rows, held_truth, truth, plan)
    found, notes = importance.measure_importance(pipeline, rows, held_truth, plan.task)
    notes = [*plan.notes, *leakage.find_leaks(seen, truth, plan), *notes]
    if plan.task == "classification":
        notes += class_weights.describe_rare_classes(truth, held_truth)
    for note in notes:
        print(f"Note: {note}")
    counts = count_rows(plan, len(seen), len(held_out), told)
    examples = model_files.make_examples(pd.concat([seen, rows], ignore_index=True), plan.features)
    manifest = {
        "rows": counts["seen"],
        "name": parameters["model"]["name"],
        "version": parameters["model"]["version"],
        "algorithm": parameters["algorithm"],
        "target": plan.target,
        "signature": model_files.make_signature(plan.features, plan.task, plan.labels),
        "metrics": metrics,
        "example": examples,
    }
    facts = {
        "manifest": manifest,
        "task": plan.task,
        "source": parameters["source"],
        "split": describe_split(counts, told, parameters, plan),
        "parameters": {name: value for name, value in parameters["parameters"].items() if value is not None},
        "importance": found,
        "notes": notes,
        "code": parameters["code"],
    }
    requirements = store_files(loop, pipeline, facts)
    result = {
        "manifest": manifest,
        "task": plan.task,
        "notes": notes,
        "requirements": requirements,
        "dropped_rows": counts["dropped"],
        "importance": found,
        "card": facts["card"],
        "recovery": told,
        "peak_memory_bytes": told.get("large", {}).get("peak_memory_bytes"),
        "fingerprint": recovery.make_fingerprint(parameters),
    }
    shared_storage.RemoteStore(loop["storage"]).write_json(result_uri(loop["storage"]), result)


def count_rows(plan: dataset.Plan, seen: int, held_out: int, told: Json) -> Json:
    """{seen, held_out, dropped}; seen is None when several workers learned from disk, who each know their own share."""
    if "large" in told:
        return {"seen": told["large"]["seen"], "held_out": held_out, "dropped": plan.rows - plan.usable_rows}
    return {"seen": seen, "held_out": held_out, "dropped": plan.rows - seen - held_out - told["validation_rows"]}


def measure(pipeline: Any, held_out: Any, rows: Any, held_truth: Any, truth: Any, plan: dataset.Plan) -> Json:
    if plan.task == "ranking":
        return ranking.measure(pipeline.predict(rows), held_truth, ranking.list_group_codes(held_out))
    return model_files.measure_model(pipeline, rows, held_truth, truth, plan.task)


def describe_split(counts: Json, told: Json, parameters: Json, plan: dataset.Plan) -> Json:
    return {
        **counts,
        "fraction": float(parameters["test_fraction"]),
        "validation": told["validation_rows"],
        "by": "group" if plan.group else "content",
        "classes": plan.class_counts,
        "weights": parameters["class_weights"],
    }


def store_files(loop: Json, pipeline: Any, facts: Json) -> list[str]:
    """Writes the model's files and its card, and completes the manifest and the facts with what they are; returns the
    packages that read the model."""
    storage, manifest, joblib = loop["storage"], facts["manifest"], bool(loop["parameters"]["joblib"])
    store, uri = shared_storage.RemoteStore(storage), f"{storage['folder']}/model"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            written = model_files.write_model(folder, pipeline, manifest["name"], manifest["version"], joblib)
            requirements: list[str] = written.pop("requirements")
            manifest |= {"uri": uri, "card": model_card.NAME, **written}
            facts["card"] = model_card.make_card(facts)
            (folder / model_card.NAME).write_text(facts["card"])
        except OSError as error:
            raise shared_storage.disk_problem(error, "storing the model", name) from error
        model_files.verify_model(folder, manifest["example"], manifest["format"])
        manifest["files"] = store.upload(folder, uri)
    return requirements


def result_uri(storage: Json) -> str:
    return f"{storage['folder']}/trained.json"
