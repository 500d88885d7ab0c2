# requirements: flexcore_base
"""Stopped workflows: who stopped which, when and why; their first steps refuse to begin until the stop is undone.

f/flexcore/stopped/WORKFLOW            the stop that holds, a resource; to create it is to stop, and only one can
f/flexcore/stop_history/WORKFLOW/ID    a stop that was undone, with who did it; to create it is to undo, likewise

Windmill's own rights decide: who may write in the folder f/flexcore may stop. The resources are of the type `state`,
which a push neither exports nor deletes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from f.flexcore.lib.core import contracts, errors
from f.flexcore.lib.windmill import client

FOLDER = "f/flexcore/"
ACTIVE, HISTORY = "f/flexcore/stopped/", "f/flexcore/stop_history/"
RESOURCE_TYPE = "state"
Stop = dict[str, Any]


def refuse_stopped(env: Mapping[str, str] = os.environ) -> None:
    """Raises Conflict when the workflow of this step, or the one that it is a part of, is stopped.

    For the first step of a workflow. Outside a flow nothing is asked. When Windmill does not answer, the work begins,
    and `dashboard/maintain` cancels it."""
    paths = [env.get("WM_FLOW_PATH") or ""]
    if not paths[0].startswith(FOLDER):
        return
    windmill = client.Client()
    try:
        if env.get("WM_ROOT_JOB_ID") not in (None, "", env.get("WM_FLOW_JOB_ID")):
            paths.append(str(windmill.job(env["WM_ROOT_JOB_ID"]).get("script_path") or ""))
        stop = next((found for path in paths if (found := find_stop(windmill, path.removeprefix(FOLDER)))), None)
    except errors.TransientError as error:
        print(f"Whether the workflow is stopped could not be asked, so it begins: {error}", flush=True)
        return
    if stop:
        raise refusal(stop)


def refusal(stop: Stop) -> errors.Conflict:
    return errors.Conflict(
        f"The workflow {stop.get('workflow')} is stopped since {stop.get('at')} by {stop.get('by')}: "
        f"{stop.get('reason')}",
        subject="workflow",
        category=contracts.WORKFLOW_STOPPED,
        remedy="Undo the stop in the dashboard, or ask who stopped it.",
    )


def find_stop(windmill: client.Client, workflow: str) -> Stop | None:
    """The stop of a workflow; None when it may run, or when the caller sees no resources of the bundle's folder."""
    if not workflow:
        return None
    try:
        stop = windmill.get(f"resources/get_value/{ACTIVE}{workflow}")
    except (errors.NotFound, errors.Forbidden, errors.InvalidInput):
        return None
    return dict(stop) if isinstance(stop, Mapping) else None


def list_stops(windmill: client.Client, prefix: str) -> list[str]:
    """The paths of the resources of stops below the prefix."""
    listed = windmill.pages("resources/list", 1000, 5, resource_type=RESOURCE_TYPE, path_start=prefix)
    return sorted({str(item["path"]) for item in listed if str(item["path"]).startswith(prefix)})
