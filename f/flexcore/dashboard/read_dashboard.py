# requirements: flexcore_kubernetes
"""What the dashboard shows, in one read: the parts that are wanted, with what has changed since a cursor."""

from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.dashboard import read, shapes


def main(
    want: list[str], cursor: str | None = None, filter: dict | None = None, execution: str | None = None
) -> dict[str, Any]:
    parts = errors.check_value(list[str], want, "want")
    since = errors.check_value(str, cursor or "", "cursor")
    shown = errors.check_value(str, execution or "", "execution")
    found = read.read_dashboard(parts, since, filter, shown)
    return found.plain() | {"wm_labels": [shapes.LABEL]}
