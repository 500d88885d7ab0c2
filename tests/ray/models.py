"""A trained model in the store, made without Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from f.flexcore.lib.core.contracts import ModelManifest
from f.flexcore.lib.core.resources import Settings
from f.flexcore.lib.ray.remote.model_files import make_examples, make_signature, write_model
from f.flexcore.lib.ray.train_job import parse_model_manifest
from f.flexcore.lib.serving.estimators import make_estimator, make_pipeline
from f.flexcore.lib.storage.object_store import Store
from tests.ray.data import flowers

KINDS = {"petals": "number", "kind": "category"}


def stored_model(
    folder: Path, name: str, version: str, settings: dict[str, Any] | None = None, joblib: bool = False
) -> ModelManifest:
    """A regression of a flower's size by its kind; each version adds 100 to the answer. joblib: for MLServer, too."""
    folder.mkdir(parents=True)
    rows = pd.DataFrame(flowers(120))
    pipeline = make_pipeline(make_estimator("Ridge", "regression", {}, 1), KINDS, {"kind": ["daisy", "lily", "tulip"]})
    pipeline.fit(rows[list(KINDS)], rows["size"] + 100 * int(version))
    written = write_model(folder, pipeline, name, version, joblib)
    store = Store(Settings.model_validate(settings or {}))
    uri = store.uri("models", name, version)
    files = [item.model_dump() for item in store.upload(folder, uri)]
    fields = {
        "uri": uri,
        "format": written["format"],
        "rows": len(rows),
        "files": files,
        "name": name,
        "version": version,
        "algorithm": "Ridge",
        "target": "size",
        "framework": written["framework"],
        "versions": written["versions"],
        "metrics": {},
        "signature": make_signature(KINDS, "regression", []),
        "example": make_examples(rows[list(KINDS)], KINDS),
    }
    return parse_model_manifest({"manifest": fields})
