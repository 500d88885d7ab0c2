# requirements: flexcore_base
"""Failure module of the data pipeline: what failed, on which runtime, and what was tried before."""

import os
from typing import Any

from f.flexcore.lib.operations import failure_message, notifications
from f.flexcore.lib.pipeline import attempts as attempts_of_loop
from f.flexcore.lib.pipeline import data_results

c_flexcore_notifications = dict
c_flexcore_settings = dict


def main(
    error: dict,
    choice: dict | None = None,
    attempts: list | None = None,
    notify: c_flexcore_notifications | None = None,
    settings: c_flexcore_settings | None = None,
    analysis: dict | None = None,
    explain_only: bool = False,
) -> dict[str, Any]:
    error = error if isinstance(error, dict) else {"message": str(error)}
    choice = data_results.read_choice(choice, analysis)
    result = data_results.build_failure(choice, attempts_of_loop.parse_attempts(attempts, choice), error, explain_only)
    print(result.error)
    failure = failure_message.parse_failure({**error, "message": result.error}, os.environ)
    # Whoever asks for a plan looks at it.
    failure.notified = notifications.notify_of_failure(None if explain_only else notify, failure, settings)
    from f.flexcore.lib.views import failure_pages

    return failure_pages.show_data_failure(result.plain(), failure.plain(), os.environ)
