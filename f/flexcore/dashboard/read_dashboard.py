# requirements: flexcore_kubernetes
"""What the dashboard shows, in one read: the parts that are wanted, with what has changed since a cursor."""

from typing import Any

from f.flexcore.lib.dashboard import read, shapes


def main(
    want: list[str], cursor: str | None = None, filter: dict | None = None, execution: str | None = None
) -> dict[str, Any]:
    found = read.read_dashboard(want, cursor or "", filter, execution or "")
    return found.plain() | {"wm_labels": [shapes.LABEL]}
