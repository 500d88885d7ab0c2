# requirements: flexcore_base
# py: ==3.11.*
"""Failure module of the templates: what failed, why and what to do as the flow's result, and to whom it concerns."""

import os
from typing import Any

from f.flexcore.notifications.delivery import notify as tell
from f.flexcore.notifications.message import failure_of, flow_path, message_of

c_flexcore_notifications = dict
c_flexcore_settings = dict


def main(
    error: dict, notify: c_flexcore_notifications | None = None, settings: c_flexcore_settings | None = None
) -> dict[str, Any]:
    failure = failure_of(error, os.environ)
    print(failure.error)
    failure.notified = tell(notify, message_of(failure, flow_path(os.environ)), os.environ, settings)
    return failure.plain()
