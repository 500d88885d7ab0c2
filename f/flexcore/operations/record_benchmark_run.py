# requirements: flexcore_benchmark
"""Ends one run of the race: compares its output with the source, removes it, and leaves a row of history."""

import os
from typing import Any

from f.flexcore.lib.benchmark import legs, recording
from f.flexcore.lib.core import errors, identity, resources
from f.flexcore.lib.storage import object_store
from f.flexcore.lib.windmill import client

postgresql = dict
c_flexcore_settings = dict


def main(
    leg: dict, result: dict, source: dict, database: postgresql, settings: c_flexcore_settings | None = None
) -> dict[str, Any]:
    checked = errors.validate(legs.Leg, leg, "leg")
    store = object_store.Store(errors.validate(resources.Settings, settings or {}, "settings"))
    flow_job, key = os.environ.get("WM_FLOW_JOB_ID", ""), identity.execution_key(os.environ)
    return recording.record(checked, result, source, database, store, client.Client(), flow_job, key)
