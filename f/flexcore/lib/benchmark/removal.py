# requirements: flexcore_benchmark
"""Removal of what a race has made."""

from __future__ import annotations

from typing import Any

import fsspec

from f.flexcore.lib.benchmark import database
from f.flexcore.lib.storage import object_store


def remove(schema: str, place: database.Database, store: object_store.Store, made: Any, model: Any) -> None:
    """The schemas, the files of the tables that were made, and the model (a StepResult) that was trained."""
    with database.open_session(place) as connection:
        database.drop_schemas(connection, schema)
    output = ((model or {}).get("output") or {}).get("uri")
    # Beside the model lie the checkpoints of its attempt.
    for uri in ((made or {}).get("folder"), output and output.rpartition("/")[0]):
        remove_files(store, uri or "")


def remove_files(store: object_store.Store, uri: str) -> None:
    """A file or folder of the store; harmless when there is none, or when it lies elsewhere."""
    fs = fsspec.filesystem(store.protocol, **store.options)
    if uri.startswith(f"{store.root}/") and fs.exists(uri):
        fs.rm(uri, recursive=True)
