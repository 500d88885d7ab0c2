# requirements: flexcore_benchmark
"""Removes the tables and files that the race has made; also when it has failed."""

from typing import Any

from f.flexcore.lib.benchmark import source_data
from f.flexcore.lib.core import errors, resources
from f.flexcore.lib.storage import object_store

postgresql = dict
c_flexcore_settings = dict


def main(
    plan: dict | None, database: postgresql, data: dict | None = None, settings: c_flexcore_settings | None = None
) -> dict[str, Any]:
    legs = (plan or {}).get("legs") or []
    if not legs:
        return {"removed": None}
    store = object_store.Store(errors.validate(resources.Settings, settings or {}, "settings"))
    source_data.remove(legs[0]["source"], database, store, data)
    return {"removed": legs[0]["source"]}
