# requirements: flexcore_base
"""Failure module of the templates: what failed, why and what to do as the flow's result and as a notification."""

import os
from typing import Any

from f.flexcore.lib.operations import failure_message, notifications

c_flexcore_notifications = dict
c_flexcore_settings = dict


def main(
    error: dict, notify: c_flexcore_notifications | None = None, settings: c_flexcore_settings | None = None
) -> dict[str, Any]:
    failure = failure_message.parse_failure(error, os.environ)
    print(failure.error)
    failure.notified = notifications.notify_of_failure(notify, failure, settings)
    from f.flexcore.lib.views import failure_pages

    return failure_pages.show_failure(failure.plain(), os.environ)
