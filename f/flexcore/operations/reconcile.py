# requirements: flexcore_kubernetes
"""One pass: stops what has no living owner, resumes flows whose deferred work has ended, deletes what is past its time.

Meant for a schedule. The clusters are those that the settings name; what cannot be asked about is left alone.
"""

import os
import time
from dataclasses import asdict
from typing import Any

import wmill

from f.flexcore.lib.core import errors, resources
from f.flexcore.lib.operations import clusters, owners, reconciler

c_flexcore_settings = dict
PATH = "f/flexcore/operations/reconcile"


def main(settings: c_flexcore_settings, most: int = 50, dry_run: bool = False) -> dict[str, Any]:
    chosen = errors.validated(resources.Settings, settings or {}, "settings")
    client: Any = wmill.Windmill()  # type: ignore[no-untyped-call]
    windmill = owners.Windmill(client.client, str(client.workspace))
    other = windmill.older_run(PATH, os.environ.get("WM_JOB_ID", ""))
    if other:
        print(f"The pass {other} is still running; nothing is done")
        return {"table-row-object": []}
    running = reconciler.Pass(windmill, time.time(), max(errors.checked(int, most, "most"), 0), dry_run)
    lines = running.run(clusters.clusters_of(chosen, client.get_resource, running.note_failure))
    for line in lines:
        if line.action != "leave":
            print(f"{line.place}: {line.action} {line.object}: {line.outcome} ({line.reason})")
    print(f"{len(lines)} objects seen, {sum(line.action != 'leave' for line in lines)} acted upon")
    return {"table-row-object": [asdict(line) for line in lines]}
