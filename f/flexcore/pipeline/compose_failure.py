# requirements: flexcore_base
"""Failure module of the hybrid pipeline: what failed, and what the finished stages left for the next run."""

import os
from typing import Any

from f.flexcore.lib.operations import failure_message, notifications
from f.flexcore.lib.pipeline import stage_results

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
    target: str | None = None,
    notify: c_flexcore_notifications | None = None,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    stages = stage_results.collect_stages(
        {"extraction": extraction, "ml": ml, "deployment": deployment}, reused, requests
    )
    error = error if isinstance(error, dict) else {"message": str(error)}
    # A request that was refused has run nothing, and loses nothing of what came with it.
    finished = stages or stage_results.return_earlier(error, partial_results)
    result = stage_results.build_failure(error, finished, target if isinstance(target, str) else "")
    whole = result.detail or result.error
    print(whole)
    failure = failure_message.parse_failure({**error, "message": whole}, os.environ)
    failure.notified = notifications.notify_of_failure(notify, failure, settings)
    from f.flexcore.lib.views import failure_pages

    return failure_pages.show_pipeline_failure(result.plain(), failure.plain(), os.environ)
