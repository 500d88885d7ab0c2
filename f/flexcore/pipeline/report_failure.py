# requirements: flexcore_base
"""Failure module of the templates: what failed, why and what to do as the flow's result, and to whom it concerns."""

import os
from typing import Any

from f.flexcore.lib.notifications import delivery, failure_message

c_flexcore_notifications = dict
c_flexcore_settings = dict


def main(
    error: dict, notify: c_flexcore_notifications | None = None, settings: c_flexcore_settings | None = None
) -> dict[str, Any]:
    failure = failure_message.failure_of(error, os.environ)
    print(failure.error)
    failure.notified = delivery.notify(
        notify, failure_message.message_of(failure, failure_message.flow_path(os.environ)), os.environ, settings
    )
    return failure.plain()
