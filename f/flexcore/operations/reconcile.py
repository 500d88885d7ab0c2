# requirements: flexcore_kubernetes
"""One pass: stops what has no living owner, resumes flows whose deferred work has ended, deletes what is past its time.

Meant for a schedule. The clusters are those that the settings name; what cannot be listed is left alone.
"""

import os
import time
from dataclasses import asdict
from typing import Any

from f.flexcore.lib.core import errors, resources
from f.flexcore.lib.operations import configured_runtimes, reconciler
from f.flexcore.lib.windmill import client

c_flexcore_settings = dict
PATH = "f/flexcore/operations/reconcile"


def main(settings: c_flexcore_settings, most: int = 50, dry_run: bool = False) -> dict[str, Any]:
    chosen = errors.validate(resources.Settings, settings or {}, "settings")
    max_actions = max(errors.check_value(int, most, "most"), 0)
    windmill = client.Client()
    if older := reconciler.find_older_run(windmill, PATH, os.environ.get("WM_JOB_ID", "")):
        print(f"The pass {older} is still running; nothing is done")
        return {"table-row-object": []}
    owners = reconciler.WindmillOwners(windmill)
    this_pass = reconciler.ReconcilePass(owners, time.time(), max_actions, dry_run, deferrals=owners)
    worker = os.environ.get("WM_WORKER_GROUP") or "this worker"
    clusters = configured_runtimes.open_objects(chosen, windmill.resource, this_pass.report_failure, worker)
    rows = this_pass.run(clusters)
    print(reconciler.describe_rows(rows, this_pass.seen))
    if chosen.otlp_endpoint and not dry_run:
        # Only who traces pays for it.
        from f.flexcore.lib.operations import trace_delivery

        trace_delivery.deliver_traces(windmill, chosen, this_pass.orphans)
    return reconciler.build_result([asdict(row) for row in rows])
