# requirements: flexcore_base
# py: ==3.11.*
"""Failure module of the hybrid pipeline: what failed, and what the finished stages left for the next run."""

import os
from typing import Any

from f.flexcore.notifications.delivery import notify as tell
from f.flexcore.notifications.message import failure_of as told_of
from f.flexcore.notifications.message import flow_path, message_of
from f.flexcore.pipeline.stages import failure_of, given_back, stage_results

c_flexcore_notifications = dict
c_flexcore_settings = dict


def main(
    error: dict,
    extraction: dict | None = None,
    ml: dict | None = None,
    deployment: dict | None = None,
    reused: list[str] | None = None,
    partial_results: list[dict] | None = None,
    requests: dict | None = None,
    notify: c_flexcore_notifications | None = None,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    stages = stage_results({"extraction": extraction, "ml": ml, "deployment": deployment}, reused, requests)
    error = error if isinstance(error, dict) else {"message": str(error)}
    # A request that was refused has run nothing, and loses nothing of what came with it.
    result = failure_of(error, stages or given_back(error, partial_results))
    whole = result.detail or result.error
    print(whole)
    message = message_of(told_of({**error, "message": whole}, os.environ), flow_path(os.environ))
    tell(notify, message, os.environ, settings)
    return result.plain()
