# requirements: flexcore_base
"""Lines of the log of an execution, or of one of its steps, without secrets."""

from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.dashboard import logs, shapes
from f.flexcore.lib.windmill import client


def main(execution: str, step: str | None = None, offset: int = 0) -> dict[str, Any]:
    first = errors.check_value(int, offset or 0, "offset")
    of = errors.check_value(str, step or "", "step")
    return logs.read_logs(client.Client(), execution, of, first) | {"wm_labels": [shapes.LABEL]}
