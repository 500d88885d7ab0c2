# requirements: flexcore_base
"""An execution canceled, by who may and with a reason."""

from __future__ import annotations

from f.flexcore.lib.core import errors
from f.flexcore.lib.dashboard import rights
from f.flexcore.lib.windmill import client, executions

MAX_REASON_LENGTH = 500
NO_REASON = "canceled in the dashboard"


def cancel_execution(windmill: client.Client, execution: str, reason: str) -> str:
    """The id of what is being canceled. Raises NotFound, InvalidInput, Conflict when it has ended, Forbidden."""
    why = check_reason(reason)
    job = executions.read_execution(windmill, execution)
    if job.get("type") != "CompletedJob":
        rights.check(rights.can_cancel(windmill.user(), job), "cancel this execution", "execution")
    return str(executions.cancel_execution(windmill, execution, why)["id"])


def check_reason(reason: str, field: str = "reason") -> str:
    """One line of at most MAX_REASON_LENGTH characters. Raises InvalidInput."""
    line = executions.clean_reason(str(errors.check_value(str, reason, field))) or NO_REASON
    if len(line) > MAX_REASON_LENGTH:
        raise errors.InvalidInput(
            f"{field}: is longer than {MAX_REASON_LENGTH} characters", subject=field, remedy="Shorten it."
        )
    return line
