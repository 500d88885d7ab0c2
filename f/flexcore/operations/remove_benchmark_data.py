# requirements: flexcore_benchmark
"""Removes the tables and files that the race has made; after a failure (error) its result says what has failed."""

import os
from typing import Any

from f.flexcore.lib.benchmark import removal
from f.flexcore.lib.core import errors, resources
from f.flexcore.lib.operations import failure_message
from f.flexcore.lib.storage import object_store

postgresql = dict
c_flexcore_settings = dict


def main(
    database: postgresql,
    plan: dict | None = None,
    data: dict | None = None,
    model: dict | None = None,
    settings: c_flexcore_settings | None = None,
    error: dict | None = None,
) -> dict[str, Any]:
    failure = failure_message.parse_failure(error, os.environ) if error else None
    legs = (plan or {}).get("legs") or []
    try:
        if legs:
            store = object_store.Store(errors.validate(resources.Settings, settings or {}, "settings"))
            removal.remove(legs[0]["source"], database, store, data, model)
    except errors.FlexcoreError as problem:
        if failure is None:
            raise
        print(f"The tables of the race could not be removed: {problem}; the next race removes them")
    if failure is None:
        return {"success": True}
    from f.flexcore.lib.views import failure_pages

    return failure_pages.show_failure(failure.plain(), os.environ)
