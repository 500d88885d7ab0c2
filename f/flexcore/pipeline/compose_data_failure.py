# requirements: flexcore_base
# py: ==3.11.*
"""Failure module of the data pipeline: what failed, on which runtime, and what was tried before."""

import os
from typing import Any

from f.flexcore.notifications.delivery import notify as tell
from f.flexcore.notifications.message import failure_of, flow_path, message_of
from f.flexcore.pipeline.data_results import refused

c_flexcore_notifications = dict
c_flexcore_settings = dict


def main(
    error: dict,
    analysis: dict | None = None,
    choice: dict | None = None,
    attempts: list | None = None,
    notify: c_flexcore_notifications | None = None,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    error = error if isinstance(error, dict) else {"message": str(error)}
    result = refused(analysis, choice, attempts, error)
    print(result.error)
    message = message_of(failure_of({**error, "message": result.error}, os.environ), flow_path(os.environ))
    tell(notify, message, os.environ, settings)
    return result.plain()
