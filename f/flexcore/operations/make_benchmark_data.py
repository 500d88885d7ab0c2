# requirements: flexcore_benchmark
"""Makes what the race reads: tables in schemas of its own, a Parquet file of each, fingerprints, the machine."""

import os
from typing import Any

from f.flexcore.lib.benchmark import legs, source_data
from f.flexcore.lib.core import errors, identity, resources
from f.flexcore.lib.storage import object_store
from f.flexcore.lib.windmill import client

postgresql = dict
c_flexcore_settings = dict


def main(plan: dict, database: postgresql, settings: c_flexcore_settings | None = None) -> dict[str, Any]:
    checked = errors.validate(legs.Plan, plan, "plan")
    store = object_store.Store(errors.validate(resources.Settings, settings or {}, "settings"))
    race = os.environ.get("WM_FLOW_JOB_ID", "")
    key = identity.execution_key(os.environ)
    return source_data.make(checked, database, store, key, client.Client(), race)
