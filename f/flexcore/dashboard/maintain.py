# requirements: flexcore_base
"""One pass: the run index brought up to what Windmill has, and executions of stopped workflows that began canceled.

Meant for a schedule. Months of figures then outlive Windmill's retention.
"""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from f.flexcore.lib.core import errors, resources
from f.flexcore.lib.dashboard import index_update, run_index, shapes, stopping
from f.flexcore.lib.operations import history
from f.flexcore.lib.storage import object_store
from f.flexcore.lib.windmill import client

c_flexcore_settings = dict


def main(settings: c_flexcore_settings, rebuild: bool = False) -> dict[str, Any]:
    store = object_store.Store(errors.validate(resources.Settings, settings or {}, "settings"))
    windmill, now = client.Client(), datetime.now(UTC)
    index = run_index.RunIndex(store, windmill.workspace)
    canceled = stopping.cancel_stopped(windmill, now)
    done = index_update.update_index(windmill, index, history.run_from_job, now, rebuild)
    print(f"{done.added} executions added to the run index, {done.left} left for the next pass")
    return {**asdict(done), "canceled": canceled, "wm_labels": [shapes.LABEL]}
